//! The chain of roles, from the pinned version on.

use std::collections::BTreeSet;
use std::path::Path;

use blobs::Digest;

use super::directory::Versions;
use super::{CLOCK_SKEW_SECONDS, SiteError, Verified, signed_by_threshold};
use crate::envelope::{Envelope, SignaturesMade};
use crate::key;
use crate::refusal::Refusal;
use crate::statement::{DatasetRole, Role, Roles, Suite};
use crate::value::{Count, Name, Timestamp};

/// Most people, keys of a person, datasets or witnesses: each is work for every verifier.
const ROLES_LIMIT: usize = 256;

pub(super) fn chain(
    versions: &Versions,
    pin: &Digest,
    now: Timestamp,
) -> Result<Vec<Verified<Roles>>, SiteError> {
    let mut chain: Vec<Verified<Roles>> = Vec::new();
    for (path, envelope) in versions.values() {
        let next = next(chain.last(), envelope, pin, now);
        chain.push(next.map_err(|refusal| refused(path, refusal))?);
    }
    if chain.is_empty() { Err(SiteError::Missing("roles")) } else { Ok(chain) }
}

/// Verifies one version of the roles against the one before it, or the pin.
pub(crate) fn next(
    before: Option<&Verified<Roles>>,
    envelope: &Envelope,
    pin: &Digest,
    now: Timestamp,
) -> Result<Verified<Roles>, Refusal> {
    let roles: Roles = envelope.unverified()?;
    match before {
        None if envelope.payload_digest() != *pin => return Err(Refusal::RolesPin),
        None if roles.version != Count(1) => return Err(Refusal::RolesOrder),
        None => {}
        Some(before) => follows(before.statement(), &roles)?,
    }
    if roles.issued_at > now.plus(CLOCK_SKEW_SECONDS) {
        return Err(Refusal::OutOfForce);
    }
    let mut made = SignaturesMade::default();
    if let Some(before) = before {
        // Without the old threshold's consent a new version would be a new site. It is asked first, so that a
        // stranger's roles are not worth the work of looking at all their keys.
        signed_by_root(envelope, before.statement(), &mut made)?;
    }
    check_content(&roles)?;
    signed_by_root(envelope, &roles, &mut made)?;
    Ok(Verified::new(roles, envelope.clone()))
}

fn follows(before: &Roles, roles: &Roles) -> Result<(), Refusal> {
    if roles.site != before.site {
        return Err(Refusal::OtherSite);
    }
    let next = before.version.0.checked_add(1);
    let ordered = next == Some(roles.version.0) && roles.issued_at >= before.issued_at;
    if ordered { Ok(()) } else { Err(Refusal::RolesOrder) }
}

fn signed_by_root(envelope: &Envelope, roles: &Roles, made: &mut SignaturesMade) -> Result<(), Refusal> {
    let (root, refusal) = (&roles.root, Refusal::RolesSignatures);
    signed_by_threshold(envelope, roles, None, &root.people, root.threshold.0, made, refusal)
}

fn check_content(roles: &Roles) -> Result<(), Refusal> {
    let sizes = [roles.people.len(), roles.datasets.len(), roles.witnesses.len()];
    let keys = roles.people.values().map(|person| person.keys.len());
    if sizes.into_iter().chain(keys).any(|size| size > ROLES_LIMIT) {
        return Err(Refusal::SizeLimit);
    }
    check_keys(roles)?;
    if roles.expires <= roles.issued_at {
        return Err(Refusal::RolesContent);
    }
    for role in [&roles.root, &roles.policy, &roles.runtime, &roles.revocation] {
        check_role(roles, role)?;
    }
    // A room holds its key itself; what people sign with may be asked for by anyone who reaches their agent.
    let rooms = [&roles.box_keys.enclave, &roles.box_keys.signer];
    if rooms.into_iter().any(|key| key.suite != Suite::Ed25519) {
        return Err(Refusal::RolesContent);
    }
    roles.datasets.values().try_for_each(|dataset| check_dataset(roles, dataset))?;
    check_witnesses(roles)
}

/// Each key stands for one person, room, log or witness. A key in two places would count twice, or let one room
/// speak for another.
fn check_keys(roles: &Roles) -> Result<(), Refusal> {
    let mut known = BTreeSet::new();
    for public in keys(roles) {
        key::enrolable_bytes(&public).map_err(|_| Refusal::KeyUnusable)?;
        if !known.insert(public) {
            return Err(Refusal::KeyShared);
        }
    }
    let review_keys: Vec<_> = roles.people.values().filter_map(|person| person.review_key).collect();
    let different: BTreeSet<_> = review_keys.iter().map(|key| key.0).collect();
    if different.len() == review_keys.len() { Ok(()) } else { Err(Refusal::KeyShared) }
}

/// Every signing key that these roles name: of people, witnesses, rooms and the log.
fn keys(roles: &Roles) -> impl Iterator<Item = [u8; 32]> + '_ {
    let people = roles.people.values().flat_map(|person| person.keys.iter().map(|key| key.public.0));
    let witnesses = roles.witnesses.iter().map(|witness| witness.public.0);
    let rooms = [roles.box_keys.enclave.public.0, roles.box_keys.signer.public.0, roles.log.public.0];
    people.chain(witnesses).chain(rooms)
}

fn check_role(roles: &Roles, role: &Role) -> Result<(), Refusal> {
    check_people(roles, &role.people, &[role.threshold])
}

fn check_dataset(roles: &Roles, dataset: &DatasetRole) -> Result<(), Refusal> {
    let thresholds = [dataset.grant_threshold, dataset.catalogue_threshold, dataset.approval_threshold];
    check_people(roles, &dataset.stewards, &thresholds)?;
    // A steward without a review key could never see what they are asked to approve.
    let can_review = |name| roles.people.get(name).is_some_and(|person| person.review_key.is_some());
    if dataset.stewards.iter().all(can_review) { Ok(()) } else { Err(Refusal::RolesContent) }
}

fn check_people(roles: &Roles, people: &[Name], thresholds: &[Count]) -> Result<(), Refusal> {
    // A person listed twice would not count twice, but would make a threshold look reachable that is not.
    let different: BTreeSet<_> = people.iter().collect();
    let known =
        people.iter().all(|name| roles.people.get(name).is_some_and(|person| !person.keys.is_empty()));
    let reachable =
        thresholds.iter().all(|threshold| threshold.0 > 0 && threshold.0 <= different.len() as u64);
    if known && reachable && different.len() == people.len() { Ok(()) } else { Err(Refusal::RolesContent) }
}

fn check_witnesses(roles: &Roles) -> Result<(), Refusal> {
    let names: BTreeSet<_> = roles.witnesses.iter().map(|witness| &witness.name).collect();
    let distinct = names.len() == roles.witnesses.len() && !names.contains(&roles.log.origin);
    let lines = roles.witnesses.iter().map(|witness| &witness.name).chain([&roles.log.origin]);
    // A name is a word in a note's signature lines; one with a space or a plus could pass for another.
    let words = lines.into_iter().all(|name| {
        (1..=256).contains(&name.len())
            && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
    });
    let quorum = roles.witness_quorum.0;
    // Without a witness a log could show every reader another past.
    let reachable = quorum > 0 && quorum <= names.len() as u64;
    if distinct && words && reachable { Ok(()) } else { Err(Refusal::RolesContent) }
}

fn refused(path: &Path, refusal: Refusal) -> SiteError {
    SiteError::Refused { path: path.to_owned(), refusal }
}
