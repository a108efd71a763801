//! Tables through a whole box: what gives a person away is blocked by its rule, and its innocent twin is released.

use databox::job::state;
use harness::{TestBox, manifest};
use lifecycle::State;

use crate::wait;

const TOTALS: &str = r#"[[output]]
path = "totals.csv"
kind = "table"
count_column = "n"
largest_column = "one"
two_largest_column = "two"
columns = [
    { name = "plan", type = "category:hie.plan" },
    { name = "n", type = "integer" },
    { name = "visits", type = "integer" },
    { name = "one", type = "decimal:3" },
    { name = "two", type = "decimal:3" },
]
"#;

const COUNTS: &str = r#"[[output]]
path = "by_plan.csv"
kind = "table"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]

[[output]]
path = "all.csv"
kind = "table"
count_column = "n"
columns = [{ name = "n", type = "integer" }]
"#;

const CHART: &str = r#"[[output]]
path = "chart.vl.json"
kind = "figure"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]
"#;

/// Python that writes these files.
fn write(files: &[(&str, &str)]) -> String {
    files.iter().map(|(name, text)| format!("open('/out/{name}', 'w').write({text:?})\n")).collect()
}

/// The rule that ends a job that writes these files; none if it comes before the stewards.
async fn blocked_by(tested: &TestBox, name: &str, outputs: &str, files: &[(&str, &str)]) -> Option<String> {
    let code = write(files);
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(outputs)), ("job.py", &code)]);
    let job = tested.run_job("kim", &bundle).await;
    match state(&job) {
        State::InReview => None,
        State::Blocked => Some(job.outcome.unwrap_or_default().rule),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_total_that_two_people_have_is_blocked_and_one_of_many_is_released_without_its_shares() {
    let tested = TestBox::start();
    wait(async {
        let total = |shares: &str| format!("plan,n,visits,one,two\nfree,100,4200,{shares}\n");
        for (name, shares) in [("dominated", "0.500,0.950"), ("impossible", "0.000,0.000")] {
            let blocked = blocked_by(&tested, name, TOTALS, &[("totals.csv", &total(shares))]).await;
            assert_eq!(blocked.as_deref(), Some("table.dominance"), "{name}");
        }
        let code = write(&[("totals.csv", &total("0.031,0.060"))]);
        let bundle = tested.bundle("twin", &[("databox.toml", &manifest(TOTALS)), ("job.py", &code)]);
        let job = tested.run_job("kim", &bundle).await;
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        let opened = tested.opened("ana", &job.job).await;
        assert_eq!(opened.content.canonical[0].1, b"plan,n,visits\nfree,100,4200\n");
        let result = |id: &str| {
            let rules = &opened.verdict.rules;
            rules.iter().find(|rule| rule.id.as_str() == id).map(|rule| rule.result)
        };
        use release::statement::RuleResult::Passed;
        assert_eq!([result("table.dominance"), result("table.p-percent")], [Some(Passed); 2]);
        assert!(opened.verdict.files[0].declared_counts);
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
    });
}

#[test]
fn tables_that_give_back_a_row_left_out_are_blocked_and_their_twins_are_not() {
    let tested = TestBox::start();
    wait(async {
        let by_plan = "plan,n\nfree,100\nshared,100\n";
        let counts = |all: &'static str| [("by_plan.csv", by_plan), ("all.csv", all)];
        let told = blocked_by(&tested, "told", COUNTS, &counts("n\n200\n")).await;
        assert_eq!(told.as_deref(), Some("table.suppression"));
        // Hundreds stand in the row that is left out: it is told, and needs no protection.
        assert_eq!(blocked_by(&tested, "large", COUNTS, &counts("n\n500\n")).await, None);
        let nobody =
            [("by_plan.csv", "plan,n\nfree,300\nshared,340\ndeductible,0\n"), ("all.csv", "n\n640\n")];
        let zero = blocked_by(&tested, "nobody", COUNTS, &nobody).await;
        assert_eq!(zero.as_deref(), Some("table.zero-cells"));
        let impossible = COUNTS.replacen(
            "count_column = \"n\"",
            "count_column = \"n\"\nstructural_zeros = [[\"deductible\"]]",
            1,
        );
        assert_eq!(blocked_by(&tested, "structural", &impossible, &nobody).await, None);
    });
}

const BY_PLAN: &str = r#"[[output]]
path = "by_plan.csv"
kind = "table"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]
"#;

/// Runs a job that writes such a table.
async fn count(tested: &TestBox, name: &str, free: u32) -> api::v1::Job {
    let code = write(&[("by_plan.csv", &format!("plan,n\nfree,{free}\nshared,210\n"))]);
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(BY_PLAN)), ("job.py", &code)]);
    tested.run_job("kim", &bundle).await
}

#[test]
fn a_table_with_one_person_fewer_than_that_of_another_job_is_blocked_and_names_it_and_its_twin_is_released() {
    let mut tested = TestBox::start();
    wait(async {
        let first = count(&tested, "first", 301).await;
        assert_eq!(state(&first), State::InReview, "{:?}", first.outcome);
        // Both are rounded to 300. The first one is only pending.
        let fewer = count(&tested, "fewer", 300).await;
        assert_eq!(fewer.outcome.clone().unwrap_or_default().rule, "table.differencing");
        let opened = tested.opened("ana", &fewer.job).await;
        let found: String = opened
            .content
            .details
            .iter()
            .filter(|(label, _)| label.as_str() == "compare")
            .map(|(_, detail)| String::from_utf8_lossy(detail).into_owned())
            .collect();
        assert!(found.contains("by_plan.csv of job") && found.contains(&first.job), "{found}");
        assert!(!found.contains("301"), "exact counts stay inside: {found}");
        let twin = count(&tested, "twin", 350).await;
        assert_eq!(state(&twin), State::InReview, "{:?}", twin.outcome);
        let [one, two] = [&first, &twin].map(|job| tested.opened("ana", &job.job));
        let (one, two) = (one.await, two.await);
        assert_eq!((one.verdict.table_place.0, two.verdict.table_place.0), (1, 2));
        let set = release::differencing::ComparedSet::new([one.digest]).digest();
        assert_eq!(two.verdict.differenced_against, release::statement::Evidence::Digest(set));
        // The later one is released first: it was compared with the one that is pending still.
        for job in [&twin, &first] {
            let review = tested.opened("ana", &job.job).await.review.review;
            for steward in ["ana", "ben"] {
                let mut desk = tested.desk(steward).await;
                let opened = desk.open(&review).await.unwrap();
                desk.approve(&opened).await.unwrap();
            }
            assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        }
    });
    // What was released is compared with what comes after a restart.
    tested.stage.kill_and_restart("enclave").unwrap();
    wait(async {
        let fewer = count(&tested, "fewer-again", 300).await;
        assert_eq!(fewer.outcome.unwrap_or_default().rule, "table.differencing");
        let third = count(&tested, "third", 450).await;
        let third = tested.opened("ana", &third.job).await;
        assert_eq!(third.verdict.table_place.0, 3);
    });
}

#[test]
fn a_chart_is_released_as_its_values_and_one_with_a_title_or_a_small_group_is_blocked() {
    let tested = TestBox::start();
    let chart = |more: &str, count: u32| {
        format!(
            r#"{{{more}"mark":"bar","data":{{"values":[{{"plan":"shared","n":42}},{{"plan":"free","n":{count}}}]}},
            "encoding":{{"x":{{"field":"plan","type":"nominal"}},"y":{{"field":"n","type":"quantitative"}}}}}}"#
        )
    };
    wait(async {
        for (name, rule, text) in [
            ("titled", "figure.form", chart(r#""title":"patient","#, 57)),
            ("small", "table.smallest-count", chart("", 3)),
        ] {
            let blocked = blocked_by(&tested, name, CHART, &[("chart.vl.json", &text)]).await;
            assert_eq!(blocked.as_deref(), Some(rule), "{name}");
        }
        let code = write(&[("chart.vl.json", &chart("", 57))]);
        let bundle = tested.bundle("twin", &[("databox.toml", &manifest(CHART)), ("job.py", &code)]);
        let job = tested.run_job("kim", &bundle).await;
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        let out = tested.directory().join("released");
        let file = tested.shelf("kim").await.get(&job.job, &out).await.unwrap();
        let released = std::fs::read_to_string(out.join("chart.vl.json")).unwrap();
        assert!(released.contains(r#""values":"plan,n\nfree,55\nshared,40\n""#), "{released}");
        let verifier = std::process::Command::new(harness::programs().join("databox-verify"))
            .arg(&file)
            .arg("--files")
            .arg(&out)
            .args(["--roles", &tested.stage.pin.to_string(), "--accept-on-box-witness"])
            .output()
            .unwrap();
        assert!(verifier.status.success(), "{}", String::from_utf8_lossy(&verifier.stdout));
    });
}
