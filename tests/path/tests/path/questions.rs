//! Questions that the box answers itself, through a whole box: the answer is that of the data, and nobody is singled out by
//! several of them.

use databox::job::state;
use harness::TestBox;
use lifecycle::State;
use release::envelope::Envelope;
use release::statement::{Request, RuleResult, WITHOUT_ROWS};

use crate::site_changes::key;
use crate::wait;

/// Three hundred people in three plans and two sites, two rows each; three of them at the second site with the plan `free`.
/// One person has all but all of the cost at the site `far` with the plan `shared`.
fn data() -> String {
    let mut text = String::from("zper,plan,site,visits,cost\n");
    for person in 0..300u32 {
        let plan = ["free", "shared", "deductible"][(person % 3) as usize];
        let site = match plan {
            "free" if person < 9 => "far",
            "free" => "near",
            _ if person % 2 == 0 => "far",
            _ => "near",
        };
        for year in 0..2u32 {
            let cost = if person == 4 { 1_000_000 } else { 10 + person % 7 };
            text += &format!("{},{plan},{site},{},{cost}\n", 100_000 + person, (person + year) % 5);
        }
    }
    text
}

pub async fn start() -> TestBox {
    let tested = TestBox::with_data(&data(), "zper", &["plan", "site"]);
    tested.stage.add_query_runtime().unwrap_or_else(|failure| panic!("no runtime for questions: {failure}"));
    tested
}

pub fn manifest(sql: &str) -> String {
    format!(
        r#"[job]
name = "question"
project = "hie"
runtime = "queries"
purpose = "A question to the box"

[query]
sql = """
{sql}
"""

[data.hie]
snapshot = "latest"

[limits]
cpus = 1
memory = "1GiB"
time = "60s"
"#
    )
}

async fn ask(tested: &TestBox, name: &str, sql: &str) -> api::v1::Job {
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(sql))]);
    tested.run_job("kim", &bundle).await
}

/// The answer as stewards see it. The job must have come before them.
pub async fn answer(tested: &TestBox, name: &str, sql: &str) -> String {
    let job = ask(tested, name, sql).await;
    assert_eq!(state(&job), State::InReview, "{name}: {:?}", job.outcome);
    let opened = tested.opened("ana", &job.job).await;
    String::from_utf8_lossy(&opened.content.canonical[0].1).into_owned()
}

async fn blocked_by(tested: &TestBox, name: &str, sql: &str) -> String {
    let job = ask(tested, name, sql).await;
    assert_eq!(state(&job), State::Blocked, "{name}: {:?}", job.outcome);
    job.outcome.unwrap_or_default().rule
}

#[test]
fn a_question_is_answered_from_the_data_judged_released_and_verified_and_small_groups_are_left_out() {
    wait(async {
        let tested = start().await;
        let sql = "SELECT plan, site, COUNT(*), AVG(visits) FROM hie GROUP BY plan, site";
        let job = ask(&tested, "by-plan-and-site", sql).await;
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        let opened = tested.opened("ana", &job.job).await;
        let table = String::from_utf8_lossy(&opened.content.canonical[0].1).into_owned();
        // Of 3 people at the site `far` with the plan `free`, and of nobody, the answer says the same: nothing.
        assert_eq!(
            table,
            "plan,site,units,mean.visits\n\
             deductible,far,50,2.000\ndeductible,near,50,2.000\nfree,near,95,2.010\n\
             shared,far,50,2.000\nshared,near,50,2.000\n"
        );
        assert!(!opened.verdict.files[0].declared_counts, "the box counted");
        let result = |id: &str| {
            opened.verdict.rules.iter().find(|rule| rule.id.as_str() == id).map(|rule| rule.result)
        };
        for rule in ["table.dominance", "table.p-percent", "table.differencing", "table.smallest-count"] {
            assert_eq!(result(rule), Some(RuleResult::Passed), "{rule}");
        }
        let words = databox::review::words(&opened);
        assert!(
            words.contains(
                "asks       how many people hie.csv of hie has, the mean of visits, for each plan, site"
            ),
            "{words}"
        );
        assert!(words.contains("counted by the box"), "{words}");
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        let out = tested.directory().join("release");
        let received = tested.shelf("kim").await.get(&job.job, &out).await;
        received.unwrap_or_else(|failure| panic!("not received: {failure}"));
        assert_eq!(std::fs::read_to_string(out.join("answer.csv")).unwrap(), table);
    });
}

#[test]
fn quantiles_of_the_policys_levels_are_told_from_those_around_the_rank_and_others_are_refused() {
    wait(async {
        let tested = start().await;
        let sql = "SELECT plan, APPROX_QUANTILE(visits, 0.25), APPROX_MEDIAN(visits) FROM hie GROUP BY plan";
        // Of two hundred rows in each plan forty have each number from 0 to 4.
        let job = ask(&tested, "quantiles", sql).await;
        let opened = tested.opened("ana", &job.job).await;
        assert_eq!(
            String::from_utf8_lossy(&opened.content.canonical[0].1),
            "plan,units,quantile-25.visits,quantile-50.visits\n\
             deductible,100,1.000,2.000\nfree,100,1.000,2.000\nshared,100,1.000,2.000\n"
        );
        let result = |id: &str| {
            opened.verdict.rules.iter().find(|rule| rule.id.as_str() == id).map(|rule| rule.result)
        };
        assert_eq!(result("table.quantiles"), Some(RuleResult::Passed));
        let bench = tested.bench("kim").await;
        let refused = [
            ("SELECT APPROX_QUANTILE(visits, 0.35) FROM hie", "no quantile above 35 %"),
            ("SELECT MEDIAN(visits) FROM hie", "APPROX_QUANTILE(column, 0.5) is answered"),
        ];
        for (index, (sql, words)) in refused.into_iter().enumerate() {
            let bundle = tested.bundle(&format!("level-{index}"), &[("databox.toml", &manifest(sql))]);
            let failure = bench.prepare(&bundle).await.err();
            assert!(failure.as_ref().is_some_and(|one| one.text.contains(words)), "{sql}: {failure:?}");
        }
    });
}

#[test]
fn an_answer_without_rows_is_explained_to_stewards_recipient_and_verifier_and_its_twin_needs_no_words() {
    wait(async {
        let tested = start().await;
        let empty = "SELECT site, SUM(cost) FROM hie WHERE plan = 'shared' AND site = 'far' GROUP BY site";
        let twin = "SELECT site, SUM(cost) FROM hie WHERE plan = 'deductible' AND site = 'far' GROUP BY site";
        for (name, sql, is_empty) in [("empty", empty, true), ("twin", twin, false)] {
            let job = ask(&tested, name, sql).await;
            assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
            let opened = tested.opened("ana", &job.job).await;
            let table = String::from_utf8_lossy(&opened.content.canonical[0].1).into_owned();
            assert_eq!(table.lines().count() == 1, is_empty, "{table}");
            let words = databox::review::words(&opened);
            assert_eq!(words.contains(WITHOUT_ROWS), is_empty, "{words}");
            tested.approve("ana").await;
            tested.approve("ben").await;
            assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
            let out = tested.directory().join(name);
            let received = tested.shelf("kim").await.get(&job.job, &out).await;
            let file = received.unwrap_or_else(|failure| panic!("not received: {failure}"));
            assert_eq!(databox::release_files::note(&file).unwrap(), is_empty.then_some(WITHOUT_ROWS));
            let mut verify = std::process::Command::new(harness::programs().join("databox-verify"));
            verify.arg(&file).args(["--roles", &tested.stage.pin.to_string(), "--accept-on-box-witness"]);
            let told = String::from_utf8(verify.output().unwrap().stdout).unwrap();
            assert!(told.contains("VERIFIED"), "{told}");
            assert_eq!(told.contains(WITHOUT_ROWS), is_empty, "{told}");
        }
    });
}

#[test]
fn a_group_that_one_person_dominates_is_left_out_and_its_twin_is_told() {
    wait(async {
        let tested = start().await;
        let sums = "SELECT site, SUM(cost) FROM hie WHERE plan = 'shared' GROUP BY site";
        assert_eq!(answer(&tested, "dominated", sums).await, "site,units,sum.cost\nnear,50,1300.000\n");
        let twin = "SELECT site, SUM(cost) FROM hie WHERE plan = 'deductible' GROUP BY site";
        let told = answer(&tested, "twin", twin).await;
        assert_eq!(told.lines().count(), 3, "{told}");
    });
}

#[test]
fn answers_that_together_tell_of_three_people_are_blocked_and_name_each_other_and_their_twins_are_not() {
    wait(async {
        let tested = start().await;
        let first = ask(&tested, "free", "SELECT COUNT(*), SUM(visits) FROM hie WHERE plan = 'free'").await;
        assert_eq!(state(&first), State::InReview, "{:?}", first.outcome);
        // All people with the plan but three: the difference is the sum of those three.
        let near = "SELECT COUNT(*), SUM(visits) FROM hie WHERE plan = 'free' AND site = 'near'";
        let second = ask(&tested, "free-near", near).await;
        assert_eq!(second.outcome.clone().unwrap_or_default().rule, "table.differencing");
        let opened = tested.opened("ana", &second.job).await;
        let found: String = opened
            .content
            .details
            .iter()
            .map(|(_, detail)| String::from_utf8_lossy(detail).into_owned())
            .collect();
        assert!(found.contains(&first.job) && found.contains("fewer than 10 units"), "{found}");
        // The same pair about another plan differs by fifty.
        let shared = "SELECT COUNT(*), SUM(visits) FROM hie WHERE plan = 'shared'";
        answer(&tested, "shared", shared).await;
        answer(&tested, "shared-near", &format!("{shared} AND site = 'near'")).await;
    });
}

#[test]
fn three_sums_of_which_no_two_tell_of_a_few_are_blocked_together() {
    wait(async {
        let tested = start().await;
        // All at the far site; those of one plan; those of another. What is left are three people.
        answer(&tested, "all", "SELECT COUNT(*), SUM(visits) FROM hie WHERE site = 'far'").await;
        let one = "SELECT COUNT(*), SUM(visits) FROM hie WHERE site = 'far' AND plan = 'shared'";
        answer(&tested, "one", one).await;
        let other = "SELECT COUNT(*), SUM(visits) FROM hie WHERE site = 'far' AND plan = 'deductible'";
        assert_eq!(blocked_by(&tested, "other", other).await, "table.differencing");
        // At the near site what is left are ninety-seven.
        answer(&tested, "near-all", "SELECT COUNT(*), SUM(visits) FROM hie WHERE site = 'near'").await;
        answer(&tested, "near-one", &one.replace("far", "near")).await;
        answer(&tested, "near-other", &other.replace("far", "near")).await;
    });
}

#[test]
fn a_first_answer_is_compared_with_itself_where_people_stand_in_several_groups() {
    wait(async {
        // Everybody has a row at the far site, and all but five one at the near site.
        let mut text = String::from("zper,plan,site,visits\n");
        for person in 0..80 {
            let plan = ["free", "shared"][person % 2];
            text += &format!("{},{plan},far,1\n", 100_000 + person);
            if person >= 5 {
                text += &format!("{},{plan},near,1\n", 100_000 + person);
            }
        }
        let tested = TestBox::with_data(&text, "zper", &["plan", "site"]);
        tested.stage.add_query_runtime().unwrap_or_else(|failure| panic!("{failure}"));
        let sites = "SELECT site, COUNT(*) FROM hie GROUP BY site";
        assert_eq!(blocked_by(&tested, "sites", sites).await, "table.differencing");
        answer(&tested, "plans", "SELECT plan, COUNT(*) FROM hie GROUP BY plan").await;
    });
}

/// Registers a runtime for questions whose program is another one, which compares nothing.
fn add_silent_runtime(tested: &TestBox, runtime: &str) {
    use std::os::unix::fs::PermissionsExt;
    let target = tested.stage.directory().join("box/drop/runtimes").join(runtime);
    let directory = target.join("tree/usr/bin");
    std::fs::create_dir_all(&directory).unwrap();
    let program = directory.join("databox-query");
    std::fs::copy(databox::programs::find("databox-unbundle").unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let description = "description = \"another program\"\nanswers_queries = true\n";
    std::fs::write(target.join("runtime.new"), description).unwrap();
    std::fs::rename(target.join("runtime.new"), target.join("runtime.toml")).unwrap();
    tested.stage.sign_runtime(runtime).unwrap_or_else(|failure| panic!("{runtime}: {failure}"));
}

#[test]
fn answers_are_compared_by_the_program_that_the_catalogue_describes_last_and_not_by_the_askers() {
    wait(async {
        let tested = TestBox::with_data(&data(), "zper", &["plan", "site"]);
        // Of two that were described in one second the last by name counts, which must be `queries`, too.
        add_silent_runtime(&tested, "another");
        tested.stage.add_query_runtime().unwrap_or_else(|failure| panic!("{failure}"));
        let [free, shared, deductible] = ["free", "shared", "deductible"]
            .map(|plan| format!("SELECT COUNT(*) FROM hie WHERE plan = '{plan}'"));
        answer(&tested, "first", &free).await;
        // The latest one compares.
        answer(&tested, "second", &shared).await;
        // A later one than that which the question names says nothing, so that nothing leaves.
        add_silent_runtime(&tested, "silent-too");
        assert_eq!(blocked_by(&tested, "third", &deductible).await, "table.differencing");
    });
}

#[test]
fn what_a_request_may_not_ask_is_refused_before_anything_runs() {
    wait(async {
        let tested = start().await;
        let bench = tested.bench("kim").await;
        let refused = [
            ("SELECT COUNT(*) FROM hie WHERE plan <> 'free'", "QUERY"),
            ("SELECT zper, COUNT(*) FROM hie GROUP BY zper", "QUERY"),
            ("SELECT SUM(visits), AVG(visits) FROM hie", "QUERY"),
            ("SELECT COUNT(*) FROM hie WHERE plan = 'secret'", "QUERY"),
        ];
        for (index, (sql, reason)) in refused.into_iter().enumerate() {
            let bundle = tested.bundle(&format!("refused-{index}"), &[("databox.toml", &manifest(sql))]);
            let failure = bench.prepare(&bundle).await.err().map(|failure| failure.reason);
            assert_eq!(failure.as_deref(), Some(reason), "{sql}");
        }
        // A runtime that answers questions runs nobody's code, and no other one answers them: at the desk, and in the box.
        let (code, question) = (harness::manifest(harness::ONE_METRIC), manifest("SELECT COUNT(*) FROM hie"));
        let bundle = |name: &str, text: &str| tested.bundle(name, &[("databox.toml", text), ("job.py", "")]);
        for (name, text) in [
            ("code", code.replace("host-python", "queries")),
            ("question", question.replace("\"queries\"", "\"host-python\"")),
        ] {
            let failure = bench.prepare(&bundle(name, &text)).await.err().expect("no such runtime does this");
            assert_eq!(failure.reason, "RUNTIME", "{name}");
        }
        let mut code = bench.prepare(&bundle("right-code", &code)).await.unwrap();
        let mut question = bench.prepare(&bundle("right-question", &question)).await.unwrap();
        let [mut of_code, mut of_question] =
            [&code, &question].map(|one| one.envelope.unverified::<Request>().unwrap());
        std::mem::swap(&mut of_code.runtime, &mut of_question.runtime);
        let kim = key(&tested, "kim");
        for (prepared, request) in [(&mut code, of_code), (&mut question, of_question)] {
            prepared.envelope = Envelope::sign(&request, &[&kim]).unwrap();
            let refused = bench.submit(prepared).await.err().map(|failure| failure.reason);
            assert_eq!(refused.as_deref(), Some("STATEMENT"));
        }
    });
}
