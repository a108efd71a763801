//! Whether a job is called off by whoever asked for it.

use blobs::Digest;

use crate::envelope::Envelope;
use crate::key::key_id;
use crate::refusal::Refusal;
use crate::site::{CLOCK_SKEW_SECONDS, Site};
use crate::statement::Cancel;
use crate::value::{Name, Timestamp};

/// The job that a cancel must be about: what a room kept of the request that it admitted.
#[derive(Debug, Clone, Copy)]
pub struct CancelledJob<'a> {
    /// Payload digest of the request.
    pub request: Digest,
    /// Who asked for it.
    pub requester: &'a Name,
    /// The grant's id.
    pub grant: &'a Name,
}

/// A cancel signed by the requester of the job that it is about.
#[derive(Debug, Clone)]
pub struct SignedCancel(Cancel);

impl SignedCancel {
    /// Checks who signed, and about which job. Roles, revocation and grant need not be in force: a cancel only stops
    /// something, and a site that has run out must not keep a job running. A revoked person or key stops nothing.
    ///
    /// # Errors
    /// `StatementKind`, `OtherSite`, `RequestGrant` if the site no longer has the grant, `RequestSignature` if it is
    /// about another job, names another requester, or is not signed by a key of theirs, `Revoked`, `RequestTime` if
    /// it comes from the future.
    pub fn verify(
        envelope: &Envelope,
        job: CancelledJob<'_>,
        site: &Site,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let cancel: Cancel = envelope.unverified()?;
        if cancel.site != *site.name() {
            return Err(Refusal::OtherSite);
        }
        let requester = &cancel.requester;
        if cancel.request.sha256 != job.request || requester.id != *job.requester {
            return Err(Refusal::RequestSignature);
        }
        let grant = site.grant(job.grant).ok_or(Refusal::RequestGrant)?.statement();
        let member = grant.members.get(&requester.id).ok_or(Refusal::RequestSignature)?;
        let key = member.keys.iter().find(|key| key_id(key) == requester.key_id);
        let key = key.ok_or(Refusal::RequestSignature)?;
        if site.is_revoked(&requester.id, &requester.key_id) {
            return Err(Refusal::Revoked);
        }
        envelope.signed_once_by([key], Refusal::RequestSignature)?;
        if cancel.issued_at > now.plus(CLOCK_SKEW_SECONDS) {
            return Err(Refusal::RequestTime);
        }
        Ok(Self(cancel))
    }

    /// What it says.
    pub fn cancel(&self) -> &Cancel {
        &self.0
    }
}
