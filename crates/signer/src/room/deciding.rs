//! Decisions before they are leaves: each is checked against the site, the log and those that were taken just before it.

use blobs::Digest;
use release::file::{self, CodeDenialFile, DenialFile, ReleaseFile};
use release::key::{SecretKey, Sign};
use release::log::Event;
use release::log::socket::{Decision as Decide, Outcome, SignerRefusal, Submit};
use release::path::{Approved, CodeDenied, Denied, JudgedVerdict, ManifestDraft, ReviewedRun, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::value::Timestamp;

use super::{Signer, Stopped};
use crate::disk::Disk;
use crate::history::History;
use crate::ledger::{Batch, sum};
use crate::state::{Decision, StateError};

/// Bytes of decisions after which no further one is taken in the same step. One more may come, and a release file has
/// 16 MiB at most: far from the limit at which the state is read.
const BATCH_BYTES: usize = 64 << 20;

/// Takes decisions, and gathers those that it took.
pub(super) struct Deciding<'a> {
    history: &'a History,
    release_key: &'a SecretKey,
    site: &'a Site,
    now: Timestamp,
    batch: Batch,
}

impl<'a> Deciding<'a> {
    pub(super) fn over<D: Disk>(signer: &'a Signer<D>, site: &'a Site, now: Timestamp) -> Self {
        let history = signer.log.history();
        let (release_key, batch) = (&signer.settings.release_key, Batch::behind(history.tree().size()));
        Self { history, release_key, site, now, batch }
    }

    /// True if nothing more should be decided in one step: what is pending is kept whole in one file, which the next start
    /// must be able to read.
    pub(super) fn is_full(&self) -> bool {
        self.batch.bytes() > BATCH_BYTES
    }

    /// What was decided.
    pub(super) fn into_batch(self) -> Batch {
        self.batch
    }

    /// True if a verdict, or a request's code, is decided: in the log, or just before.
    fn is_decided(&self, verdict: &Digest) -> bool {
        [self.history.ledger(), self.batch.ledger()].iter().any(|ledger| ledger.decided(verdict).is_some())
    }

    /// Takes the decision about a verdict that has none. One that has is left as it is.
    pub(super) fn submit(&mut self, submit: &Submit) -> Result<(), Stopped> {
        if self.is_decided(&submit.verdict.payload_digest()) {
            return Ok(());
        }
        let (site, now) = (self.site, self.now);
        let request = SignedRequest::verify(&submit.request, site)?;
        let approvals = match &submit.decision {
            Decide::Approvals(approvals) => approvals,
            Decide::Denial(denial) => {
                // A denial does not expire, and neither does its reason: the verdict's time is not asked.
                let verdict = JudgedVerdict::recorded(&submit.verdict, &request, site)?;
                return self.deny(&Denied::check(denial, &verdict, site)?, &verdict);
            }
        };
        self.refuse_denied_code(&request)?;
        // A grant that the log could not take counts as absent.
        if !self.history.has(&request.grant().payload_digest()) {
            return Err(SignerRefusal::GrantsExceedDataset.into());
        }
        let verdict = JudgedVerdict::verify(&submit.verdict, &request, site, now)?;
        if let Some(denied) = Denied::in_site(&verdict, site) {
            self.deny(&denied, &verdict)?;
            return Err(Refusal::Denied.into());
        }
        let reviewed = ReviewedRun::check(&submit.code_approvals, &verdict, site)?;
        let approved = Approved::check(approvals, &verdict, site, now)?;
        self.release(&verdict, &approved, &reviewed)
    }

    /// Code that a steward refused, in the log or in the site directory, releases nothing: whether it ran all the same
    /// is not asked.
    fn refuse_denied_code(&mut self, request: &SignedRequest) -> Result<(), Stopped> {
        if self.is_decided(&request.payload_digest()) {
            return Err(Refusal::CodeDenied.into());
        }
        if let Some(denied) = CodeDenied::in_site(request, self.site) {
            self.deny_code(&denied, request)?;
            return Err(Refusal::CodeDenied.into());
        }
        Ok(())
    }

    /// Refuses the code of a request.
    pub(super) fn deny_code(&mut self, denied: &CodeDenied, request: &SignedRequest) -> Result<(), Stopped> {
        // A refusal of code that a console held back until its run was released would be a proof of what is not so.
        let digest = request.payload_digest();
        if [self.history.ledger(), self.batch.ledger()].iter().any(|ledger| ledger.is_released(&digest)) {
            return Err(SignerRefusal::AlreadyReleased.into());
        }
        let denial = denied.denial().envelope();
        let leaf = file::leaf(Event::CodeDenial, denial, denied.key())?;
        let file = CodeDenialFile {
            denial: denial.clone(),
            request: request.envelope().clone(),
            log_proof: String::new(),
        };
        self.add(leaf.to_text(), digest, Outcome::CodeDenial, file.to_bytes())
    }

    fn release(
        &mut self,
        verdict: &JudgedVerdict,
        approved: &Approved,
        reviewed: &ReviewedRun,
    ) -> Result<(), Stopped> {
        let grant = &verdict.verdict().grant.id;
        let before = sum(self.history.ledger().released(grant), self.batch.ledger().released(grant));
        let draft = ManifestDraft::from_evidence(verdict, approved, reviewed, self.site, &before, self.now)?;
        let manifest = draft.sign(self.release_key, self.site)?;
        let leaf = file::leaf(Event::Release, &manifest, &self.release_key.public())?;
        let file = ReleaseFile::gather(manifest, verdict, approved, reviewed, self.site)?.to_bytes();
        self.add(leaf.to_text(), verdict.payload_digest(), Outcome::Release, file)
    }

    fn deny(&mut self, denied: &Denied, verdict: &JudgedVerdict) -> Result<(), Stopped> {
        let denial = denied.denial().envelope();
        let leaf = file::leaf(Event::Denial, denial, denied.key())?;
        let file = DenialFile {
            denial: denial.clone(),
            verdict: verdict.envelope().clone(),
            request: verdict.request().envelope().clone(),
            log_proof: String::new(),
        };
        self.add(leaf.to_text(), verdict.payload_digest(), Outcome::Denial, file.to_bytes())
    }

    fn add(&mut self, leaf: String, verdict: Digest, outcome: Outcome, file: Vec<u8>) -> Result<(), Stopped> {
        let file = String::from_utf8(file).map_err(|_| StateError::Form)?;
        Ok(self.batch.add(leaf, Decision { verdict, outcome, file })?)
    }
}
