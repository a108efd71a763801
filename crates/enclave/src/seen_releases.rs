//! What the enclave remembers of releases and sites, so that an older log, older roles or an older revocation under a
//! release is noticed.

use release::file::{LoggedRelease, SeenState};
use release::json;
use release::site::Site;
use release::value::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::store::StoreError;

const SEEN: &str = "releases";

/// Largest text of it in bytes.
const LIMIT: usize = 16 << 20;

/// What was seen, and what the site in force shows now.
pub fn with_site(
    connection: &Connection,
    site: Option<&Site>,
    now: Timestamp,
) -> Result<SeenState, StoreError> {
    let mut query = connection.prepare_cached("SELECT value FROM kept WHERE name = ?1")?;
    let bytes: Option<Vec<u8>> = query.query_row([SEEN], |row| row.get(0)).optional()?;
    let mut seen = match bytes {
        None => SeenState::default(),
        Some(bytes) => json::from_bytes(&bytes, LIMIT).map_err(|_| StoreError::Foreign("releases"))?,
    };
    if let Some(site) = site {
        let shown = SeenState::of_site(site, now);
        let newer = |seen: Option<u64>, shown: Option<u64>| seen < shown;
        if newer(
            seen.roles.as_ref().map(|seen| seen.roles.version.0),
            shown.roles.as_ref().map(|seen| seen.roles.version.0),
        ) {
            seen.roles = shown.roles;
        }
        if newer(
            seen.revocation.as_ref().map(|seen| seen.version.0),
            shown.revocation.as_ref().map(|seen| seen.version.0),
        ) {
            seen.revocation = shown.revocation;
        }
        seen.recalled.extend(shown.recalled);
    }
    Ok(seen)
}

/// Remembers a verified release, in the transaction that acts on it.
pub fn keep(
    transaction: &Transaction<'_>,
    mut seen: SeenState,
    release: &LoggedRelease,
    now: Timestamp,
) -> Result<(), StoreError> {
    seen.add(release, now);
    store(transaction, &seen)
}

/// Remembers what the site shows, from the moment that it is seen.
pub fn keep_site(transaction: &Transaction<'_>, site: &Site, now: Timestamp) -> Result<(), StoreError> {
    store(transaction, &with_site(transaction, Some(site), now)?)
}

fn store(transaction: &Transaction<'_>, seen: &SeenState) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (SEEN, json::to_bytes(seen)),
    )?;
    Ok(())
}
