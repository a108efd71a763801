//! What jobs write that they should not. The researcher learns the rule; the stewards, from the packet, what it found.

use api::reason::Word as _;
use api::v1::GetReviewRequest;
use api::v1::review_service_client::ReviewServiceClient;
use databox::job::state;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::statement::Verdict;

use crate::table::Table;

const GROUP: &str = "output";

const WEIGHTS: &str =
    "[[output]]\npath = \"m.safetensors\"\nkind = \"weights\"\ntensors = [{ name = \"w\", shape = [2] }]\n";
const COUNTS: &str = "[[output]]\npath = \"t.csv\"\nkind = \"table\"\ncount_column = \"n\"\n\
    columns = [{ name = \"plan\", type = \"category:hie.plan\" }, { name = \"n\", type = \"integer\" }]\n";

/// Case, declared outputs, code, rule that the researcher is told, words of the finding that stewards read.
type Case = (&'static str, &'static str, String, &'static str, &'static str);

fn bad() -> Vec<Case> {
    let metric = write_metric("1");
    let before = |code: &str| format!("import os\n{code}\n");
    vec![
        ("missing", ONE_METRIC, "pass".into(), "output.declared", "declared and missing"),
        (
            "undeclared",
            ONE_METRIC,
            format!("{metric}open('/out/more', 'w')\n"),
            "output.declared",
            "a file that is not declared",
        ),
        (
            "a symbolic link",
            ONE_METRIC,
            before("os.symlink('/data/hie/hie.csv', '/out/metrics.json')"),
            "output.declared",
            "a symbolic link",
        ),
        (
            "a hard link",
            ONE_METRIC,
            format!("{metric}import os\nos.link('/out/metrics.json', '/out/twin')\n"),
            "output.declared",
            "second name",
        ),
        (
            "a directory",
            ONE_METRIC,
            before("os.mkdir('/out/metrics.json')"),
            "output.declared",
            "a directory",
        ),
        (
            "a sparse giant",
            ONE_METRIC,
            before("open('/out/metrics.json', 'w').truncate(1 << 24)"),
            "output.declared",
            "the policy allows",
        ),
        ("a metric that is NaN", ONE_METRIC, write_metric("float('nan')"), "metrics.form", ""),
        ("a metric that is text", ONE_METRIC, write_metric("'patient'"), "metrics.form", ""),
        (
            "a table in the place of weights",
            WEIGHTS,
            "open('/out/m.safetensors', 'w').write('plan,n\\nfree,50\\n')".into(),
            "weights.form",
            "",
        ),
        (
            "a table with small counts",
            COUNTS,
            "open('/out/t.csv', 'w').write('plan,n\\nfree,3\\n')".into(),
            "table.smallest-count",
            "",
        ),
        (
            "a table with a name in it",
            COUNTS,
            "open('/out/t.csv', 'w').write('plan,n\\nJane Roe,50\\n')".into(),
            "table.form",
            "",
        ),
    ]
}

/// Leaves a process behind that keeps writing. It must be dead, and the file at rest, before anything is looked at.
const WRITES_ON: &str = r#"import os, time
open("/out/metrics.json", "w").write('{"value": 1}')
if os.fork() == 0:
    os.setsid()
    while True:
        for value in (1, 2):
            open("/out/new", "w").write('{"value": %d}' % value)
            os.rename("/out/new", "/out/metrics.json")
time.sleep(0.3)
"#;

pub async fn cases(tested: &TestBox, table: &mut Table) {
    let bench = tested.bench("kim").await;
    let mut jobs = Vec::new();
    for (index, (case, outputs, code, rule, finding)) in bad().into_iter().enumerate() {
        let files = [("databox.toml", &manifest(outputs)[..]), ("job.py", &code)];
        let bundle = tested.bundle(&format!("output-{index}"), &files);
        let prepared = bench.prepare(&bundle).await.unwrap();
        jobs.push((case, rule, finding, bench.submit(&prepared).await.unwrap().job));
    }
    for (case, rule, finding, job) in jobs {
        let ended = bench.wait(&job, &[State::InReview], PATIENCE).await.unwrap();
        let outcome = ended.outcome.clone().unwrap_or_default();
        let told = format!("{} {} {}", state(&ended).word(), outcome.reason().word(), outcome.rule);
        let details = details(tested, &job).await;
        let read = if details.contains(finding) { finding } else { &details };
        table.refused(GROUP, case, &format!("BLOCKED POLICY {rule}: {finding}"), &format!("{told}: {read}"));
    }
    // The wall lets no job make one, so what is told is that its program failed.
    let pipe = "import os\nos.mkfifo('/out/metrics.json')\n";
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", pipe)];
    let job = tested.run_job("kim", &tested.bundle("pipe", &files)).await;
    let outcome = job.outcome.clone().unwrap_or_default();
    let told = format!("{} {}", state(&job).word(), outcome.reason().word());
    table.refused(GROUP, "a pipe", "FAILED PROGRAM_FAILED", &told);
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", WRITES_ON)];
    let job = tested.run_job("kim", &tested.bundle("writes-on", &files)).await;
    let outcome = job.outcome.clone().unwrap_or_default();
    let told = format!("{} {} {}", state(&job).word(), outcome.reason().word(), outcome.rule);
    // Either the last whole file leaves, or what was half done is one file too many. Nothing in between.
    let at_rest = matches!(told.trim(), "IN_REVIEW PASSED" | "BLOCKED POLICY output.declared");
    table.refused(
        GROUP,
        "changed by a process left behind",
        "at rest",
        if at_rest { "at rest" } else { &told },
    );
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1"))];
    let job = tested.run_job("kim", &tested.bundle("innocent-output", &files)).await;
    let found = state(&job);
    table.taken(GROUP, "output", (found == State::InReview).then_some(()).ok_or_else(|| found.to_string()));
}

/// The text that the children of the enclave wrote for stewards about this job.
async fn details(tested: &TestBox, job: &str) -> String {
    let mut desk = tested.desk("ana").await;
    let deadline = std::time::Instant::now() + PATIENCE;
    let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
    let mut client = ReviewServiceClient::new(channel);
    while std::time::Instant::now() < deadline {
        for review in desk.list().await.unwrap() {
            let asked = GetReviewRequest { review: review.review.clone() };
            let answer = client.get_review(asked).await.unwrap().into_inner();
            let verdict: Verdict = Envelope::parse(&answer.verdict).unwrap().unverified().unwrap();
            if verdict.request.sha256.to_string() == job {
                let opened = desk.open(&review.review).await.unwrap();
                let texts = opened
                    .content
                    .details
                    .iter()
                    .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
                return texts.collect::<Vec<_>>().join("\n");
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    "no review".to_owned()
}
