use release::path::VERDICT_SECONDS_LIMIT;
use release::statement::{
    DatasetGrant, DatasetSnapshot, GrantId, PolicyId, Requester, RolesId, RuntimeId, WallName,
};

use super::*;
use crate::store::Store;
use crate::store::account::{DatasetLimits, Sums, sums};
use crate::store::jobs::testing::{at, insert};
use crate::store::testing::store;

fn name(text: &str) -> release::value::Name {
    text.parse().unwrap()
}

fn draft(result: VerdictResult) -> Verdict {
    let nothing = Digest::of(b"");
    let mut rules: Vec<_> =
        Rule::ALL.map(|rule| RuleOutcome { id: rule.name(), result: RuleResult::Passed }).into();
    if result == VerdictResult::Blocked {
        rules[Rule::CopyExact.index()].result = RuleResult::Blocked;
    }
    Verdict {
        site: name("hospital.example"),
        request: Digest::of(b"one").into(),
        run: Count(1),
        grant: GrantId { id: name("hie"), version: Count(1), payload: nothing.into() },
        requester: Requester { id: name("kim"), key_id: nothing },
        datasets: vec![DatasetSnapshot { name: name("hie"), tree: nothing.into() }],
        runtime: RuntimeId { name: name("python"), tree: nothing.into() },
        wall: Wall {
            name: WallName::Native,
            runtime: None,
            privileged: false,
            layers: vec![],
            devices: vec![],
        },
        policy: PolicyId { name: name("standard"), version: Count(1), file: nothing.into() },
        roles: RolesId { version: Count(1), payload: nothing.into() },
        build: BoxBuild { version: "0".to_owned(), checker: nothing.into() },
        result,
        files: vec![],
        rules,
        guarantee: Guarantee {
            copied_run_bytes: Count(31),
            plain_run_bytes: Count(127),
            views: vec![],
            exempt_millionths: Count(0),
            public: Vec::new(),
        },
        released_bits: Count(100),
        verdict_bits: Count(VERDICT_BITS),
        charges: vec![],
        table_place: Count(0),
        differenced_against: Evidence::Digest(ComparedSet::default().digest()),
        account_head: Evidence::NotChecked,
        code_review: Evidence::NotChecked,
        attestation: Evidence::NotChecked,
        warnings: vec![],
        reviewers: vec![],
        packet: nothing.into(),
        challenge: Bytes([7; 32]),
        issued_at: at(0),
        expires: at(100),
    }
}

/// Concludes a run whose files carry 100 bits, under a grant with so many release bits.
fn concluded(release_bits: u64, result: VerdictResult) -> (tempfile::TempDir, Store, Verdict) {
    let (directory, store) = store();
    let bits = DatasetGrant { release_bits: Count(release_bits), answer_bits: Count(1000) };
    let limits = DatasetLimits { grant: bits, dataset: bits, privacy: 0 };
    let signing = Signing {
        draft: draft(result),
        sum: Some(100),
        output: Some(0),
        used: api::Use::default(),
        review_seconds: 200,
        compared: ComparedWith::default(),
        limits: Limits { grant: name("hie"), datasets: [(name("hie"), limits)].into(), rho: None },
        key: SecretKey::from_seed([1; 32]),
        occasion: Occasion { request: Digest::of(b"one"), run: 1, at: at(0) },
    };
    store
        .change(move |transaction| {
            insert(transaction, b"one")?;
            let running = Move::new(State::Running, Reason::Unspecified);
            jobs::make_move(transaction, &Digest::of(b"one"), &running, at(0))?;
            signing.store(transaction, Digest::of(b"packet"))
        })
        .unwrap();
    let stored = store.read(verdicts::not_taken).unwrap().pop().unwrap();
    let verdict = Envelope::parse(&stored.envelope).unwrap().unverified().unwrap();
    (directory, store, verdict)
}

fn state_and_sums(store: &Store) -> (State, Sums) {
    store
        .read(|connection| {
            let job = jobs::find(connection, &Digest::of(b"one"))?.unwrap();
            Ok((job.state, sums(connection, &name("hie"), None)?))
        })
        .unwrap()
}

#[test]
fn a_pass_reserves_the_files_bits_and_the_verdicts_own() {
    let (_directory, store, verdict) = concluded(1124, VerdictResult::Pass);
    let (state, sums) = state_and_sums(&store);
    assert_eq!((state, sums.reserved), (State::InReview, 1124));
    assert_eq!((verdict.result, verdict.charges[0].release_bits), (VerdictResult::Pass, Count(1124)));
    let head = store.read(head::of).unwrap();
    assert_eq!(verdict.account_head, Evidence::Digest(head.hash));
}

#[test]
fn a_pass_that_the_account_cannot_pay_is_blocked_and_reserves_nothing() {
    let (_directory, store, verdict) = concluded(1123, VerdictResult::Pass);
    let (state, sums) = state_and_sums(&store);
    assert_eq!((state, sums.reserved), (State::Blocked, 0));
    assert_eq!((verdict.result, verdict.charges[0].release_bits), (VerdictResult::Blocked, Count(0)));
    assert_eq!(verdict.rules[Rule::ReleaseBits.index()].result, RuleResult::Blocked);
}

#[test]
fn a_blocked_verdict_reserves_nothing_and_its_first_rule_is_reported() {
    let (_directory, store, verdict) = concluded(1_000_000, VerdictResult::Blocked);
    let (state, sums) = state_and_sums(&store);
    assert_eq!((state, sums.reserved), (State::Blocked, 0));
    assert_eq!(verdict.charges[0].release_bits, Count(0));
    let reports = store.read(|connection| crate::store::reports::due(connection, at(1000))).unwrap();
    let last = reports.last().unwrap();
    assert_eq!((last.rule, last.output), (Some(Rule::CopyExact), Some(0)));
}

#[test]
fn a_verdict_expires_before_its_files_are_wiped() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/standard.toml");
    let mut policy = Policy::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let days = |expiry: u64, kept: u64, policy: &mut Policy| {
        (policy.verdict_expiry_seconds, policy.quarantine_days) = (expiry * 86_400, kept);
        expires(policy, at(0)).seconds() - at(0).seconds()
    };
    assert_eq!(days(7, 30, &mut policy), 7 * 86_400);
    assert_eq!(days(7, 2, &mut policy), 2 * 86_400);
    assert_eq!(days(30, 30, &mut policy), VERDICT_SECONDS_LIMIT);
}
