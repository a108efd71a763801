//! What a room has seen of a site, so that an operator who lays back an older directory is noticed.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::Site;
use crate::json::{self, JsonError};
use crate::refusal::Refusal;
use crate::statement::{Interest, Revocation};
use crate::value::{Count, KeyId, Name};

/// Largest file of seen versions in bytes.
const SEEN_LIMIT: usize = 16 << 20;

/// The newest version of each statement that was seen, and everything that was revoked. Rooms keep it outside the
/// site directory, durably, before they act on what they saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenVersions {
    /// By place in the directory without the version, such as `grants/hie`.
    pub statements: BTreeMap<String, SeenStatement>,
    /// Everything revoked.
    pub revoked: RevokedThings,
}

/// A statement's version and the digest of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenStatement {
    /// The version.
    pub version: Count,
    /// The payload's digest: two statements of one version are a fork.
    pub payload: Digest,
}

/// Everything that a revocation revokes, as sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedThings {
    people: BTreeSet<Name>,
    keys: BTreeSet<Digest>,
    certificates: BTreeSet<String>,
    grants: BTreeSet<Name>,
    releases: BTreeSet<Digest>,
    interests: BTreeSet<Interest>,
}

impl RevokedThings {
    /// What this statement revokes.
    pub fn of(revocation: &Revocation) -> Self {
        Self {
            people: revocation.people.iter().cloned().collect(),
            keys: revocation.keys.iter().copied().collect(),
            certificates: revocation.certificates.iter().cloned().collect(),
            grants: revocation.grants.iter().cloned().collect(),
            releases: revocation.releases.iter().copied().collect(),
            interests: revocation.interests.iter().cloned().collect(),
        }
    }

    /// True if this person is revoked.
    pub fn has_person(&self, person: &Name) -> bool {
        self.people.contains(person)
    }

    /// True if this key is revoked.
    pub fn has_key(&self, key: &KeyId) -> bool {
        self.keys.contains(key)
    }

    /// True if this person may not approve for this project.
    pub fn has_interest(&self, person: &Name, project: &Name) -> bool {
        self.interests.iter().any(|interest| interest.person == *person && interest.project == *project)
    }

    /// True if this grant is revoked.
    pub fn has_grant(&self, grant: &Name) -> bool {
        self.grants.contains(grant)
    }

    /// True if the other revokes all of this.
    pub fn is_within(&self, other: &Self) -> bool {
        self.people.is_subset(&other.people)
            && self.keys.is_subset(&other.keys)
            && self.certificates.is_subset(&other.certificates)
            && self.grants.is_subset(&other.grants)
            && self.releases.is_subset(&other.releases)
            && self.interests.is_subset(&other.interests)
    }
}

impl SeenVersions {
    pub(super) fn of(site: &Site) -> Self {
        let mut statements = BTreeMap::new();
        let mut see = |place: String, version, payload| {
            statements.insert(place, SeenStatement { version, payload });
        };
        let roles = site.roles_id();
        see("roles".to_owned(), roles.version, roles.payload.sha256);
        see("revocations".to_owned(), site.revocation().version, site.verified_revocation().payload_digest());
        for policy in site.policies().map(|policy| policy.statement()) {
            let statement = policy.statement();
            see(format!("policies/{}", statement.name), statement.version, policy.payload_digest());
        }
        for grant in site.grants() {
            let statement = grant.statement();
            see(format!("grants/{}", statement.id), statement.version, grant.payload_digest());
        }
        for entry in site.datasets() {
            let statement = entry.statement();
            see(format!("catalogue/datasets/{}", statement.name), statement.version, entry.payload_digest());
        }
        for entry in site.runtimes() {
            let statement = entry.statement();
            see(format!("catalogue/runtimes/{}", statement.name), statement.version, entry.payload_digest());
        }
        Self { statements, revoked: RevokedThings::of(site.revocation()) }
    }

    /// Refuses a site in which a statement has a lower version, or the same with another payload, or in which
    /// something revoked is not. A grant, policy or entry that is gone allows nothing, so that is no refusal.
    pub(super) fn refuse_older(&self, site: &Site) -> Result<(), Refusal> {
        let now = Self::of(site);
        if !self.revoked.is_within(&now.revoked) {
            return Err(Refusal::RevocationDropped);
        }
        for (place, seen) in &self.statements {
            let Some(found) = now.statements.get(place) else { continue };
            let newer = found.version > seen.version;
            if !newer && found != seen {
                return Err(Refusal::Rollback);
            }
        }
        Ok(())
    }

    /// Adds what another sight of the site showed. What is gone stays remembered.
    pub fn merge(&mut self, newer: Self) {
        self.statements.extend(newer.statements);
        self.revoked = newer.revoked;
    }

    /// The text to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(self)
    }

    /// Reads the text.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_bytes(bytes, SEEN_LIMIT)
    }
}
