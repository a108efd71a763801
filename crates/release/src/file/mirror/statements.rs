//! The statements of the site, in the order of the log. A leaf is the signer's alone, and whoever has its keys can append
//! what nobody decided: so each statement is verified as the rooms verify it, under the roles and the revocation of its
//! place. Only then is it said what grants allow and what is recalled.

use blobs::Digest;

use super::entries::PublicLeaves;
use super::standing::Standing;
use super::{Audit, AuditState, Found, follow, statement};
use crate::envelope::{ENVELOPE_LIMIT, Envelope};
use crate::file::examination::Outcome;
use crate::log::{Event, Leaf};
use crate::refusal::Refusal;
use crate::site::Verified;
use crate::statement::{Policy, Revocation, Roles};
use crate::value::Timestamp;

/// What stood when an earlier examination ended. It verified these; their digests are the auditor's own.
pub(super) fn resume(audit: &Audit<'_>, state: &AuditState) -> Found<Standing> {
    let mut standing = Standing::default();
    for digest in &state.roles {
        let envelope = seen(audit, "roles", digest)?;
        let next = envelope.and_then(|envelope| follow(standing.newest_roles(), &envelope, audit.pinned));
        match next {
            Ok(roles) => standing.add_roles(None, roles),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    let revocation = seen(audit, "revocations", &state.revocation)?;
    Ok(revocation.and_then(|envelope| {
        standing.resume_revocation(Verified::new(envelope.unverified()?, envelope));
        Ok(standing)
    }))
}

fn seen(audit: &Audit<'_>, folder: &str, payload: &Digest) -> Found<Envelope> {
    let envelope = super::envelope(audit.mirror, &format!("{folder}/{payload}.json"))?;
    Ok(envelope.filter(|envelope| envelope.payload_digest() == *payload).ok_or(Refusal::LogStatement))
}

/// The chain of roles in the order of the log, from the pin. Returns the newest.
pub(super) fn follow_roles(
    audit: &Audit<'_>,
    standing: &mut Standing,
    leaves: &PublicLeaves,
) -> Found<Roles> {
    for (index, leaf) in of_event(leaves, Event::Roles) {
        let envelope = statement(audit.mirror, leaf, "roles")?.ok_or(Refusal::LogStatement);
        let next = envelope.and_then(|envelope| follow(standing.newest_roles(), &envelope, audit.pinned));
        match next {
            Ok(roles) => standing.add_roles(Some(*index), roles),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(standing.newest_roles().map(|roles| roles.statement().clone()).ok_or(Refusal::RolesPin))
}

/// Verifies every other statement of the site, and remembers what grants allow and what is recalled. Returns how many
/// there are, with the roles.
pub(super) fn read(audit: &mut Audit<'_>, standing: &mut Standing, leaves: &PublicLeaves) -> Found<usize> {
    let mut count = of_event(leaves, Event::Roles).count();
    for (index, leaf) in of_event(leaves, Event::Revocation) {
        let envelope = statement(audit.mirror, leaf, "revocations")?.ok_or(Refusal::LogStatement);
        match envelope.and_then(|envelope| standing.revoke(*index, &envelope)) {
            Ok(revocation) => recall(audit, revocation, leaves),
            Err(refusal) => return Ok(Err(refusal)),
        }
        count += 1;
    }
    for (index, leaf) in leaves {
        let folder = match leaf.event() {
            Event::Policy => "policies",
            Event::Grant => "grants",
            Event::Catalogue => "catalogue",
            Event::Roles | Event::Revocation => continue,
            Event::Release | Event::Denial | Event::CodeDenial => continue,
        };
        let Some(envelope) = statement(audit.mirror, leaf, folder)? else {
            return Ok(Err(Refusal::LogStatement));
        };
        if let Err(refusal) = check(audit, standing, *index, &envelope)? {
            return Ok(Err(refusal));
        }
        count += 1;
    }
    // A site without a revocation is none: no room works before it has one.
    Ok(standing.newest_revocation().map(|_| count).ok_or(Refusal::LogOrder))
}

fn of_event(leaves: &PublicLeaves, event: Event) -> impl Iterator<Item = &(u64, Leaf)> {
    leaves.iter().filter(move |(_, leaf)| leaf.event() == event)
}

fn recall(audit: &mut Audit<'_>, revocation: &Revocation, leaves: &PublicLeaves) {
    for release in &revocation.releases {
        let is_read_now = of_event(leaves, Event::Release).any(|(_, leaf)| leaf.payload() == *release);
        // A release that is read now says so in a row of its own.
        if audit.sums.recalled.insert(*release) && !is_read_now {
            audit.rows.say("recalled", Outcome::Noted, format!("release {release}"));
        }
    }
}

/// A policy, a grant or an entry of the catalogue.
fn check(audit: &mut Audit<'_>, standing: &Standing, index: u64, envelope: &Envelope) -> Found<()> {
    let checked = match Event::of(envelope.kind()) {
        Some(Event::Policy) => {
            let file = policy_file(audit, envelope)?;
            standing.check_at(index, |site| {
                site.check_policy(envelope, file.as_deref(), Timestamp::LAST).map(drop)
            })
        }
        Some(Event::Grant) => {
            let grant = standing.check_at(index, |site| site.check_grant(envelope, Timestamp::LAST));
            grant.map(|grant| audit.sums.know(grant.statement()))
        }
        _ => standing.check_at(index, |site| site.check_catalogue(envelope, Timestamp::LAST).map(drop)),
    };
    Ok(checked)
}

/// The TOML file that a policy names, if it is there.
fn policy_file(audit: &Audit<'_>, envelope: &Envelope) -> std::io::Result<Option<Vec<u8>>> {
    match envelope.unverified::<Policy>() {
        Ok(policy) => audit.mirror.read(&format!("policies/{}.toml", policy.file.sha256), ENVELOPE_LIMIT),
        Err(_) => Ok(None),
    }
}
