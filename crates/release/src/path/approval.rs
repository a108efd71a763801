//! Whether enough people consented to a release, and who may refuse one.

use std::collections::BTreeSet;

use blobs::Digest;

use super::{JudgedVerdict, SignedRequest};
use crate::envelope::Envelope;
use crate::key::key_id;
use crate::refusal::Refusal;
use crate::site::{CLOCK_SKEW_SECONDS, Site, Verified};
use crate::statement::{Approval, Denial, PublicKey, Roles};
use crate::value::{Name, Timestamp};

/// The consent of everyone whom roles and grant demand, for one verdict.
#[derive(Debug, Clone)]
pub struct Approved {
    approvals: Vec<Verified<Approval>>,
    verdict: Digest,
}

impl Approved {
    /// Checks that people who may consent by the newest roles have done so, and enough of them. Grant and policy are
    /// those that the review began under, unless they are revoked or expired.
    /// People are counted, never keys, and the requester is not among them. One approval that fails refuses all.
    pub fn check(
        approvals: &[Envelope],
        verdict: &JudgedVerdict,
        site: &Site,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        site.fresh(now)?;
        let grant = site.grant_unexpired(&verdict.verdict().grant, now)?;
        site.policy_unexpired(&grant.statement().policy, now)?;
        Self::signed(approvals, verdict, site, now)
    }

    /// The same without asking whether roles, revocation, grant and policy are in force: a verifier asks that in a
    /// step of its own.
    pub(crate) fn signed(
        approvals: &[Envelope],
        verdict: &JudgedVerdict,
        site: &Site,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if !verdict.passed() {
            return Err(Refusal::VerdictBlocked);
        }
        verdict.check_time(now)?;
        let mut checked = Vec::new();
        for envelope in approvals {
            checked.push(check_one(envelope, verdict, site, now)?);
        }
        checked.sort_by(|left, right| left.statement().steward.cmp(&right.statement().steward));
        let people: BTreeSet<_> =
            checked.iter().map(|approval| approval.statement().steward.clone()).collect();
        if people.len() != checked.len() {
            return Err(Refusal::ApprovalTwice);
        }
        enough(&people, verdict.request(), site.roles())?;
        Ok(Self { approvals: checked, verdict: verdict.payload_digest() })
    }

    /// Checks one approval by itself, so that a console can show who is still missing.
    pub fn check_one(
        envelope: &Envelope,
        verdict: &JudgedVerdict,
        site: &Site,
        now: Timestamp,
    ) -> Result<Verified<Approval>, Refusal> {
        if !verdict.passed() {
            return Err(Refusal::VerdictBlocked);
        }
        check_one(envelope, verdict, site, now)
    }

    /// The approvals, sorted by steward.
    pub fn approvals(&self) -> &[Verified<Approval>] {
        &self.approvals
    }

    /// Payload digest of the verdict that is approved.
    pub fn verdict(&self) -> Digest {
        self.verdict
    }
}

fn check_one(
    envelope: &Envelope,
    verdict: &JudgedVerdict,
    site: &Site,
    now: Timestamp,
) -> Result<Verified<Approval>, Refusal> {
    let approval: Approval = envelope.unverified()?;
    if approval.site != *site.name() {
        return Err(Refusal::OtherSite);
    }
    may_consent(envelope, &approval.steward, verdict.request(), site)?;
    let judged = verdict.verdict();
    // Any roles since the verdict: what counts, who may approve and with which key, was asked of the newest above.
    let seen_roles = site.roles_version(&approval.roles);
    let bound = approval.verdict.sha256 == verdict.payload_digest()
        && approval.challenge == judged.challenge
        && approval.grant == judged.grant
        && approval.policy == judged.policy
        && seen_roles.is_some_and(|roles| roles.version >= judged.roles.version);
    if !bound {
        return Err(Refusal::ApprovalBinding);
    }
    let timely = approval.issued_at <= now.plus(CLOCK_SKEW_SECONDS)
        && approval.issued_at.plus(CLOCK_SKEW_SECONDS) >= judged.issued_at
        && now < approval.expires;
    if timely { Ok(Verified::new(approval, envelope.clone())) } else { Err(Refusal::ApprovalTime) }
}

/// Checks that this person signed and that their consent counts for this request: by the newest roles, not revoked,
/// neither the requester nor marked as having an interest in the project. The same is asked of who approves code and of
/// who approves outputs.
pub(super) fn may_consent(
    envelope: &Envelope,
    steward: &Name,
    request: &SignedRequest,
    site: &Site,
) -> Result<(), Refusal> {
    check_not_requester(steward, request, site)?;
    let key = reviewer_signed(envelope, steward, request, site)?;
    if member_keys(request).any(|member| member.public == key.public) {
        return Err(Refusal::ApprovalByRequester);
    }
    if site.has_interest(steward, &request.request().project) {
        return Err(Refusal::ApprovalInterest);
    }
    Ok(())
}

/// The requester never consents: neither under their own name nor under another with one of their keys.
fn check_not_requester(steward: &Name, request: &SignedRequest, site: &Site) -> Result<(), Refusal> {
    let keys = site.roles().people.get(steward).map(|person| &person.keys[..]).unwrap_or_default();
    // The same key under another suite is the same person.
    let shared = member_keys(request).any(|member| keys.iter().any(|key| key.public == member.public));
    if *steward == request.request().requester.id || shared {
        Err(Refusal::ApprovalByRequester)
    } else {
        Ok(())
    }
}

/// Keys of the requester. All of them, not only the one that signed.
fn member_keys(request: &SignedRequest) -> impl Iterator<Item = &PublicKey> {
    request.grant().statement().members.get(&request.request().requester.id).into_iter().flat_map(|m| &m.keys)
}

pub(super) fn reviewer_signed<'a>(
    envelope: &Envelope,
    person: &Name,
    request: &SignedRequest,
    site: &'a Site,
) -> Result<&'a PublicKey, Refusal> {
    if !may_review(site.roles(), request, person) {
        return Err(Refusal::ApprovalSignature);
    }
    let known = site.roles().people.get(person).map(|person| &person.keys[..]).unwrap_or_default();
    let key = envelope.signed_once_by(known, Refusal::ApprovalSignature)?;
    if site.is_revoked(person, &key_id(key)) { Err(Refusal::Revoked) } else { Ok(key) }
}

/// True if this person may see, approve and refuse the outputs of this request: a steward of one of its datasets,
/// or a supervisor whom its grant names.
pub fn may_review(roles: &Roles, request: &SignedRequest, person: &Name) -> bool {
    let datasets = &request.request().datasets;
    let steward = datasets
        .iter()
        .any(|dataset| roles.datasets.get(&dataset.name).is_some_and(|role| role.stewards.contains(person)));
    steward || request.grant().statement().approvals.supervisors.contains(person)
}

/// Checks that these people are as many, of as many organisations, and with the supervisors, as roles and grant demand.
pub(super) fn enough(people: &BTreeSet<Name>, request: &SignedRequest, roles: &Roles) -> Result<(), Refusal> {
    let demanded = &request.grant().statement().approvals;
    for dataset in &request.request().datasets {
        let role = roles.datasets.get(&dataset.name).ok_or(Refusal::ApprovalsTooFew)?;
        let stewards = role.stewards.iter().filter(|steward| people.contains(*steward)).count() as u64;
        if stewards < role.approval_threshold.max(demanded.threshold).0 {
            return Err(Refusal::ApprovalsTooFew);
        }
    }
    let known = people.iter().filter_map(|person| roles.people.get(person));
    let organisations: BTreeSet<_> = known.map(|person| &person.organisation).collect();
    if (organisations.len() as u64) < demanded.organisations.0 {
        return Err(Refusal::ApprovalsOrganisations);
    }
    if demanded.supervisors.iter().all(|supervisor| people.contains(supervisor)) {
        Ok(())
    } else {
        Err(Refusal::ApprovalsSupervisor)
    }
}

/// The refusal of one verdict by someone who may review it. It counts once it is a leaf of the log.
#[derive(Debug, Clone)]
pub struct Denied {
    denial: Verified<Denial>,
    key: PublicKey,
}

impl Denied {
    /// Checks a denial. It needs nobody else and does not expire.
    pub fn check(envelope: &Envelope, verdict: &JudgedVerdict, site: &Site) -> Result<Self, Refusal> {
        let denial = site.check_denial(envelope)?;
        let said = denial.statement();
        let key = *reviewer_signed(envelope, &said.steward, verdict.request(), site)?;
        let bound = said.verdict.sha256 == verdict.payload_digest()
            && said.challenge == verdict.verdict().challenge
            && site.roles_version(&said.roles).is_some();
        if bound { Ok(Self { denial, key }) } else { Err(Refusal::ApprovalBinding) }
    }

    /// The denial.
    pub fn denial(&self) -> &Verified<Denial> {
        &self.denial
    }

    /// The key that signed it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// A denial of this verdict that a steward laid into the site directory.
    pub fn in_site(verdict: &JudgedVerdict, site: &Site) -> Option<Self> {
        Self::among(site.denials().iter().map(Verified::envelope), verdict, site)
    }

    /// A denial of this verdict among these envelopes. What is none is passed over.
    pub fn among<'a>(
        envelopes: impl IntoIterator<Item = &'a Envelope>,
        verdict: &JudgedVerdict,
        site: &Site,
    ) -> Option<Self> {
        envelopes.into_iter().find_map(|envelope| Self::check(envelope, verdict, site).ok())
    }
}
