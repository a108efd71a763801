//! Defects of the approvals of code: who let it run, what exactly, and when.

use blobs::Digest;
use release::key::{Sign, key_id};
use release::refusal::Refusal;
use release::statement::{CodeReview, Evidence, Interest, Member, RolesId};
use release::value::Count;

use super::{Defect, story};
use crate::story::{Story, key, name, reviewer, time};

pub(super) fn all() -> Vec<Defect> {
    [innocent(), missing(), evidence(), bindings(), people(), times()].into_iter().flatten().collect()
}

/// A story whose grant demands a review of the code.
fn reviewed() -> Story {
    story().grant(|grant| grant.code_review = CodeReview::BeforeRun)
}

/// The same with a third steward, who approved the outputs in Ben's place. So about Ben, and about who approved the code
/// together, the review of the code is asked and nothing else.
fn outputs_without_ben() -> Story {
    reviewed()
        .second_roles(|roles| {
            let role = roles.datasets.get_mut(&name("hie")).expect("the dataset");
            role.stewards.push(name("supervisor-sue"));
        })
        .verdict(|verdict| verdict.reviewers.push(reviewer("supervisor-sue")))
        .approvals(|approvals| approvals[1].steward = name("supervisor-sue"))
}

fn innocent() -> Vec<Defect> {
    vec![
        Defect::innocent(
            "code-reviewed-by-others",
            "Of three stewards one approved the code and not the outputs, and another the outputs and not the code.",
            outputs_without_ben(),
        ),
        Defect::innocent(
            "code-reviewed",
            "The grant demands a review of the code, and two stewards approved it before the run.",
            reviewed(),
        ),
        Defect::innocent(
            "code-review-expired-since",
            "The approvals of the code had expired when the run was judged: it began in time.",
            reviewed().code_approvals(|approvals| {
                for approval in approvals {
                    approval.expires = time("2026-03-02T09:15:00Z");
                }
            }),
        ),
    ]
}

fn missing() -> Vec<Defect> {
    let missing = |which, about, story| Defect::new(Refusal::CodeReviewMissing, which, about, story);
    vec![
        missing(
            "verdict",
            "The grant demands a review of the code, and the verdict names none.",
            reviewed().verdict(|verdict| verdict.code_review = Evidence::NotChecked),
        ),
        missing(
            "approvals",
            "The verdict says that the code was reviewed, and no approval is there.",
            reviewed().release(|release| release.code_approvals.clear()),
        ),
        missing(
            "nobody",
            "The verdict names a review by nobody.",
            reviewed().code_approvals(|approvals| approvals.clear()),
        ),
    ]
}

fn evidence() -> Vec<Defect> {
    let evidence = |which, about, story| Defect::new(Refusal::CodeReviewEvidence, which, about, story);
    vec![
        evidence(
            "other-digest",
            "The verdict names other approvals than those beside it.",
            reviewed().verdict(|verdict| verdict.code_review = Evidence::Digest(Digest::of(b"others"))),
        ),
        evidence(
            "order",
            "The approvals stand in another order than by steward.",
            reviewed().release(|release| release.code_approvals.reverse()),
        ),
        evidence(
            "unasked",
            "Approvals of code under a grant that demands none.",
            story().release(|release| {
                release.code_approvals = reviewed().tell().release.code_approvals;
            }),
        ),
        evidence(
            "unasked-verdict",
            "The verdict names a review of the code that the grant does not demand.",
            story().verdict(|verdict| verdict.code_review = Evidence::Digest(Digest::of(b"a review"))),
        ),
        Defect::new(
            Refusal::StatementKind,
            "approval-of-outputs-as-code",
            "An approval of outputs stands where an approval of the code is expected.",
            reviewed().release(|release| release.code_approvals[1] = release.approvals[1].clone()),
        ),
        Defect::new(
            Refusal::StatementKind,
            "approval-of-code-as-outputs",
            "An approval of the code stands where an approval of the outputs is expected.",
            reviewed().release(|release| release.approvals[1] = release.code_approvals[1].clone()),
        ),
    ]
}

fn bindings() -> Vec<Defect> {
    let binding = |which, about, story| Defect::new(Refusal::CodeReviewBinding, which, about, story);
    vec![
        binding(
            "request",
            "The code of another request was approved.",
            reviewed().code_approvals(|approvals| {
                approvals[0].request = Digest::of(b"another request").into();
            }),
        ),
        binding(
            "bundle",
            "Another bundle was read.",
            reviewed().code_approvals(|approvals| {
                approvals[0].bundle = Digest::of(b"another bundle").into();
            }),
        ),
        binding(
            "grant",
            "The code was approved under another version of the grant.",
            reviewed().code_approvals(|approvals| approvals[0].grant.version = Count(1)),
        ),
        binding(
            "policy",
            "The code was approved under another policy.",
            reviewed().code_approvals(|approvals| approvals[0].policy.version = Count(2)),
        ),
        binding(
            "roles",
            "The code was approved under roles that nobody knows.",
            reviewed().code_approvals(|approvals| {
                approvals[0].roles = RolesId { version: Count(2), payload: Digest::of(b"roles").into() };
            }),
        ),
        Defect::new(
            Refusal::OtherSite,
            "code-approval",
            "The code was approved at another site.",
            reviewed().code_approvals(|approvals| approvals[0].site = name("elsewhere")),
        ),
    ]
}

fn people() -> Vec<Defect> {
    vec![
        Defect::new(
            Refusal::ApprovalSignature,
            "code",
            "An approval of the code in Ben's name, signed by Ana.",
            reviewed().signed_by("code-1", &["steward-ana"]),
        ),
        Defect::new(
            Refusal::ApprovalByRequester,
            "code",
            "The requester is a steward and approves their own code; others approve the outputs.",
            outputs_without_ben()
                .grant(|grant| {
                    let keys = vec![key("steward-ben").public()];
                    let organisation = name("university");
                    grant.members.insert(name("steward-ben"), Member { organisation, keys });
                })
                .request(|request| {
                    request.requester.id = name("steward-ben");
                    request.requester.key_id = key_id(&key("steward-ben").public());
                })
                .signed_by("request", &["steward-ben"]),
        ),
        Defect::new(
            Refusal::ApprovalInterest,
            "code",
            "A steward marked as having an interest in the project approved its code, and another one the outputs.",
            outputs_without_ben().revocation(|revocation| {
                let interest = Interest { person: name("steward-ben"), project: name("visits") };
                revocation.interests.push(interest);
            }),
        ),
        Defect::new(
            Refusal::ApprovalTwice,
            "code",
            "One steward approves the code twice.",
            reviewed().code_approvals(|approvals| {
                let again = approvals[0].clone();
                approvals.push(again);
            }),
        ),
        Defect::new(
            Refusal::ApprovalsTooFew,
            "code",
            "One steward alone approved the code.",
            reviewed().code_approvals(|approvals| approvals.truncate(1)),
        ),
        Defect::new(
            Refusal::ApprovalsOrganisations,
            "code",
            "The stewards who approved the code belong to one organisation, those who approved the outputs to two.",
            outputs_without_ben().code_approvals(|approvals| {
                approvals[0].steward = name("steward-ben");
                approvals[1].steward = name("supervisor-sue");
            }),
        ),
        Defect::new(
            Refusal::ApprovalsSupervisor,
            "code",
            "The supervisor whom the grant names approved the outputs and not the code.",
            story()
                .grant(|grant| {
                    grant.code_review = CodeReview::BeforeRun;
                    grant.approvals.supervisors = vec![name("supervisor-sue")];
                })
                .approvals(|approvals| {
                    let mut sue = approvals[0].clone();
                    sue.steward = name("supervisor-sue");
                    approvals.push(sue);
                }),
        ),
    ]
}

fn times() -> Vec<Defect> {
    let timed = |which, about, story| Defect::new(Refusal::CodeReviewTime, which, about, story);
    vec![
        timed(
            "after-the-run",
            "The code was approved after the run had been judged.",
            reviewed().code_approvals(|approvals| approvals[1].issued_at = time("2026-03-02T09:25:01Z")),
        ),
        timed(
            "before-the-request",
            "The code was approved before anyone asked.",
            reviewed().code_approvals(|approvals| approvals[1].issued_at = time("2026-03-02T08:54:59Z")),
        ),
        timed(
            "too-long",
            "An approval of code that would count for longer than 30 days.",
            reviewed().code_approvals(|approvals| approvals[1].expires = time("2026-04-02T09:00:00Z")),
        ),
        timed(
            "expired-before-it-was-made",
            "An approval of code that never counted.",
            reviewed().code_approvals(|approvals| approvals[1].expires = approvals[1].issued_at),
        ),
    ]
}
