//! What the site had decided at each place of the log. The signer appends what is new in the site directory before every
//! decision, so a release stands on the newest roles and the newest revocation before it. One that names older ones was
//! signed by somebody who would rather not know what was revoked since.

use blobs::Digest;

use crate::envelope::Envelope;
use crate::refusal::Refusal;
use crate::site::{RevokedThings, Site, Verified, check_revocation};
use crate::statement::{Manifest, Revocation, Roles};
use crate::value::Timestamp;

/// Versions in the order of the log. Those of an earlier examination have no place; they stand before all that is read.
type Placed<P> = Vec<(Option<u64>, Verified<P>)>;

/// Every version of the roles, and the revocations from the one on that stood when reading began.
#[derive(Default)]
pub(super) struct Standing {
    roles: Placed<Roles>,
    revocations: Placed<Revocation>,
}

/// How many stand before a place.
fn before<P>(placed: &Placed<P>, index: u64) -> usize {
    placed.partition_point(|(place, _)| *place < Some(index))
}

fn newest_before<P>(placed: &Placed<P>, index: u64) -> Option<&Verified<P>> {
    placed[..before(placed, index)].last().map(|(_, newest)| newest)
}

impl Standing {
    /// Adds the next version of the roles, which was verified against the one before it.
    pub(super) fn add_roles(&mut self, place: Option<u64>, roles: Verified<Roles>) {
        self.roles.push((place, roles));
    }

    /// The newest roles of all.
    pub(super) fn newest_roles(&self) -> Option<&Verified<Roles>> {
        self.roles.last().map(|(_, newest)| newest)
    }

    /// Payload digests of every version of the roles.
    pub(super) fn roles(&self) -> Vec<Digest> {
        self.roles.iter().map(|(_, roles)| roles.payload_digest()).collect()
    }

    /// Payload digest of the newest revocation.
    pub(super) fn newest_revocation(&self) -> Option<Digest> {
        self.revocations.last().map(|(_, newest)| newest.payload_digest())
    }

    /// Adds the revocation with which an earlier examination ended.
    pub(super) fn resume_revocation(&mut self, revocation: Verified<Revocation>) {
        self.revocations.push((None, revocation));
    }

    /// Verifies the revocation at a place by the roles of that place and the revocation before it.
    pub(super) fn revoke(&mut self, index: u64, envelope: &Envelope) -> Result<&Revocation, Refusal> {
        let roles = newest_before(&self.roles, index).ok_or(Refusal::LogOrder)?;
        let revocation = check_revocation(envelope, roles.statement(), Timestamp::LAST)?;
        if let Some((_, before)) = self.revocations.last() {
            let (before, now) = (before.statement(), revocation.statement());
            if now.version <= before.version {
                return Err(Refusal::LogOrder);
            }
            // What was revoked once would count again from here on.
            if !RevokedThings::of(before).is_within(&RevokedThings::of(now)) {
                return Err(Refusal::RevocationDropped);
            }
        }
        self.revocations.push((Some(index), revocation));
        self.revocations.last().map(|(_, newest)| newest.statement()).ok_or(Refusal::LogOrder)
    }

    /// Makes a check under what the site had decided at a place.
    ///
    /// The signer takes in a revocation last of what it finds together, and has looked at the others under it. So the next
    /// one may be the one that stood. It revokes no less than the one before: whoever signed enough by the next has
    /// signed enough by the one before too. The two differ about a spoilt signature in the name of someone who was
    /// revoked meanwhile, which must not make an honest log a refused one.
    pub(super) fn check_at<T>(
        &self,
        index: u64,
        check: impl Fn(&Site) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let roles = newest_before(&self.roles, index).ok_or(Refusal::LogOrder)?;
        let next = before(&self.revocations, index);
        let around = self.revocations.iter().take(next + 1).skip(next.saturating_sub(1));
        let mut checked = Err(Refusal::LogOrder);
        for (_, revocation) in around {
            // Earlier roles are not asked for.
            checked = check(&Site::bare(vec![roles.clone()], revocation.clone()));
            if checked.is_ok() {
                break;
            }
        }
        checked
    }

    /// Refuses a release that does not name the newest roles and the newest revocation before it.
    pub(super) fn is_named_by(&self, manifest: &Manifest, index: u64) -> Result<(), Refusal> {
        let roles = newest_before(&self.roles, index).ok_or(Refusal::LogOrder)?;
        let revocation = newest_before(&self.revocations, index).ok_or(Refusal::LogOrder)?;
        let named = manifest.roles.version == roles.statement().version
            && manifest.roles.payload.sha256 == roles.payload_digest()
            && manifest.revocation.sha256 == revocation.payload_digest();
        if named { Ok(()) } else { Err(Refusal::LogOrder) }
    }
}
