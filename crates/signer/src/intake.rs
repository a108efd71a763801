//! How the site's statements come into the log.

use std::path::Path;

use blobs::Digest;
use release::log::socket::SignerRefusal;
use release::refusal::Refusal;
use release::site::{Site, SiteError};
use release::value::{Bytes, Timestamp};

use crate::append::{Log, site_entry};
use crate::disk::Disk;
use crate::room::Stopped;
use crate::state::Entry;

/// Reads and verifies the site directory.
pub fn load(directory: &Path, pin: &Digest, now: Timestamp) -> Result<Site, SignerRefusal> {
    Site::load(directory, pin, now).map_err(|error| match error {
        SiteError::Refused { refusal, .. } => refusal.into(),
        SiteError::Io { .. } | SiteError::Stray(_) | SiteError::Missing(_) => SignerRefusal::SiteUnreadable,
    })
}

/// Loads the site directory afresh, refuses one that is older than what was seen, and appends each statement that
/// the log does not have yet.
pub fn take_in<D: Disk>(
    log: &mut Log<D>,
    directory: &Path,
    pin: &Digest,
    log_key: &Bytes<32>,
    now: Timestamp,
) -> Result<Site, Stopped> {
    let site = load(directory, pin, now)?;
    site.not_older_than(&log.state().seen)?;
    let roles = &site.roles().log;
    // A new key or origin is a new log. Changing it in place would sign two histories under one name.
    let same_origin = log.state().origin.is_empty() || log.state().origin == roles.origin;
    if roles.public != *log_key || !same_origin {
        return Err(Refusal::LogCheckpoint.into());
    }
    let entries = new_entries(log, &site)?;
    let mut seen = log.state().seen.clone();
    seen.merge(site.seen());
    if !entries.is_empty() || seen != log.state().seen {
        let (origin, signed_at) = (roles.origin.clone(), log.state().signed_at);
        log.append(&origin, entries, seen, signed_at)?;
    }
    Ok(site)
}

/// An entry for each statement that the log does not have. A grant is weighed with those before it; one that has no
/// room is left out, and is weighed again the next time.
fn new_entries<D: Disk>(log: &Log<D>, site: &Site) -> Result<Vec<Entry>, Stopped> {
    let history = log.history();
    let roles = site.roles_envelopes().map(|envelope| (envelope, &b""[..]));
    let policies = site.earlier_policies().chain(site.policies());
    let policies = policies.map(|policy| (policy.statement().envelope(), policy.file()));
    let catalogue = site.datasets().chain(site.runtimes()).map(|entry| (entry.envelope(), &b""[..]));
    let mut statements: Vec<_> = roles.chain(policies).chain(catalogue).collect();
    let mut granted = history.granted().clone();
    let grants = site.earlier_grants().chain(site.grants());
    for grant in grants.filter(|grant| !history.has(&grant.payload_digest())) {
        if granted.has_room_for(grant.statement(), site) {
            granted.add(grant.statement());
            statements.push((grant.envelope(), b""));
        }
    }
    statements.push((site.verified_revocation().envelope(), b""));
    let new = statements.into_iter().filter(|(envelope, _)| !history.has(&envelope.payload_digest()));
    // The checks of the site leave no statement without a signature by a named key.
    new.map(|(envelope, file)| site_entry(envelope, file).map_err(|_| Refusal::LogForm.into())).collect()
}
