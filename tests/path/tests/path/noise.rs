//! Questions with noise through a whole box: answered at a price, charged before they run, and refused once the owner's budget
//! is spent, whatever happens to the enclave in between.

use databox::job::state;
use harness::{PATIENCE, TestBox};
use lifecycle::State;
use release::envelope::Envelope;
use release::statement::{CatalogueEntry, PrivacyBudget, PrivacyCharge, Request, RuleResult, Verdict};
use release::value::Count;

use crate::questions::{answer, manifest, start};
use crate::site_changes::{console_has, install, key, site, until};
use crate::wait;

const SQL: &str = "SELECT plan, site, COUNT(*), SUM(visits) FROM hie GROUP BY plan, site";

/// How many people stand in each group, and their visits, each person's at most 20: the groups in the order of their names.
const TRUTH: [(&str, i64, i64); 6] = [
    ("deductible,far", 50, 200),
    ("deductible,near", 50, 200),
    ("free,far", 3, 12),
    ("free,near", 97, 388),
    ("shared,far", 50, 200),
    ("shared,near", 50, 200),
];

/// The dataset's stewards give a budget, or another one, and how much of it one answer may cost.
async fn give(tested: &TestBox, rho: u64, answer_rho: u64) {
    let mut entry = site(tested).dataset(&"hie".parse().unwrap()).unwrap().statement().clone();
    entry.version = Count(entry.version.0 + 1);
    entry.issued_at = databox::site::now();
    let CatalogueEntry::Dataset { privacy, .. } = &mut entry.entry else { panic!("hie is a dataset") };
    *privacy = Some(PrivacyBudget {
        rho_millionths: Count(rho),
        answer_rho_millionths: Count(answer_rho),
        delta_exponent: Count(6),
    });
    install(tested, &entry, &[&key(tested, "ana"), &key(tested, "ben")]);
    let hie = "hie".parse().unwrap();
    let gives = |site: &release::site::Site| {
        site.privacy_budget(&hie).is_some_and(|budget| budget.rho_millionths == Count(rho))
    };
    console_has(tested, "ana", gives).await;
    let bench = tested.bench("kim").await;
    until("the gateway's new catalogue", async || bench.site().await.ok().filter(gives)).await;
}

fn noisy(rho: &str) -> String {
    format!("{}\n[query.privacy]\nrho = \"{rho}\"\nbounds = {{ visits = [0, 20] }}\n", manifest(SQL))
}

async fn ask(tested: &TestBox, name: &str, rho: &str) -> api::v1::Job {
    let bundle = tested.bundle(name, &[("databox.toml", &noisy(rho))]);
    tested.run_job("kim", &bundle).await
}

/// What the box says of a request that the desk would not have made: one for 0.005, changed.
async fn asked_as(tested: &TestBox, change: impl FnOnce(&mut Request)) -> String {
    use api::reason::Word as _;
    let bench = tested.bench("kim").await;
    let bundle = tested.bundle("changed", &[("databox.toml", &noisy("0.005"))]);
    let mut prepared = bench.prepare(&bundle).await.unwrap();
    let mut request: Request = prepared.envelope.unverified().unwrap();
    change(&mut request);
    prepared.envelope = Envelope::sign(&request, &[&key(tested, "kim")]).unwrap();
    let submitted = match bench.submit(&prepared).await {
        Ok(submitted) => submitted,
        Err(refused) => return refused.reason,
    };
    let ended = bench.wait(&submitted.job, &[State::InReview], PATIENCE).await.unwrap();
    assert_eq!(state(&ended), State::Refused);
    ended.outcome.unwrap_or_default().reason().word().to_owned()
}

fn charged(verdict: &Verdict) -> Option<(u64, u64)> {
    verdict.charges[0]
        .privacy
        .map(|PrivacyCharge { rho_millionths, spent_millionths }| (rho_millionths.0, spent_millionths.0))
}

/// Counts and sums of an answer that has every group, none of them far from the truth.
fn numbers(table: &str) -> Vec<(i64, i64)> {
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("plan,site,noisy.units,noisy.sum.visits"));
    let mut found = Vec::new();
    for (line, (group, units, visits)) in lines.zip(TRUTH) {
        let numbers = line.strip_prefix(group).unwrap_or_else(|| panic!("{line} is not of {group}"));
        let numbers: Vec<i64> = numbers.split(',').skip(1).map(|number| number.parse().unwrap()).collect();
        // The deviations are 10 and 200: eight of them.
        assert!((numbers[0] - units).abs() <= 80 && (numbers[1] - visits).abs() <= 1600, "{line}");
        found.push((numbers[0], numbers[1]));
    }
    assert_eq!(found.len(), TRUTH.len(), "{table}");
    found
}

#[test]
fn an_answer_with_noise_is_told_of_every_group_charged_released_and_verified_and_an_exact_one_is_as_ever() {
    wait(async {
        let tested = start().await;
        // Nothing is answered with noise before the owner says so.
        let bundle = tested.bundle("too-early", &[("databox.toml", &noisy("0.01"))]);
        let refused = tested.bench("kim").await.prepare(&bundle).await.err().expect("nobody gave a budget");
        assert!(refused.text.contains("no privacy budget"), "{refused}");
        give(&tested, 25_000, 10_000).await;
        let job = ask(&tested, "noisy", "0.01").await;
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        let opened = tested.opened("ana", &job.job).await;
        let table = String::from_utf8_lossy(&opened.content.canonical[0].1).into_owned();
        let told = numbers(&table);
        assert!(told != TRUTH.map(|(_, units, visits)| (units, visits)), "it has noise");
        assert_eq!(charged(&opened.verdict), Some((10_000, 10_000)));
        assert!(opened.verdict.charges[0].release_bits.0 > 1024, "its bits are charged like any others");
        let result = |id: &str| {
            opened.verdict.rules.iter().find(|rule| rule.id.as_str() == id).map(|rule| rule.result)
        };
        assert_eq!(result("table.smallest-count"), Some(RuleResult::NotApplicable));
        assert_eq!(result("table.differencing"), Some(RuleResult::Noted));
        assert_eq!(result("copy.exact"), Some(RuleResult::Passed));
        let words = databox::review::words(&opened);
        assert!(
            words.contains("with noise at the price of ρ = 0.01")
                && words.contains("off by 10.0")
                && words.contains("ρ = 0.015 was left then"),
            "{words}"
        );
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        let out = tested.directory().join("release");
        let received = tested.shelf("kim").await.get(&job.job, &out).await;
        let file = received.unwrap_or_else(|failure| panic!("not received: {failure}"));
        let verified = std::process::Command::new(harness::programs().join("databox-verify"))
            .arg(&file)
            .args(["--roles", &tested.stage.pin.to_string(), "--accept-on-box-witness", "--files"])
            .arg(&out)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{text}");
        assert!(text.contains("this run's noise cost ρ = 0.01, (ε, δ) = (0.76, 10^-6)"), "{text}");
        // The same question without noise leaves the small group out, is compared, and costs nothing of the budget.
        let exact =
            answer(&tested, "exact", "SELECT plan, site, COUNT(*) FROM hie GROUP BY plan, site").await;
        assert_eq!(exact.lines().count(), 6, "{exact}");
        assert!(!exact.contains("free,far"), "{exact}");
    });
}

#[test]
fn noise_is_charged_before_it_is_drawn_so_that_no_crash_makes_it_free_and_what_is_spent_is_spent() {
    let mut tested = wait(start());
    wait(async {
        give(&tested, 25_000, 10_000).await;
        let first = ask(&tested, "first", "0.01").await;
        assert_eq!(charged(&tested.opened("ana", &first.job).await.verdict), Some((10_000, 10_000)));
    });
    tested.stage.kill_and_restart("enclave").unwrap();
    wait(async {
        let second = ask(&tested, "second", "0.01").await;
        assert_eq!(state(&second), State::InReview, "{:?}", second.outcome);
        assert_eq!(charged(&tested.opened("ana", &second.job).await.verdict), Some((10_000, 20_000)));
        // What is left does not pay for a third; at the desk nobody knows what others have spent.
        let bench = tested.bench("kim").await;
        let bundle = tested.bundle("third", &[("databox.toml", &noisy("0.01"))]);
        let submitted = bench.submit(&bench.prepare(&bundle).await.unwrap()).await.unwrap();
        let ended = bench.wait(&submitted.job, &[State::InReview], PATIENCE).await.unwrap();
        assert_eq!(state(&ended), State::Refused);
        assert_eq!(ended.outcome.unwrap_or_default().reason(), api::v1::Reason::Privacy);
        // What costs more than the owner lets one answer cost is refused there by name, and by the box, too.
        let bundle = tested.bundle("dear", &[("databox.toml", &noisy("0.010001"))]);
        let refused = bench.prepare(&bundle).await.err().expect("it costs more than an answer may");
        let words = "cost ρ = 0.010001, and the owner of hie lets one answer cost 0.01 at most";
        assert!(refused.text.contains(words), "{refused}");
        let dear = |request: &mut Request| {
            let privacy = request.query.as_mut().and_then(|query| query.privacy.as_mut());
            privacy.unwrap().rho_millionths = Count(10_001);
        };
        assert_eq!(asked_as(&tested, dear).await, "STATEMENT");
        // Had it little memory, whether it fails would tell how many people there are: it is refused, and nothing is spent.
        let little = noisy("0.005").replace("memory = \"1GiB\"", "memory = \"200MiB\"");
        assert!(little.contains("200MiB"));
        let bundle = tested.bundle("little", &[("databox.toml", &little)]);
        let refused = bench.prepare(&bundle).await.err().expect("it asks for too little memory");
        assert_eq!(refused.reason, "LIMITS", "{refused}");
        let little = |request: &mut Request| request.limits.memory_bytes = Count(200 << 20);
        assert_eq!(asked_as(&tested, little).await, "LIMITS");
        // The rest can be spent, and exact answers need none of it.
        let rest = ask(&tested, "rest", "0.005").await;
        assert_eq!(charged(&tested.opened("ana", &rest.job).await.verdict), Some((5_000, 25_000)));
        answer(&tested, "exact", "SELECT plan, COUNT(*) FROM hie GROUP BY plan").await;
    });
}
