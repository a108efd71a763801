//! A site that changes while jobs run and reviews are open: what goes on, and what ends at once.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use api::v1::job_service_client::JobServiceClient;
use api::v1::{GetReviewRequest, ReviewState, WatchJobRequest, review_service_client::ReviewServiceClient};
use blobs::Digest;
use databox::failure::Failure;
use databox::job::state;
use databox::review::Desk;
use databox::site::{InstallArguments, now};
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::key::{SecretKey, Sign, key_id};
use release::log::socket::{self, Answer, Decision, Message, Submit};
use release::site::Site;
use release::statement::{DenialDecision, DenialReason, Grant, Predicate, Revocation};
use release::value::Count;

use crate::wait;

pub fn key(tested: &TestBox, person: &str) -> SecretKey {
    let passphrase = std::fs::read_to_string(tested.stage.people().join("passphrase")).unwrap();
    packet::key::read_signing(&tested.stage.key_files(person).signing(), passphrase.trim_end()).unwrap()
}

pub fn site(tested: &TestBox) -> Site {
    Site::load(&tested.stage.home.site(), &tested.stage.pin, databox::site::now()).unwrap()
}

/// Signs a statement and installs it as an operator does.
pub fn install<P: Predicate>(tested: &TestBox, statement: &P, signers: &[&SecretKey]) {
    let signers: Vec<&dyn Sign> = signers.iter().map(|key| *key as &dyn Sign).collect();
    install_envelope(tested, &Envelope::sign(statement, &signers).unwrap());
}

pub fn install_envelope(tested: &TestBox, envelope: &Envelope) {
    try_install(tested, envelope).unwrap_or_else(|failure| panic!("not installed: {failure}"));
}

fn try_install(tested: &TestBox, envelope: &Envelope) -> Result<PathBuf, Failure> {
    let file = tempfile::NamedTempFile::new_in(tested.directory()).unwrap();
    std::fs::write(file.path(), envelope.to_bytes()).unwrap();
    let (site_directory, pin) = (tested.stage.home.site(), Some(tested.stage.pin));
    let arguments = InstallArguments { file: file.path().to_owned(), site_directory, policy_file: None, pin };
    databox::site::install(&arguments)
}

/// The next revocation, signed by a steward.
pub fn revoke(tested: &TestBox, signer: &str, edit: impl FnOnce(&mut Revocation)) {
    let mut next = site(tested).revocation().clone();
    next.version = Count(next.version.0 + 1);
    next.issued_at = databox::site::now();
    edit(&mut next);
    install(tested, &next, &[&key(tested, signer)]);
}

/// Looks again until something holds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Waits until the console hands out such a site.
pub async fn console_has(tested: &TestBox, steward: &str, such: impl Fn(&Site) -> bool) {
    let mut desk = tested.desk(steward).await;
    until("the console's new site", async || desk.site().await.ok().filter(&such)).await;
}

pub async fn in_review(tested: &TestBox, name: &str, value: &str) -> String {
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric(value))];
    let job = tested.run_job("kim", &tested.bundle(name, &files)).await;
    assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
    job.job
}

pub async fn approve(tested: &TestBox, steward: &str, job: &str) -> Result<api::v1::Review, Failure> {
    let opened = tested.opened(steward, job).await;
    let answer = tested.desk(steward).await.approve(&opened).await?;
    Ok(answer.review.unwrap())
}

/// What the signer says when it is asked for a release directly, as a console that hides things would.
async fn ask_signer(tested: &TestBox, steward: &str, review: &str) -> Answer {
    let channel = databox::client::connect(&tested.stage.profile(steward)).await.unwrap();
    let asked = GetReviewRequest { review: review.to_owned() };
    let held = ReviewServiceClient::new(channel).get_review(asked).await.unwrap().into_inner();
    let parse = |bytes: &[u8]| Envelope::parse(bytes).unwrap();
    let submit = Submit {
        request: parse(&held.request),
        verdict: parse(&held.verdict),
        code_approvals: Vec::new(),
        decision: Decision::Approvals(held.decisions.iter().map(|bytes| parse(bytes)).collect()),
        compared: Vec::new(),
        witnessed: Count(0),
    };
    let socket = tested.stage.home.join("run/signer/signer.sock");
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        socket::ask(&mut stream, &Message::Submit(submit)).unwrap()
    });
    asking.await.unwrap()
}

fn refusal(answer: Answer) -> &'static str {
    match answer {
        Answer::Refused(refusal) => refusal.name(),
        other => panic!("{other:?}"),
    }
}

/// Another version of the box's policy, with one thing changed, and a grant under it.
pub async fn change_policy(tested: &TestBox, from: &str, to: &str) {
    let old = tested.stage.home.site().join("policies/demo/1.toml");
    let text = std::fs::read_to_string(&old).unwrap_or_else(|error| panic!("{}: {error}", old.display()));
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let toml = tested.directory().join("changed.toml");
    std::fs::write(&toml, &text).unwrap();
    let [ana, ben] = ["ana", "ben"].map(|steward| key(tested, steward));
    let mut grant = site(tested).grants().next().unwrap().statement().clone();
    (grant.version, grant.issued_at) = (Count(2), now());
    (grant.policy.version, grant.policy.file) = (Count(2), Digest::of(text.as_bytes()).into());
    let mut policy = site(tested).policies().next().unwrap().statement().statement().clone();
    (policy.version, policy.issued_at, policy.file) = (Count(2), now(), grant.policy.file);
    let draft = tested.directory().join("changed.json");
    let signers: [&dyn Sign; 2] = [&ana, &ben];
    std::fs::write(&draft, Envelope::sign(&policy, &signers).unwrap().to_bytes()).unwrap();
    tested.stage.sign_and_install(&draft, &[], Some(toml)).unwrap();
    install(tested, &grant, &[&ana, &ben]);
    let bench = tested.bench("kim").await;
    until("a gateway with the new grant", async || {
        let site = bench.site().await.ok()?;
        site.grants().any(|grant| grant.statement().version == Count(2)).then_some(())
    })
    .await;
}

#[test]
fn reviews_go_on_across_new_roles_and_a_new_grant_to_release_and_to_refusal() {
    let tested = TestBox::start();
    wait(async {
        let (released, refused) =
            (in_review(&tested, "one", "1").await, in_review(&tested, "two", "2").await);
        approve(&tested, "ana", &released).await.unwrap();

        let before = site(&tested);
        let [ana, ben] = ["ana", "ben"].map(|steward| key(&tested, steward));
        let mut roles = before.roles().clone();
        (roles.version, roles.issued_at) = (Count(2), databox::site::now());
        install(&tested, &roles, &[&ana, &ben]);
        let mut grant = before.grants().next().unwrap().statement().clone();
        (grant.version, grant.issued_at) = (Count(2), databox::site::now());
        grant.members.remove(&"lee".parse().unwrap());
        install(&tested, &grant, &[&ana, &ben]);
        console_has(&tested, "ben", |site| site.roles().version.0 == 2 && site.earlier_grants().count() == 1)
            .await;

        let review = approve(&tested, "ben", &released).await.unwrap();
        assert_eq!((review.state(), review.approvals), (ReviewState::Released, 2), "{review:?}");
        assert_eq!(tested.wait("kim", &released, State::Released).await, State::Released);
        let out = tested.directory().join("released");
        tested.shelf("kim").await.get(&released, &out).await.unwrap();

        // A refusal of the older job needs the older grant, too. The researcher reads its reasons.
        let opened = tested.opened("ben", &refused).await;
        let reasons = vec![DenialReason::SmallCounts, DenialReason::OutsidePurpose];
        let mut desk = tested.desk("ben").await;
        desk.deny(&opened, DenialDecision::Return, reasons, None).await.unwrap();
        assert_eq!(tested.wait("kim", &refused, State::Returned).await, State::Returned);
        let outcome = tested.bench("kim").await.job(&refused).await.unwrap().outcome.unwrap();
        assert_eq!(outcome.denial_reasons().count(), 2, "{outcome:?}");
    });
}

#[test]
fn a_replaced_grant_ends_what_waits_in_the_queue_at_once_and_lets_what_runs_go_on() {
    let tested = TestBox::start();
    wait(async {
        let bench = tested.bench("kim").await;
        let slow = format!("import time\ntime.sleep(25)\n{}", write_metric("1"));
        let mut jobs = Vec::new();
        for (name, code) in [("slow", slow), ("queued", write_metric("2"))] {
            let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &code)];
            let prepared = bench.prepare(&tested.bundle(name, &files)).await.unwrap();
            jobs.push(bench.submit(&prepared).await.unwrap().job);
            bench.wait(&jobs[0], &[State::Running], PATIENCE).await.unwrap();
        }
        bench.wait(&jobs[1], &[State::Queued], PATIENCE).await.unwrap();
        let mut grant = site(&tested).grants().next().unwrap().statement().clone();
        (grant.version, grant.issued_at) = (Count(2), databox::site::now());
        install(&tested, &grant, &[&key(&tested, "ana"), &key(&tested, "ben")]);
        let ended = bench.wait(&jobs[1], &[], PATIENCE).await.unwrap();
        let why = ended.outcome.clone().unwrap_or_default().reason();
        assert_eq!((state(&ended), why), (State::Refused, api::v1::Reason::Grant));
        // No slot had to become free for it.
        let other = bench.job(&jobs[0]).await.unwrap();
        assert_eq!(state(&other), State::Running);
        let mut seen = Vec::new();
        bench
            .follow(&jobs[1], 0, |_, state| {
                seen.push(state);
                state.is_end()
            })
            .await
            .unwrap();
        assert!(!seen.contains(&State::Running), "{seen:?}");
        // Its twin began in time.
        assert_eq!(tested.wait("kim", &jobs[0], State::InReview).await, State::InReview);
        assert_eq!(
            tested.wait("kim", &in_review(&tested, "after", "3").await, State::InReview).await,
            State::InReview
        );
    });
}

#[test]
fn a_grant_under_which_nothing_could_be_released_is_not_installed_and_doctor_names_one_that_is_there() {
    let tested = TestBox::start();
    let mut sound = site(&tested).grants().next().unwrap().statement().clone();
    (sound.version, sound.issued_at) = (Count(2), databox::site::now());
    let keys = [key(&tested, "ana"), key(&tested, "ben")];
    let sign = |grant: &Grant| {
        Envelope::sign(grant, &keys.each_ref().map(|key| key as &dyn Sign)).expect("a grant can be signed")
    };
    type Change = fn(&mut Grant);
    let changes: [(&str, Change); 4] = [
        ("9 stewards of hie must approve", |grant| grant.approvals.threshold = Count(9)),
        ("people of 9 organisations must approve", |grant| grant.approvals.organisations = Count(9)),
        ("which is not here", |grant| grant.policy.file.sha256 = blobs::Digest::of(b"another policy")),
        ("which is not here", |grant| grant.policy.version = Count(7)),
    ];
    for (why, change) in changes {
        let mut grant = sound.clone();
        change(&mut grant);
        let refused = try_install(&tested, &sign(&grant)).unwrap_err();
        assert_eq!(refused.reason, "GRANT_UNMET", "{refused}");
        assert!(refused.text.contains(why), "{refused}");
        assert_eq!(
            site(&tested).grants().next().unwrap().statement().version,
            Count(1),
            "nothing was changed"
        );
    }
    let mut unmet = sound.clone();
    unmet.approvals.threshold = Count(9);
    // Past the tool, as whoever copies files does.
    std::fs::write(tested.stage.home.site().join("grants/grant-1/2.json"), sign(&unmet).to_bytes()).unwrap();
    let named = || {
        let checks = databox::doctor::examine(&tested.stage.home);
        checks.into_iter().any(|check| check.name == "grant" && check.found.contains("9 stewards of hie"))
    };
    assert!(named(), "doctor names it");
    sound.version = Count(3);
    try_install(&tested, &sign(&sound)).unwrap();
    assert!(!named(), "a sound one follows");
}

#[test]
fn a_revoked_steward_can_do_nothing_and_what_stands_on_their_signature_stands_no_more() {
    let tested = TestBox::start();
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        let review = approve(&tested, "ana", &job).await.unwrap().review;
        revoke(&tested, "ben", |revocation| revocation.people.push("ana".parse().unwrap()));
        console_has(&tested, "ben", |site| site.revocation().version.0 == 2).await;
        let turned_away = tested.desk("ana").await.list().await.unwrap_err();
        assert_eq!(turned_away.reason, "REVOKED");
        // The grant carries two signatures, and of these one counts.
        let refused = tested.desk("ben").await.open(&review).await.err().unwrap();
        assert_eq!(refused.reason, "VERDICT_REFUSED", "{refused}");
        assert_eq!(refusal(ask_signer(&tested, "ben", &review).await), "request-grant");
    });
}

#[test]
fn a_revoked_key_ends_running_and_queued_jobs_and_a_revoked_person_s_open_stream_and_pending_reviews() {
    let tested = TestBox::start();
    wait(async {
        let pending = in_review(&tested, "one", "1").await;
        let bench = tested.bench("kim").await;
        let slow = format!("import time\ntime.sleep(600)\n{}", write_metric("1"));
        let mut jobs = Vec::new();
        for (name, code) in [("slow", slow), ("queued", write_metric("2"))] {
            let text = manifest(ONE_METRIC).replace("30s", "20min");
            let files = [("databox.toml", &text[..]), ("job.py", &code)];
            let prepared = bench.prepare(&tested.bundle(name, &files)).await.unwrap();
            jobs.push(bench.submit(&prepared).await.unwrap().job);
            // Of two that wait either may come first.
            bench.wait(&jobs[0], &[State::Running], PATIENCE).await.unwrap();
        }
        // Kim's transport certificate still counts, so that Kim reads what became of it.
        let lost = key_id(&key(&tested, "kim").public());
        let revoked = Instant::now();
        revoke(&tested, "ben", |revocation| revocation.keys.push(lost));
        // Long before its own ten minutes are over.
        let ended = bench.wait(&jobs[0], &[], PATIENCE).await.unwrap();
        println!("a running job of a revoked key ended after {:.1} s", revoked.elapsed().as_secs_f64());
        let why = ended.outcome.clone().unwrap_or_default().reason();
        assert_eq!((state(&ended), why), (State::Cancelled, api::v1::Reason::Request));
        let ended = bench.wait(&jobs[1], &[], PATIENCE).await.unwrap();
        assert_eq!(state(&ended), State::Refused, "{:?}", ended.outcome);
        console_has(&tested, "ben", |site| site.revocation().version.0 == 2).await;
        let refused = tested.desk("ben").await.open(&review_of(&tested, "ben").await).await.err().unwrap();
        assert!(refused.text.contains("revoked"), "{refused}");

        let watch = WatchJobRequest { job: pending.clone(), after_event: 0 };
        let mut client = JobServiceClient::new(bench.channel());
        let mut stream = client.watch_job(watch).await.unwrap().into_inner();
        stream.message().await.unwrap().expect("an event");
        let revoked = Instant::now();
        revoke(&tested, "ben", |revocation| revocation.people.push("kim".parse().unwrap()));
        let cut = tokio::time::timeout(PATIENCE, async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    ended => return ended.unwrap_err(),
                }
            }
        });
        assert_eq!(cut.await.expect("the stream is cut").code(), tonic::Code::PermissionDenied);
        println!("an open stream of a revoked person was cut after {:.1} s", revoked.elapsed().as_secs_f64());
        assert_eq!(bench.jobs().await.unwrap_err().reason, "REVOKED");
        assert!(tested.bench("lee").await.jobs().await.unwrap().is_empty(), "others go on");
    });
}

/// Some review of this steward.
async fn review_of(tested: &TestBox, steward: &str) -> String {
    let mut desk: Desk = tested.desk(steward).await;
    desk.list().await.unwrap().remove(0).review
}

#[test]
fn a_revoked_certificate_opens_nothing_and_a_new_one_of_the_same_person_does() {
    let tested = TestBox::start();
    let home = &tested.stage.home;
    let files = tested.stage.key_files("lee");
    let serial = databox::certificate::serial(&files.tls_certificate()).unwrap();
    let draft = tested.directory().join("revocation-2.json");
    databox::site::revoke_certificate(&serial, &home.site(), &draft).unwrap();
    wait(async {
        assert!(tested.bench("lee").await.jobs().await.is_ok(), "a draft revokes nothing");
        tested.stage.sign_and_install(&draft, &["ben"], None).unwrap();
        let bench = tested.bench("lee").await;
        let refused = until("the revocation", async || bench.jobs().await.err()).await;
        assert_eq!(refused.reason, "REVOKED");
        assert!(tested.bench("kim").await.jobs().await.is_ok());

        let request = std::fs::read_to_string(files.tls_request()).unwrap();
        let (site, role) = (site(&tested).name().clone(), databox::certificate::CertificateRole::Researcher);
        let new =
            databox::certificate::issue(home, &site, &request, role, &"lee".parse().unwrap(), 1).unwrap();
        std::fs::write(files.tls_certificate(), new).unwrap();
        assert!(tested.bench("lee").await.jobs().await.is_ok());
    });
}

#[test]
fn past_its_expiry_nothing_is_admitted_approved_or_signed_until_the_revocation_is_renewed() {
    let tested = TestBox::start();
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        let opened = tested.opened("ben", &job).await;
        let review = opened.review.review.clone();
        // A request that was signed in time.
        let bench = tested.bench("kim").await;
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("2"))];
        let late = bench.prepare(&tested.bundle("late", &files)).await.unwrap();
        let expires = databox::site::now().plus(3);
        revoke(&tested, "ben", |revocation| revocation.expires = expires);
        console_has(&tested, "ben", |site| site.revocation().version.0 == 2).await;
        until("the expiry", async || (databox::site::now() > expires).then_some(())).await;

        let refused = tested.desk("ben").await.approve(&opened).await.unwrap_err();
        assert!(refused.text.contains("force"), "{refused}");
        assert_eq!(refusal(ask_signer(&tested, "ben", &review).await), "out-of-force");
        let refused = bench.submit(&late).await.unwrap_err();
        assert!(refused.text.contains("(out-of-force)"), "a request is not admitted: {refused}");

        revoke(&tested, "ben", |revocation| revocation.expires = databox::site::now().plus(7 * 24 * 3600));
        console_has(&tested, "ben", |site| site.revocation().version.0 == 3).await;
        let review = approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(review.state(), ReviewState::Released, "{review:?}");
        in_review(&tested, "again", "3").await;
    });
}
