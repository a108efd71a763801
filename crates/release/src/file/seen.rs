//! What a verifier saw before, so that nobody can show it an older past.

use std::collections::BTreeSet;

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::examination::{Outcome, Rows};
use super::log_check::Witnessed;
use super::verify::{LoggedRelease, Pinned};
use crate::key::key_id;
use crate::path::JudgedVerdict;
use crate::refusal::Refusal;
use crate::site::{RevokedThings, Site, Verified};
use crate::statement::{Manifest, RolesId};
use crate::value::{Count, Timestamp};

/// How long a release under older roles or an older revocation is still taken after newer ones were seen, in
/// seconds: one that was being witnessed at that moment is no rollback.
pub const SEEN_GRACE_SECONDS: i64 = 3600;

/// What a verifier saw before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenState {
    /// The newest roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<SeenRoles>,
    /// The newest revocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<SeenRevocation>,
    /// The largest head of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<SeenHead>,
    /// Payload digests of manifests that a revocation recalled.
    pub recalled: BTreeSet<Digest>,
}

/// Roles that were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenRoles {
    /// Version and payload digest.
    pub roles: RolesId,
    /// When they were first seen.
    pub since: Timestamp,
}

/// A revocation that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenRevocation {
    /// Its version.
    pub version: Count,
    /// When it was first seen.
    pub since: Timestamp,
    /// What it revokes.
    pub revoked: RevokedThings,
}

/// A head of the log that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenHead {
    /// The log's origin: a site that begins a new log has a new one.
    pub origin: String,
    /// Number of leaves.
    pub size: Count,
    /// Root of the tree.
    pub root: Digest,
}

impl SeenState {
    /// What a room knows from its own site, seen at this moment.
    pub fn of_site(site: &Site, seen_at: Timestamp) -> Self {
        let mut seen = Self::default();
        seen.add_site(site, seen_at);
        seen
    }

    /// Adds what a verified release shows.
    pub fn add(&mut self, release: &LoggedRelease, seen_at: Timestamp) {
        self.add_site(release.site(), seen_at);
        let found = &release.witnessed().head;
        let newer = |seen: &SeenHead| seen.origin != found.origin || seen.size.0 < found.size;
        if self.head.as_ref().is_none_or(newer) {
            let (origin, size) = (found.origin.clone(), Count(found.size));
            self.head = Some(SeenHead { origin, size, root: found.root });
        }
    }

    /// Adds what a site shows.
    pub fn add_site(&mut self, site: &Site, since: Timestamp) {
        let roles = site.roles_id();
        if self.roles.as_ref().is_none_or(|seen| seen.roles.version < roles.version) {
            self.roles = Some(SeenRoles { roles, since });
        }
        let version = site.revocation().version;
        if self.revocation.as_ref().is_none_or(|seen| seen.version < version) {
            let revoked = RevokedThings::of(site.revocation());
            self.revocation = Some(SeenRevocation { version, since, revoked });
        }
        self.recalled.extend(site.revocation().releases.iter().copied());
    }
}

/// A release as far as it is checked when it is compared with what was seen.
pub(super) struct Found<'a> {
    pub(super) site: &'a Site,
    pub(super) manifest: &'a Verified<Manifest>,
    pub(super) verdict: &'a JudgedVerdict,
    pub(super) witnessed: &'a Witnessed,
}

pub(super) fn check(found: &Found<'_>, pinned: &Pinned, rows: &mut Rows) -> Result<(), Refusal> {
    let Some(seen) = &pinned.seen else {
        rows.say("rollback", Outcome::NotChecked, "nothing is remembered from before");
        return Ok(());
    };
    rows.check("rollback", compare(found, seen), |()| "nothing newer was seen that is against it".into())
}

fn compare(release: &Found<'_>, seen: &SeenState) -> Result<(), Refusal> {
    let (site, witnessed) = (release.site, release.witnessed);
    if seen.recalled.contains(&release.manifest.payload_digest()) {
        return Err(Refusal::Revoked);
    }
    let too_late = |seen_at: Timestamp| witnessed.time > seen_at.plus(SEEN_GRACE_SECONDS);
    let roles = seen.roles.as_ref().is_none_or(|seen| match site.roles().version < seen.roles.version {
        // An old release carries the roles of its time; a new one under old roles would be a way around new ones.
        true => !too_late(seen.since),
        false => site.roles_version(&seen.roles).is_some(),
    });
    // Revocations are signed anew every week, so witnesses that come late come under a newer one as a rule. It is in
    // the way only if it revokes what this release stands on.
    let revocation = seen.revocation.as_ref().is_none_or(|seen| {
        site.revocation().version >= seen.version
            || !too_late(seen.since)
            || !stands_on_revoked(release, &seen.revoked)
    });
    // Two roots of one size are two pasts. Heads of other sizes need a consistency proof, which a log's mirror has.
    let found = &witnessed.head;
    let head = seen.head.as_ref().is_none_or(|seen| {
        found.origin != seen.origin || found.size != seen.size.0 || found.root == seen.root
    });
    if roles && revocation && head { Ok(()) } else { Err(Refusal::Rollback) }
}

fn stands_on_revoked(release: &Found<'_>, revoked: &RevokedThings) -> bool {
    let roles = release.site.roles();
    let verdict = release.verdict.verdict();
    let rooms = [&roles.box_keys.signer, &roles.box_keys.enclave];
    let requester = &verdict.requester;
    let project = &release.verdict.request().request().project;
    let approved = release.manifest.statement().approvals.iter().map(|approval| &approval.steward);
    rooms.into_iter().any(|key| revoked.has_key(&key_id(key)))
        || revoked.has_grant(&verdict.grant.id)
        || revoked.has_person(&requester.id)
        || revoked.has_key(&requester.key_id)
        || approved.into_iter().any(|steward| {
            let keys = roles.people.get(steward).map(|person| &person.keys[..]).unwrap_or_default();
            revoked.has_person(steward)
                || revoked.has_interest(steward, project)
                || keys.iter().any(|key| revoked.has_key(&key_id(key)))
        })
}
