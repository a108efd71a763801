//! Defects of approvals: who consented, to what, and when.

use blobs::Digest;
use release::key::Sign;
use release::refusal::Refusal;
use release::statement::{Interest, Member, RolesId};
use release::value::{Bytes, Count};

use super::{Defect, story};
use crate::story::{Story, key, name, time};

pub(super) fn all() -> Vec<Defect> {
    [signatures(), bindings(), people(), times()].into_iter().flatten().collect()
}

fn signatures() -> Vec<Defect> {
    let signature = |which, about, story| Defect::new(Refusal::ApprovalSignature, which, about, story);
    vec![
        signature(
            "forged",
            "An approval in Ben's name, signed by someone else.",
            story().signed_by("approval-1", &["mallory"]),
        ),
        signature(
            "other-steward",
            "An approval in Ben's name, signed by Ana.",
            story().signed_by("approval-1", &["steward-ana"]),
        ),
        signature(
            "second-s",
            "Ben's signature with the order of the group added to S, which anyone can do.",
            story().signed_by("approval-1", &["steward-ben/second-s"]),
        ),
        signature(
            "neutral-commitment",
            "Ben's signature with an R of small order, about which verifiers disagree.",
            story().signed_by("approval-1", &["steward-ben/neutral-commitment"]),
        ),
        signature(
            "box",
            "An approval in Ben's name, signed by the enclave.",
            story().signed_by("approval-1", &["enclave"]),
        ),
        signature(
            "not-a-steward",
            "A root person approves.",
            story().approvals(|approvals| {
                approvals[1].steward = name("root-rita");
            }),
        ),
        signature(
            "supervisor-of-nothing",
            "A supervisor whom this grant does not name.",
            story().approvals(|approvals| {
                let mut sue = approvals[1].clone();
                sue.steward = name("supervisor-sue");
                approvals.push(sue);
            }),
        ),
    ]
}

fn bindings() -> Vec<Defect> {
    let binding = |which, about, story| Defect::new(Refusal::ApprovalBinding, which, about, story);
    vec![
        binding(
            "verdict",
            "An approval of another verdict.",
            story().approvals(|approvals| {
                approvals[0].verdict = Digest::of(b"another verdict").into();
            }),
        ),
        binding(
            "challenge",
            "An approval with another challenge.",
            story().approvals(|approvals| {
                approvals[0].challenge = Bytes([9; 32]);
            }),
        ),
        binding(
            "policy",
            "An approval under an older policy.",
            story().approvals(|approvals| {
                approvals[0].policy.version = Count(2);
            }),
        ),
        binding(
            "grant",
            "An approval under an older grant.",
            story().approvals(|approvals| {
                approvals[0].grant.version = Count(1);
            }),
        ),
        binding(
            "roles",
            "An approval given under older roles than the verdict's.",
            story().approvals(|approvals| {
                let first = Story::default().decide().roles[0].payload_digest();
                approvals[0].roles = RolesId { version: Count(1), payload: first.into() };
            }),
        ),
    ]
}

/// A steward asks for the job, with this key as member and as signer.
fn steward_asks(steward: &'static str) -> Story {
    story()
        .grant(move |grant| {
            let member = Member { organisation: name("hospital"), keys: vec![key(steward).public()] };
            grant.members.insert(name(steward), member);
        })
        .request(move |request| {
            request.requester.id = name(steward);
            request.requester.key_id = release::key::key_id(&key(steward).public());
        })
}

fn people() -> Vec<Defect> {
    vec![
        Defect::new(
            Refusal::ApprovalByRequester,
            "steward-asks",
            "A steward asked for the job and approves it.",
            steward_asks("steward-ana").signed_by("request", &["steward-ana"]),
        ),
        Defect::new(
            Refusal::ApprovalInterest,
            "steward",
            "A steward approves for a project in which they are marked as having an interest.",
            story().revocation(|revocation| {
                let (person, project) = (name("steward-ben"), name("visits"));
                revocation.interests.push(Interest { person, project });
            }),
        ),
        Defect::new(
            Refusal::ApprovalTwice,
            "same-person",
            "One steward approves twice, with two statements.",
            story().approvals(|approvals| {
                let mut again = approvals[0].clone();
                again.issued_at = time("2026-03-02T10:10:00Z");
                approvals.insert(1, again);
            }),
        ),
        Defect::new(
            Refusal::ApprovalTwice,
            "two-keys",
            "One steward approves twice, with two keys.",
            story()
                .second_roles(|roles| {
                    let ana = roles.people.get_mut(&name("steward-ana")).expect("Ana");
                    ana.keys.push(key("steward-ana second").public());
                })
                .approvals(|approvals| {
                    approvals[1].steward = name("steward-ana");
                })
                .signed_by("approval-1", &["steward-ana second"]),
        ),
        Defect::new(
            Refusal::ApprovalsTooFew,
            "one",
            "One approval, where two are needed.",
            story().approvals(|approvals| drop(approvals.pop())),
        ),
        Defect::new(Refusal::ApprovalsTooFew, "none", "No approval.", story().approvals(Vec::clear)),
        Defect::new(
            Refusal::ApprovalsTooFew,
            "supervisor-in-place-of-steward",
            "A supervisor does not count as a steward.",
            story()
                .grant(|grant| grant.approvals.supervisors = vec![name("supervisor-sue")])
                .approvals(|approvals| approvals[1].steward = name("supervisor-sue")),
        ),
        Defect::new(
            Refusal::ApprovalsOrganisations,
            "one",
            "Everyone who approved belongs to one organisation, and the grant demands two.",
            story().second_roles(|roles| {
                roles.people.get_mut(&name("steward-ben")).expect("Ben").organisation = name("hospital");
            }),
        ),
        Defect::new(
            Refusal::ApprovalsSupervisor,
            "missing",
            "The supervisor whom the grant names did not approve.",
            story().grant(|grant| grant.approvals.supervisors = vec![name("supervisor-sue")]),
        ),
    ]
}

fn times() -> Vec<Defect> {
    let moment = |which, about, story| Defect::new(Refusal::ApprovalTime, which, about, story);
    vec![
        moment(
            "expired",
            "An approval had expired when the release was signed.",
            story().approvals(|approvals| {
                approvals[0].expires = time("2026-03-02T10:59:59Z");
            }),
        ),
        moment(
            "after-release",
            "An approval was given after the release.",
            story().approvals(|approvals| {
                approvals[0].issued_at = time("2026-03-02T11:30:00Z");
            }),
        ),
        moment(
            "before-verdict",
            "An approval is older than its verdict.",
            story().approvals(|approvals| {
                approvals[0].issued_at = time("2026-03-02T09:00:00Z");
            }),
        ),
    ]
}
