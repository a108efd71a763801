//! What the signer signs, built from evidence alone, and how a verifier compares it with that evidence.

use std::collections::BTreeMap;

use super::{Approved, CodeDenied, Denied, JudgedVerdict, ReviewedRun};
use crate::account;
use crate::differencing::{self, ComparedSet};
use crate::envelope::{Envelope, EnvelopeError};
use crate::key::{SignError, SignStatement, key_id};
use crate::refusal::Refusal;
use crate::site::{Site, grant_id};
use crate::statement::{ApprovalDigest, Evidence, GrantAccount, Manifest, ReleasedFile};
use crate::value::{Count, Name, Timestamp};

/// Why a manifest was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// A rule is broken.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Whoever holds the key did not sign.
    #[error("the key was not to be had")]
    Key(#[from] SignError),
}

/// A release manifest that follows from its evidence. Signing it is all that is left.
#[derive(Debug, Clone)]
pub struct ManifestDraft {
    manifest: Manifest,
}

impl ManifestDraft {
    /// Builds the manifest.
    ///
    /// `released_before` says how many bits releases under this grant have spent of each dataset; the signer sums
    /// them from its own log. A dataset that is not named has spent none. Refuses an overrun, and a verdict or
    /// code that a steward denied in the site directory; denials in the log are for the signer to look up, as is the set
    /// of releases that the verdict was compared with ([`crate::differencing::check_compared`]).
    pub fn from_evidence(
        verdict: &JudgedVerdict,
        approved: &Approved,
        reviewed: &ReviewedRun,
        site: &Site,
        released_before: &BTreeMap<Name, u64>,
        compared: &ComparedSet,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if approved.verdict() != verdict.payload_digest() {
            return Err(Refusal::ApprovalBinding);
        }
        if reviewed.verdict() != verdict.payload_digest() {
            return Err(Refusal::CodeReviewBinding);
        }
        site.fresh(now)?;
        verdict.check_time(now)?;
        if Denied::in_site(verdict, site).is_some() {
            return Err(Refusal::Denied);
        }
        if CodeDenied::in_site(verdict.request(), site).is_some() {
            return Err(Refusal::CodeDenied);
        }
        let accounts = accounts(verdict, released_before);
        let manifest = build(verdict, approved, site, accounts, Evidence::Digest(compared.digest()), now)?;
        check_accounts(&manifest, verdict)?;
        check_compared(&manifest, verdict)?;
        Ok(Self { manifest })
    }

    /// What will be signed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Signs it.
    ///
    /// # Errors
    /// For another key than the one that roles name for the signer and for a revoked one; and if whoever holds the key does
    /// not sign.
    pub fn sign(self, key: &dyn SignStatement, site: &Site) -> Result<Envelope, NotSigned> {
        if key.public() != site.roles().box_keys.signer {
            return Err(Refusal::ManifestSignature.into());
        }
        // Before anything is logged: every verifier would refuse it, and its bits would be spent.
        if site.revocation().keys.contains(&key_id(&key.public())) {
            return Err(Refusal::Revoked.into());
        }
        let mut envelope = Envelope::unsigned(&self.manifest).map_err(|error| error.refusal())?;
        match envelope.add_signature(key) {
            Ok(()) => Ok(envelope),
            Err(EnvelopeError::NotSigned(error)) => Err(NotSigned::Key(error)),
            Err(error) => Err(error.refusal().into()),
        }
    }
}

/// The manifest that this evidence gives.
fn build(
    verdict: &JudgedVerdict,
    approved: &Approved,
    site: &Site,
    accounts: Vec<GrantAccount>,
    differenced_against: Evidence,
    issued_at: Timestamp,
) -> Result<Manifest, Refusal> {
    let judged = verdict.verdict();
    let approvals = approved.approvals().iter().map(|approval| ApprovalDigest {
        steward: approval.statement().steward.clone(),
        payload: approval.payload_digest().into(),
    });
    let files = judged.files.iter().map(|file| ReleasedFile {
        name: file.name.clone(),
        bytes: file.bytes,
        sha256: file.sha256,
    });
    Ok(Manifest {
        site: site.name().clone(),
        request: judged.request,
        verdict: verdict.payload_digest().into(),
        approvals: approvals.collect(),
        grant: grant_id(verdict.request().grant()),
        policy: judged.policy.clone(),
        roles: site.roles_id(),
        revocation: site.verified_revocation().payload_digest().into(),
        recipient: judged.requester.id.clone(),
        files: files.collect(),
        released_bits: Count(account::release_bits(judged.released_bits.0)?),
        accounts,
        differenced_against,
        issued_at,
    })
}

fn accounts(verdict: &JudgedVerdict, released_before: &BTreeMap<Name, u64>) -> Vec<GrantAccount> {
    let granted = &verdict.request().grant().statement().datasets;
    let mut accounts: Vec<_> = verdict
        .verdict()
        .datasets
        .iter()
        .filter_map(|dataset| {
            let limit = granted.get(&dataset.name)?.release_bits;
            let before = Count(released_before.get(&dataset.name).copied().unwrap_or(0));
            Some(GrantAccount { dataset: dataset.name.clone(), released_before: before, limit })
        })
        .collect();
    accounts.sort_by(|left, right| left.dataset.cmp(&right.dataset));
    accounts
}

/// Checks that the accounts are those of the verdict's datasets, with the grant's limits, and have room.
pub(crate) fn check_accounts(manifest: &Manifest, verdict: &JudgedVerdict) -> Result<(), Refusal> {
    let before = manifest.accounts.iter().map(|account| (account.dataset.clone(), account.released_before.0));
    if manifest.accounts != accounts(verdict, &before.collect()) {
        return Err(Refusal::ManifestAccount);
    }
    let released = account::release_bits(verdict.verdict().released_bits.0)?;
    if manifest.accounts.len() != verdict.verdict().datasets.len() || manifest.released_bits.0 != released {
        return Err(Refusal::ManifestAccount);
    }
    let has_room = manifest.accounts.iter().all(|account| {
        let after = account.released_before.0.checked_add(manifest.released_bits.0);
        after.is_some_and(|after| after <= account.limit.0)
    });
    if has_room { Ok(()) } else { Err(Refusal::ManifestAccount) }
}

/// Checks that a manifest names a set of releases, and none if it releases no table. Which they were is told by the log.
fn check_compared(manifest: &Manifest, verdict: &JudgedVerdict) -> Result<(), Refusal> {
    let sound = match manifest.differenced_against {
        Evidence::Digest(set) => {
            differencing::is_placed(verdict.verdict()) || set == ComparedSet::default().digest()
        }
        Evidence::NotChecked => false,
    };
    if sound { Ok(()) } else { Err(Refusal::Differencing) }
}

/// Checks that a manifest is the one that its evidence gives. What the evidence cannot tell, its time and what was
/// released before, is taken from the manifest and checked elsewhere.
pub(crate) fn check_names_evidence(
    manifest: &Manifest,
    verdict: &JudgedVerdict,
    approved: &Approved,
    site: &Site,
) -> Result<(), Refusal> {
    check_compared(manifest, verdict)?;
    let (accounts, against) = (manifest.accounts.clone(), manifest.differenced_against);
    let rebuilt = build(verdict, approved, site, accounts, against, manifest.issued_at)?;
    if rebuilt == *manifest { Ok(()) } else { Err(Refusal::ManifestEvidence) }
}
