//! The path's types: what each constructor refuses beyond what a release file can show.

use std::collections::BTreeMap;

use release::differencing::ComparedSet;
use release::envelope::Envelope;
use release::file::{CodeDenialFile, GivenFiles, LoggedDenial, Pinned, ReleaseFile};
use release::key::Sign;
use release::log::{Event, LogProof};
use release::path::{
    AdmittedRequest, Approved, CancelledJob, Denied, JudgedVerdict, ManifestDraft, NotSigned, ReviewedCode,
    ReviewedRun, SignedCancel, SignedRequest,
};
use release::refusal::Refusal;
use release::site::{Site, file_name};
use release::statement::*;
use release::value::{Count, Timestamp};
use test_formats::log_story::LogStory;
use test_formats::story::{POLICY_FILE, Story, Told, key, name, time, verified_at};

fn site_of(story: &Story, more: &[Envelope]) -> Site {
    let decided = story.decide();
    let pin = decided.roles[0].payload_digest();
    let [first, second] = decided.roles;
    let [dataset, runtime] = decided.catalogue;
    let envelopes = [first, second, decided.revocation, decided.policy, dataset, runtime, decided.grant];
    let all = envelopes.iter().chain(more);
    let mut files: Vec<_> =
        all.map(|envelope| (file_name(envelope).expect("a place"), envelope.to_bytes())).collect();
    files.push(("policies/standard/3.toml".into(), POLICY_FILE.as_bytes().to_vec()));
    Site::from_files(files, &pin, verified_at()).expect("a site")
}

struct Path {
    site: Site,
    told: Told,
    verdict: JudgedVerdict,
    approved: Approved,
    reviewed: ReviewedRun,
}

fn path() -> Path {
    let story = Story::default();
    let site = site_of(&story, &[]);
    let told = story.tell();
    let now = time("2026-03-02T11:00:00Z");
    let request = SignedRequest::verify(&told.release.request, &site).unwrap();
    let verdict = JudgedVerdict::verify(&told.release.verdict, &request, &site, now).unwrap();
    let approved = Approved::check(&told.release.approvals, &verdict, &site, now).unwrap();
    let reviewed = ReviewedRun::check(&told.release.code_approvals, &verdict, &site).unwrap();
    Path { site, told, verdict, approved, reviewed }
}

fn denial(path: &Path, steward: &str) -> Denial {
    Denial {
        site: path.site.name().clone(),
        verdict: path.verdict.payload_digest().into(),
        challenge: path.verdict.verdict().challenge,
        steward: name(steward),
        decision: DenialDecision::Reject,
        reasons: vec![DenialReason::OutsidePurpose, DenialReason::SmallCounts],
        roles: path.site.roles_id(),
        issued_at: time("2026-03-02T10:45:00Z"),
    }
}

fn signed(denial: &Denial, by: &str) -> Envelope {
    Envelope::sign(denial, &[&key(by)]).unwrap()
}

#[test]
fn a_request_is_admitted_between_its_making_and_its_expiry_only() {
    let story = Story::default();
    let site = site_of(&story, &[]);
    let request = story.tell().release.request;
    let admit = |now: Timestamp| AdmittedRequest::admit(&request, &site, now).map(drop);
    assert_eq!(admit(time("2026-03-02T09:00:00Z")), Ok(()));
    assert_eq!(admit(time("2026-03-02T20:59:59Z")), Ok(()));
    assert_eq!(admit(time("2026-03-02T08:55:00Z")), Ok(()));
    assert_eq!(admit(time("2026-03-02T08:54:59Z")), Err(Refusal::RequestTime));
    assert_eq!(admit(time("2026-03-02T21:00:00Z")), Err(Refusal::RequestTime));
    // Past the revocation's expiry nothing is admitted, whatever the request says.
    assert_eq!(admit(time("2026-03-08T09:00:00Z")), Err(Refusal::OutOfForce));
}

#[test]
fn a_revocation_that_nobody_signed_anew_for_a_week_stops_everything_whatever_expiry_it_states() {
    let long = Story::default().revocation(|revocation| revocation.expires = time("2036-03-01T09:00:00Z"));
    let fresh = |now| site_of(&long, &[]).fresh(time(now));
    assert_eq!(fresh("2026-03-08T08:59:59Z"), Ok(()));
    assert_eq!(fresh("2026-03-08T09:00:00Z"), Err(Refusal::OutOfForce));
    let short = Story::default().revocation(|revocation| revocation.expires = time("2026-03-03T09:00:00Z"));
    assert_eq!(site_of(&short, &[]).fresh(time("2026-03-03T09:00:00Z")), Err(Refusal::OutOfForce));
}

#[test]
fn a_request_under_an_expired_grant_or_policy_is_not_admitted() {
    let admit = |story: &Story| {
        let request = story.tell().release.request;
        AdmittedRequest::admit(&request, &site_of(story, &[]), verified_at()).map(drop)
    };
    assert_eq!(admit(&Story::default()), Ok(()));
    let expired = Story::default().grant(|grant| grant.expires = verified_at());
    assert_eq!(admit(&expired), Err(Refusal::OutOfForce));
    let policy = Story::default().policy(|policy| policy.expires = verified_at());
    assert_eq!(admit(&policy), Err(Refusal::OutOfForce));
}

#[test]
fn the_signer_builds_the_manifest_that_the_verifier_expects() {
    let Path { site, told, verdict, approved, reviewed } = path();
    let now = time("2026-03-02T11:00:00Z");
    let before = BTreeMap::from([(name("hie"), 2_048)]);
    let draft = ManifestDraft::from_evidence(
        &verdict,
        &approved,
        &reviewed,
        &site,
        &before,
        &ComparedSet::default(),
        now,
    )
    .unwrap();
    let manifest = draft.clone().sign(&key("signer"), &site).unwrap();
    assert_eq!(manifest, told.release.manifest);
    assert_eq!(
        draft.sign(&key("enclave"), &site).unwrap_err(),
        NotSigned::Refused(Refusal::ManifestSignature)
    );
    let proof = LogProof::parse(told.release.log_proof.as_bytes()).unwrap();
    let file =
        ReleaseFile::gather(manifest, &verdict, &approved, &reviewed, &site).unwrap().with_proof(&proof);
    assert_eq!(file.to_bytes(), told.bytes);
    let pinned = Pinned::new(told.pin);
    file.verify(&pinned, verified_at(), GivenFiles::NotGiven).unwrap();
}

#[test]
fn the_signer_refuses_an_overrun_and_a_denied_or_expired_verdict() {
    let path = path();
    let draft = |site: &Site, before: u64, now: &str| {
        let before = BTreeMap::from([(name("hie"), before)]);
        ManifestDraft::from_evidence(
            &path.verdict,
            &path.approved,
            &path.reviewed,
            site,
            &before,
            &ComparedSet::default(),
            time(now),
        )
        .map(drop)
    };
    assert_eq!(draft(&path.site, 0, "2026-03-02T11:00:00Z"), Ok(()));
    assert_eq!(draft(&path.site, 39_000, "2026-03-02T11:00:00Z"), Err(Refusal::ManifestAccount));
    assert_eq!(draft(&path.site, u64::MAX, "2026-03-02T11:00:00Z"), Err(Refusal::ManifestAccount));
    assert_eq!(draft(&path.site, 0, "2026-03-08T09:00:00Z"), Err(Refusal::OutOfForce));
    let denied = site_of(&Story::default(), &[signed(&denial(&path, "steward-ben"), "steward-ben")]);
    assert_eq!(draft(&denied, 0, "2026-03-02T11:00:00Z"), Err(Refusal::Denied));
    // A denial of another verdict changes nothing.
    let mut other = denial(&path, "steward-ben");
    other.verdict = blobs::Digest::of(b"another verdict").into();
    let other = site_of(&Story::default(), &[signed(&other, "steward-ben")]);
    assert_eq!(draft(&other, 0, "2026-03-02T11:00:00Z"), Ok(()));
}

#[test]
fn only_who_may_review_may_deny_and_only_this_verdict() {
    let path = path();
    let check =
        |denial: &Denial, by: &str| Denied::check(&signed(denial, by), &path.verdict, &path.site).map(drop);
    assert_eq!(check(&denial(&path, "steward-ben"), "steward-ben"), Ok(()));
    assert_eq!(check(&denial(&path, "steward-ben"), "mallory"), Err(Refusal::ApprovalSignature));
    assert_eq!(check(&denial(&path, "root-rita"), "root-rita"), Err(Refusal::ApprovalSignature));
    let mut other = denial(&path, "steward-ben");
    other.challenge.0[0] ^= 1;
    assert_eq!(check(&other, "steward-ben"), Err(Refusal::ApprovalBinding));
    let mut reasons = denial(&path, "steward-ben");
    reasons.reasons.clear();
    assert_eq!(check(&reasons, "steward-ben"), Err(Refusal::StatementForm));
}

#[test]
fn a_denial_counts_with_its_witnessed_leaf_only() {
    let path = path();
    let envelope = signed(&denial(&path, "steward-ana"), "steward-ana");
    let decided = Story::default().decide();
    let verify = |log: &LogStory, now: Timestamp| {
        LoggedDenial::verify(&envelope, &log.proof(), &path.verdict, &path.site, false, now).map(drop)
    };
    let log = |event: Event| {
        let mut log = LogStory::of(&decided, &envelope);
        let leaf = release::file::leaf(event, &envelope, &key("steward-ana").public()).unwrap();
        log.leaf = leaf.to_text().into_bytes();
        log
    };
    assert_eq!(verify(&log(Event::Denial), verified_at()), Ok(()));
    assert_eq!(verify(&log(Event::Release), verified_at()), Err(Refusal::LogInclusion));
    assert_eq!(verify(&log(Event::Denial), time("2026-03-02T10:00:00Z")), Err(Refusal::LogTime));
    let mut alone = log(Event::Denial);
    alone.cosigners.clear();
    assert_eq!(verify(&alone, verified_at()), Err(Refusal::LogWitnesses));
}

#[test]
fn a_room_whose_own_key_is_revoked_admits_and_signs_nothing() {
    let Path { told, verdict, approved, reviewed, .. } = path();
    let now = time("2026-03-02T11:00:00Z");
    let without = |room: &'static str| {
        let revoked = release::key::key_id(&key(room).public());
        site_of(&Story::default().revocation(move |revocation| revocation.keys.push(revoked)), &[])
    };
    let sign = |site: &Site| {
        let draft = ManifestDraft::from_evidence(
            &verdict,
            &approved,
            &reviewed,
            site,
            &BTreeMap::new(),
            &ComparedSet::default(),
            now,
        );
        draft.unwrap().sign(&key("signer"), site).map(drop)
    };
    let admit = |site: &Site| AdmittedRequest::admit(&told.release.request, site, now).map(drop);
    assert_eq!(
        (sign(&without("signer")), sign(&without("stranger"))),
        (Err(NotSigned::Refused(Refusal::Revoked)), Ok(()))
    );
    assert_eq!((admit(&without("enclave")), admit(&without("stranger"))), (Err(Refusal::Revoked), Ok(())));
}

/// A site in which a grant, and the roles, were replaced after the story's review began.
fn replaced(revoke: bool) -> Site {
    let newer = Story::default().grant(|grant| {
        grant.version = Count(3);
        grant.members.clear();
        let member = Member { organisation: name("university"), keys: vec![key("researcher-max").public()] };
        grant.members.insert(name("researcher-max"), member);
    });
    let third = {
        let mut roles: Roles = Story::default().decide().roles[1].unverified().expect("roles");
        roles.version = Count(3);
        roles.issued_at = time("2026-03-02T10:15:00Z");
        Envelope::sign(&roles, &[&key("root-rita"), &key("root-rolf")]).expect("an envelope")
    };
    let story = Story::default().revocation(move |revocation| {
        if revoke {
            revocation.grants.push(name("visits-study"));
        }
    });
    site_of(&story, &[newer.decide().grant, third])
}

#[test]
fn a_review_goes_on_under_the_grant_and_roles_with_which_it_began_unless_they_are_revoked() {
    let told = Story::default().tell();
    let now = time("2026-03-02T11:00:00Z");
    let site = replaced(false);
    let request = SignedRequest::verify(&told.release.request, &site).unwrap();
    let verdict = JudgedVerdict::verify(&told.release.verdict, &request, &site, now).unwrap();
    let approved = Approved::check(&told.release.approvals, &verdict, &site, now).unwrap();
    let reviewed = ReviewedRun::check(&told.release.code_approvals, &verdict, &site).unwrap();
    let draft = ManifestDraft::from_evidence(
        &verdict,
        &approved,
        &reviewed,
        &site,
        &BTreeMap::new(),
        &ComparedSet::default(),
        now,
    )
    .unwrap();
    assert_eq!(draft.manifest().roles.version, Count(3));
    let manifest = draft.sign(&key("signer"), &site).unwrap();
    let file = ReleaseFile::gather(manifest, &verdict, &approved, &reviewed, &site).unwrap();
    assert_eq!((file.grant, file.roles.len()), (told.release.grant.clone(), 3));
    let denial = denial(&path(), "steward-ben");
    assert!(Denied::check(&signed(&denial, "steward-ben"), &verdict, &site).is_ok());

    // Nothing begins under what was replaced.
    let admitted = AdmittedRequest::admit(&told.release.request, &site, now).map(drop);
    assert_eq!(admitted, Err(Refusal::RequestGrant));
    let revoked = SignedRequest::verify(&told.release.request, &replaced(true)).map(drop);
    assert_eq!(revoked, Err(Refusal::Revoked));
}

#[test]
fn an_approval_under_roles_since_replaced_does_not_outlive_the_steward() {
    let told = Story::default().tell();
    let now = time("2026-03-02T11:00:00Z");
    let mut roles: Roles = Story::default().decide().roles[1].unverified().unwrap();
    roles.version = Count(3);
    roles.issued_at = time("2026-03-02T10:50:00Z");
    let sue = roles.people[&name("supervisor-sue")].clone();
    roles.people.remove(&name("steward-ben"));
    roles.people.insert(name("steward-sue"), sue);
    roles.people.remove(&name("supervisor-sue"));
    let hie = roles.datasets.get_mut(&name("hie")).unwrap();
    hie.stewards = vec![name("steward-ana"), name("steward-sue")];
    hie.grant_threshold = Count(1);
    let third = Envelope::sign(&roles, &[&key("root-rita"), &key("root-rolf")]).unwrap();
    let site = site_of(&Story::default(), &[third]);
    let request = SignedRequest::verify(&told.release.request, &site).unwrap();
    let verdict = JudgedVerdict::verify(&told.release.verdict, &request, &site, now).unwrap();
    let check = |approval: &Envelope| Approved::check_one(approval, &verdict, &site, now).map(drop);
    assert_eq!(check(&told.release.approvals[0]), Ok(()));
    assert_eq!(check(&told.release.approvals[1]), Err(Refusal::ApprovalSignature));
    let both = Approved::check(&told.release.approvals, &verdict, &site, now).map(drop);
    assert_eq!(both, Err(Refusal::ApprovalSignature));
}

#[test]
fn someone_with_an_interest_in_the_project_may_not_approve_and_may_refuse() {
    let path = path();
    let marked = |project: &'static str| {
        let story = Story::default().revocation(move |revocation| {
            let interest = Interest { person: name("steward-ben"), project: name(project) };
            revocation.interests.push(interest);
        });
        site_of(&story, &[])
    };
    let now = time("2026-03-02T11:00:00Z");
    let check =
        |site: &Site| Approved::check(&path.told.release.approvals, &path.verdict, site, now).map(drop);
    assert_eq!(check(&marked("visits")), Err(Refusal::ApprovalInterest));
    assert_eq!(check(&marked("another-project")), Ok(()));
    let denial = signed(&denial(&path, "steward-ben"), "steward-ben");
    assert!(Denied::check(&denial, &path.verdict, &marked("visits")).is_ok());
}

/// Whatever byte of a release file is changed, it is refused, but for hints, which nothing is decided by.
#[test]
fn no_byte_of_a_release_file_can_be_changed() {
    change_bytes(61);
}

#[test]
#[ignore = "longer: every single byte"]
fn no_single_byte_of_a_release_file_can_be_changed() {
    change_bytes(1);
}

fn change_bytes(step: usize) {
    let told = Story::default().tell();
    let pinned = Pinned::new(told.pin);
    let hints = hint_ranges(&told.bytes);
    for at in (0..told.bytes.len()).step_by(step) {
        let mut changed = told.bytes.clone();
        changed[at] ^= 1;
        let file = ReleaseFile::parse(&changed);
        let verified = file.and_then(|file| file.verify(&pinned, verified_at(), GivenFiles::NotGiven));
        let hint = hints.iter().any(|range| range.contains(&at));
        assert!(verified.is_err() || hint, "byte {at} of {}", told.bytes.len());
    }
}

fn hint_ranges(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.match_indices("\"keyid\":\"").map(|(at, key)| at + key.len()..at + key.len() + 64).collect()
}

/// A cancel of the story's job that says what `edit` makes of it, signed with this key.
fn cancel(path: &Path, edit: impl Fn(&mut Cancel), signer: &str) -> Envelope {
    let request: Request = path.told.release.request.unverified().unwrap();
    let mut cancel = Cancel {
        site: request.site,
        request: path.told.release.request.payload_digest().into(),
        requester: request.requester,
        issued_at: time("2026-03-02T09:05:00Z"),
    };
    edit(&mut cancel);
    Envelope::sign(&cancel, &[&key(signer)]).unwrap()
}

#[test]
fn a_job_is_called_off_by_its_requester_alone() {
    let path = path();
    let requester = name("researcher-mia");
    let grant = path.site.grants().next().unwrap().statement().id.clone();
    let request = path.told.release.request.payload_digest();
    let job = CancelledJob { request, requester: &requester, grant: &grant };
    let verify = |envelope: &Envelope| {
        SignedCancel::verify(envelope, job, &path.site, time("2026-03-02T09:06:00Z")).map(drop)
    };
    assert_eq!(verify(&cancel(&path, |_| (), "researcher-mia")), Ok(()));
    let refused: [(&str, Envelope, Refusal); 6] = [
        ("signed by another", cancel(&path, |_| (), "steward-ana"), Refusal::RequestSignature),
        (
            "in another's name",
            cancel(&path, |cancel| cancel.requester.id = name("steward-ana"), "researcher-mia"),
            Refusal::RequestSignature,
        ),
        (
            "about another job",
            cancel(&path, |cancel| cancel.request = blobs::Digest::of(b"other").into(), "researcher-mia"),
            Refusal::RequestSignature,
        ),
        (
            "of another site",
            cancel(&path, |cancel| cancel.site = name("elsewhere"), "researcher-mia"),
            Refusal::OtherSite,
        ),
        (
            "from the future",
            cancel(&path, |cancel| cancel.issued_at = time("2026-03-03T09:05:00Z"), "researcher-mia"),
            Refusal::RequestTime,
        ),
        ("no cancel at all", path.told.release.request.clone(), Refusal::StatementKind),
    ];
    for (what, envelope, refusal) in refused {
        assert_eq!(verify(&envelope), Err(refusal), "{what}");
    }
    let unknown = CancelledJob { grant: &name("no-such-grant"), ..job };
    let signed = cancel(&path, |_| (), "researcher-mia");
    let verified = SignedCancel::verify(&signed, unknown, &path.site, time("2026-03-02T09:06:00Z"));
    assert_eq!(verified.map(drop), Err(Refusal::RequestGrant));
}

/// The story under a grant that demands a review of the code.
fn story_with_code_review() -> Story {
    Story::default().grant(|grant| grant.code_review = CodeReview::BeforeRun)
}

fn code_denial(request: &SignedRequest, site: &Site, steward: &str) -> CodeDenial {
    CodeDenial {
        site: site.name().clone(),
        request: request.payload_digest().into(),
        bundle: request.request().bundle,
        steward: name(steward),
        decision: DenialDecision::Return,
        reasons: vec![DenialReason::Code],
        roles: site.roles_id(),
        issued_at: time("2026-03-02T09:12:00Z"),
    }
}

#[test]
fn code_runs_only_while_enough_approvals_of_it_count_and_nobody_refused_it() {
    let story = story_with_code_review();
    let told = story.tell();
    let site = site_of(&story, &[]);
    let request = SignedRequest::verify(&told.release.request, &site).unwrap();
    let approvals = &told.release.code_approvals;
    let check = |approvals: &[Envelope], site: &Site, now: &str| {
        ReviewedCode::check(approvals, &request, site, time(now)).map(|code| code.evidence())
    };
    let before = "2026-03-02T09:15:00Z";
    let verdict: Verdict = told.release.verdict.unverified().unwrap();
    assert_eq!(check(approvals, &site, before), Ok(verdict.code_review));
    assert_eq!(check(&[], &site, before), Err(Refusal::CodeReviewMissing));
    assert_eq!(check(&approvals[..1], &site, before), Err(Refusal::ApprovalsTooFew));
    let twice = [approvals[0].clone(), approvals[0].clone()];
    assert_eq!(check(&twice, &site, before), Err(Refusal::ApprovalTwice));
    assert_eq!(
        check(approvals, &site, "2026-03-02T09:00:00Z"),
        Err(Refusal::CodeReviewTime),
        "from the future"
    );
    // Roles, grant and revocation are in force at that moment, the approvals no more.
    let long = story_with_code_review().revocation(|revocation| {
        revocation.issued_at = verified_at();
        revocation.expires = time("2026-03-20T09:00:00Z");
    });
    let late = site_of(&long, &[]);
    assert_eq!(check(approvals, &late, "2026-03-08T09:00:00Z"), Ok(verdict.code_review));
    assert_eq!(check(approvals, &late, "2026-03-09T09:00:00Z"), Err(Refusal::CodeReviewTime));
    // An approval of outputs is none of code, and the reverse.
    assert_eq!(check(&told.release.approvals, &site, before), Err(Refusal::StatementKind));
    let judged =
        JudgedVerdict::verify(&told.release.verdict, &request, &site, time("2026-03-02T11:00:00Z")).unwrap();
    let as_outputs = Approved::check(approvals, &judged, &site, time("2026-03-02T11:00:00Z")).map(drop);
    assert_eq!(as_outputs, Err(Refusal::StatementKind));

    // Whoever is revoked or has left counts no more while it is pending.
    let revoked = story_with_code_review()
        .second_roles(|roles| {
            // The grant stands without Ben.
            roles.datasets.get_mut(&name("hie")).unwrap().grant_threshold = Count(1);
        })
        .revocation(|revocation| revocation.people.push(name("steward-ben")));
    assert_eq!(check(&approvals[1..], &site_of(&revoked, &[]), before), Err(Refusal::Revoked));
    let denial =
        Envelope::sign(&code_denial(&request, &site, "steward-ben"), &[&key("steward-ben")]).unwrap();
    assert_eq!(check(approvals, &site_of(&story, &[denial]), before), Err(Refusal::CodeDenied));
}

#[test]
fn code_that_a_steward_refused_in_the_site_directory_is_not_released() {
    let story = story_with_code_review();
    let told = story.tell();
    let now = time("2026-03-02T11:00:00Z");
    let draft = |site: &Site| {
        let request = SignedRequest::verify(&told.release.request, site).unwrap();
        let verdict = JudgedVerdict::verify(&told.release.verdict, &request, site, now).unwrap();
        let approved = Approved::check(&told.release.approvals, &verdict, site, now).unwrap();
        let reviewed = ReviewedRun::check(&told.release.code_approvals, &verdict, site)?;
        ManifestDraft::from_evidence(
            &verdict,
            &approved,
            &reviewed,
            site,
            &BTreeMap::new(),
            &ComparedSet::default(),
            now,
        )
        .map(drop)
    };
    let site = site_of(&story, &[]);
    let request = SignedRequest::verify(&told.release.request, &site).unwrap();
    let denial = code_denial(&request, &site, "steward-ben");
    let laid =
        |denial: &CodeDenial, by: &str| site_of(&story, &[Envelope::sign(denial, &[&key(by)]).unwrap()]);
    assert_eq!(draft(&site), Ok(()));
    assert_eq!(draft(&laid(&denial, "steward-ben")), Err(Refusal::CodeDenied));
    // A refusal of another request's code changes nothing, nor does one by someone else.
    let other = CodeDenial { request: blobs::Digest::of(b"another request").into(), ..denial.clone() };
    assert_eq!(draft(&laid(&other, "steward-ben")), Ok(()));
    assert_eq!(draft(&laid(&denial, "steward-ana")), Ok(()));
}

#[test]
fn a_refusal_of_code_counts_with_its_witnessed_leaf_only() {
    let story = story_with_code_review();
    let told = story.tell();
    let site = site_of(&story, &[]);
    let request = SignedRequest::verify(&told.release.request, &site).unwrap();
    let denial = code_denial(&request, &site, "steward-ana");
    let envelope = Envelope::sign(&denial, &[&key("steward-ana")]).unwrap();
    let log = |event: Event| {
        let mut log = LogStory::of(&story.decide(), &envelope);
        let leaf = release::file::leaf(event, &envelope, &key("steward-ana").public()).unwrap();
        log.leaf = leaf.to_text().into_bytes();
        log
    };
    let verify = |log: &LogStory, denial: &Envelope| {
        let file = CodeDenialFile {
            denial: denial.clone(),
            request: told.release.request.clone(),
            log_proof: log.proof(),
        };
        let file = CodeDenialFile::parse(&file.to_bytes()).unwrap();
        file.verify(&request, &site, false, verified_at()).map(|logged| logged.denial().clone())
    };
    assert_eq!(verify(&log(Event::CodeDenial), &envelope), Ok(denial.clone()));
    assert_eq!(verify(&log(Event::Denial), &envelope), Err(Refusal::LogInclusion), "a denial of a verdict");
    let mut alone = log(Event::CodeDenial);
    alone.cosigners.clear();
    assert_eq!(verify(&alone, &envelope), Err(Refusal::LogWitnesses));
    let forged = Envelope::sign(&denial, &[&key("steward-ben")]).unwrap();
    assert_eq!(verify(&log(Event::CodeDenial), &forged), Err(Refusal::ApprovalSignature));
    let other = CodeDenial { bundle: blobs::Digest::of(b"another bundle").into(), ..denial };
    let other = Envelope::sign(&other, &[&key("steward-ana")]).unwrap();
    assert_eq!(verify(&log(Event::CodeDenial), &other), Err(Refusal::CodeReviewBinding));
}
