//! Decisions before they are leaves: each is checked against the site, the log and those that were taken just before it.

use blobs::Digest;
use release::differencing::{ComparedSet, check_compared};
use release::envelope::Envelope;
use release::file::{self, CodeDenialFile, DenialFile, RELEASE_FILE_LIMIT, ReleaseFile};
use release::log::socket::{Decision as Decide, Outcome, SignerRefusal, Submit};
use release::log::{Event, LOG_PROOF_LIMIT, Leaf};
use release::path::{Approved, CodeDenied, Denied, JudgedVerdict, ManifestDraft, ReviewedRun, SignedRequest};
use release::refusal::Refusal;
use release::site::{Site, denials_of};
use release::value::Timestamp;

use super::{Settings, Signer, Stopped};
use crate::disk::Disk;
use crate::history::History;
use crate::ledger::{Batch, Released, released, sum};
use crate::state::{Decision, StateError};

/// Takes decisions, and gathers those that it took.
pub(crate) struct Deciding<'a> {
    history: &'a History,
    settings: &'a Settings,
    site: &'a Site,
    now: Timestamp,
    batch: Batch,
}

impl<'a> Deciding<'a> {
    pub(crate) fn over<D: Disk>(signer: &'a Signer<D>, site: &'a Site, now: Timestamp) -> Self {
        let history = signer.log.history();
        let (settings, batch) = (&signer.settings, Batch::behind(history.tree().size()));
        Self { history, settings, site, now, batch }
    }

    /// True if nothing more should be decided in one step: what is pending is kept whole in one file, which the next start
    /// must be able to read.
    pub(super) fn is_full(&self) -> bool {
        self.batch.bytes() > self.settings.batch_bytes
    }

    /// What was decided.
    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }

    /// True if a verdict, or a request's code, is decided: in the log, or just before.
    fn is_decided(&self, verdict: &Digest) -> bool {
        [self.history.ledger(), self.batch.ledger()].iter().any(|ledger| ledger.decided(verdict).is_some())
    }

    /// Takes the decision about a verdict that has none. One that has is left as it is.
    pub(crate) fn submit(&mut self, submit: &Submit) -> Result<(), Stopped> {
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
        // Read for each decision, not once for all that wait together: a denial that is laid down while those before this
        // one are weighed counts, and whoever asks for many at once cannot outrun it.
        let laid = self.laid_denials(&[submit.verdict.payload_digest(), request.payload_digest()])?;
        self.refuse_denied_code(&request, &laid)?;
        // A grant that the log could not take counts as absent.
        if !self.history.has(&request.grant().payload_digest()) {
            return Err(SignerRefusal::GrantsExceedDataset.into());
        }
        let verdict = JudgedVerdict::verify(&submit.verdict, &request, site, now)?;
        if let Some(denied) = Denied::among(&laid, &verdict, site) {
            self.deny(&denied, &verdict)?;
            return Err(Refusal::Denied.into());
        }
        let reviewed = ReviewedRun::check(&submit.code_approvals, &verdict, site)?;
        let approved = Approved::check(approvals, &verdict, site, now)?;
        self.release(&verdict, &approved, &reviewed, &ComparedSet::new(submit.compared.iter().copied()))
    }

    /// The denials that lie in the site directory for these subjects.
    fn laid_denials(&self, subjects: &[Digest]) -> Result<Vec<Envelope>, SignerRefusal> {
        denials_of(&self.settings.site_directory, subjects).map_err(|_| SignerRefusal::SiteUnreadable)
    }

    /// Code that a steward refused, in the log or in the site directory, releases nothing: whether it ran all the same
    /// is not asked.
    fn refuse_denied_code(&mut self, request: &SignedRequest, laid: &[Envelope]) -> Result<(), Stopped> {
        if self.is_decided(&request.payload_digest()) {
            return Err(Refusal::CodeDenied.into());
        }
        if let Some(denied) = CodeDenied::among(laid, request, self.site) {
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
        self.add(&leaf, digest, Outcome::CodeDenial, file.to_bytes(), None)
    }

    fn release(
        &mut self,
        verdict: &JudgedVerdict,
        approved: &Approved,
        reviewed: &ReviewedRun,
        compared: &ComparedSet,
    ) -> Result<(), Stopped> {
        let ledgers = [self.history.ledger(), self.batch.ledger()];
        let tables = ledgers.into_iter().flat_map(|ledger| ledger.tables());
        let against = check_compared(verdict.verdict(), &verdict.payload_digest(), compared, tables)?;
        let waiting: Vec<Digest> =
            compared.iter().filter(|verdict| !self.is_decided(verdict)).copied().collect();
        let grant = &verdict.verdict().grant.id;
        let before = sum(self.history.ledger().released(grant), self.batch.ledger().released(grant));
        let draft = ManifestDraft::from_evidence(
            verdict, approved, reviewed, self.site, &before, &against, self.now,
        )?;
        let request = verdict.request().payload_digest();
        let sums =
            released(draft.manifest(), verdict.verdict(), request, ComparedSet::new(waiting.iter().copied()));
        let manifest = draft.sign(&self.settings.release_key, self.site)?;
        let leaf = file::leaf(Event::Release, &manifest, &self.settings.release_key.public())?;
        let file = ReleaseFile::gather(manifest, verdict, approved, reviewed, self.site)?.to_bytes();
        let added = Some((sums, waiting));
        self.add(&leaf, verdict.payload_digest(), Outcome::Release, file, added)
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
        self.add(&leaf, verdict.payload_digest(), Outcome::Denial, file.to_bytes(), None)
    }

    fn add(
        &mut self,
        leaf: &Leaf,
        verdict: Digest,
        outcome: Outcome,
        file: Vec<u8>,
        released: Option<(Released, Vec<Digest>)>,
    ) -> Result<(), Stopped> {
        // Once it were a leaf, its file could never be finished, and no head above it published: whoever has the console
        // could end the log with one signature's hint of many megabytes.
        if file.len() + LOG_PROOF_LIMIT > RELEASE_FILE_LIMIT {
            return Err(Refusal::SizeLimit.into());
        }
        let file = String::from_utf8(file).map_err(|_| StateError::Form)?;
        let (released, compared) = released.unzip();
        let compared = compared.unwrap_or_default();
        Ok(self.batch.add(leaf, Decision { verdict, outcome, file, compared }, released)?)
    }
}
