//! Outputs that are not what they seem.

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

#[test]
fn a_link_a_pipe_or_a_directory_is_no_output_but_a_file_is() {
    let tested = TestBox::start();
    let attacks = [
        ("symbolic-link", "import os\nos.symlink('/data/hie/hie.csv', '/out/metrics.json')\n"),
        ("link-out", "import os\nos.symlink('../../../../etc/passwd', '/out/metrics.json')\n"),
        (
            "hard-link",
            "import os\nopen('/out/other', 'w').write('{\"value\": 1}')\nos.link('/out/other', '/out/metrics.json')\n",
        ),
        ("pipe", "import os\nos.mkfifo('/out/metrics.json')\n"),
        ("directory", "import os\nos.mkdir('/out/metrics.json')\n"),
    ];
    wait(async {
        for (name, code) in attacks {
            let bundle = tested.bundle(name, &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", code)]);
            let job = tested.run_job("kim", &bundle).await;
            let outcome = job.outcome.clone().unwrap_or_default();
            // The wall lets nobody make a pipe. What could be made is refused by name.
            let (end, rule) = match name {
                "pipe" => (State::Failed, ""),
                _ => (State::Blocked, "output.declared"),
            };
            assert_eq!((state(&job), outcome.rule.as_str()), (end, rule), "{name}");
        }
        let text = write_metric("1");
        let bundle = tested.bundle("file", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &text)]);
        assert_eq!(state(&tested.run_job("kim", &bundle).await), State::InReview);
    });
}

const TABLE: &str = r#"[[output]]
path = "table.csv"
kind = "table"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]
"#;

#[test]
fn a_table_with_a_small_count_is_blocked_and_one_without_is_not() {
    let tested = TestBox::start();
    let write = |counts: [u32; 3]| {
        let rows =
            ["free", "shared", "deductible"].iter().zip(counts).map(|(plan, n)| format!("{plan},{n}\\n"));
        format!("open('/out/table.csv', 'w').write('plan,n\\n{}')\n", rows.collect::<String>())
    };
    wait(async {
        for (name, counts, end) in
            [("small", [100, 9, 100], State::Blocked), ("large", [100, 95, 100], State::InReview)]
        {
            let bundle =
                tested.bundle(name, &[("databox.toml", &manifest(TABLE)), ("job.py", &write(counts))]);
            let job = tested.run_job("kim", &bundle).await;
            assert_eq!(state(&job), end, "{name}: {:?}", job.outcome);
            if end == State::Blocked {
                assert_eq!(job.outcome.unwrap_or_default().rule, "table.smallest-count");
            }
        }
    });
}
