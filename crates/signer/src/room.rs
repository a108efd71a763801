//! The room: what it answers to each message.

mod publishing;

use std::path::PathBuf;

use blobs::Digest;
use release::file::{self, CodeDenialFile, DenialFile, ReleaseFile};
use release::key::{SecretKey, Sign};
use release::log::Event;
use release::log::socket::{Answer, Decision as Decide, DenyCode, Message, Outcome, SignerRefusal, Submit};
use release::path::{Approved, CodeDenied, Denied, JudgedVerdict, ManifestDraft, ReviewedRun, SignedRequest};
use release::refusal::Refusal;
use release::site::{CLOCK_SKEW_SECONDS, Site};
use release::value::Timestamp;

use crate::append::{Log, LogError};
use crate::disk::Disk;
use crate::intake;
use crate::state::{Content, Decision, Entry, StateError};

/// What the signer is given to work with.
#[derive(Debug)]
pub struct Settings {
    /// Signed statements of the site.
    pub site_directory: PathBuf,
    /// Payload digest of version 1 of the roles.
    pub site_pin: Digest,
    /// The key of release manifests.
    pub release_key: SecretKey,
    /// The key of the log.
    pub log_key: SecretKey,
    /// Whether a witness on the box's own machine counts.
    pub accept_on_box_witness: bool,
}

/// Why there is no good answer: a refusal that the console is told, or a log that must not be continued.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Nothing was signed, and the console learns why.
    #[error("refused: {0}")]
    Refused(#[from] SignerRefusal),
    /// The signer ends without an answer.
    #[error("the log cannot be continued")]
    Log(#[from] LogError),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<StateError> for Stopped {
    fn from(error: StateError) -> Self {
        Self::Log(error.into())
    }
}

/// The signer.
#[derive(Debug)]
pub struct Signer<D> {
    settings: Settings,
    log: Log<D>,
    /// Size of the published checkpoint.
    published: u64,
}

impl<D: Disk> Signer<D> {
    /// Takes up the work: finishes what witnesses have covered, and appends what the site directory has new.
    pub fn open(settings: Settings, log: Log<D>, now: Timestamp) -> Result<Self, LogError> {
        let mut signer = Self { settings, log, published: 0 };
        signer.published = signer.published_note()?.map_or(0, |(head, _)| head.size);
        let decided: Vec<_> = signer.log.history().decisions().map(|(verdict, _)| *verdict).collect();
        for verdict in decided {
            match signer.finish_if_covered(&verdict, now) {
                // One release that verifiers would refuse is no reason to sign no other; a question about it tells.
                Ok(_) | Err(Stopped::Refused(_)) => {}
                Err(Stopped::Log(error)) => return Err(error),
            }
        }
        Ok(signer)
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.log.history().tree().size()
    }

    #[cfg(test)]
    pub fn forget_released(&mut self) {
        self.log.history_mut().forget_released();
    }

    #[cfg(test)]
    pub fn disk(&self) -> &D {
        &self.log.disk
    }

    /// Loads the site directory afresh and appends what it has new. Until this succeeds nothing is signed.
    pub fn take_in_site(&mut self, now: Timestamp) -> Result<Site, Stopped> {
        let key = self.settings.log_key.public().public;
        intake::take_in(&mut self.log, &self.settings.site_directory, &self.settings.site_pin, &key, now)
    }

    /// Answers one message. An error means that the signer must end.
    pub fn answer(&mut self, message: &Message, now: Timestamp) -> Result<Answer, LogError> {
        let answer = match message {
            Message::Submit(submit) => self.submit(submit, now),
            Message::DenyCode(deny) => self.deny_code(deny, now),
            Message::Cosign(cosign) => self.cosign(cosign, now),
            Message::Get(get) => self.get(get, now),
            Message::Publish(publish) => self.publish(publish, now),
            Message::CosignHead(cosign) => self.cosign_head(cosign, now),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Stopped::Refused(refusal)) => Ok(Answer::Refused(refusal)),
            Err(Stopped::Log(error)) => Err(error),
        }
    }

    fn submit(&mut self, submit: &Submit, now: Timestamp) -> Result<Answer, Stopped> {
        let digest = submit.verdict.payload_digest();
        if let Some(decided) = self.log.history().decided(&digest) {
            match (decided.outcome, &submit.decision) {
                (Outcome::Release, Decide::Approvals(_)) | (Outcome::Denial, Decide::Denial(_)) => {}
                (Outcome::Release, Decide::Denial(_)) => return Err(SignerRefusal::AlreadyReleased.into()),
                (Outcome::Denial, Decide::Approvals(_)) => return Err(Refusal::Denied.into()),
                // A request's payload digest is no verdict's.
                (Outcome::CodeDenial, _) => return Err(SignerRefusal::VerdictUnknown.into()),
            }
            return self.progress(&digest, submit.witnessed, now);
        }
        self.refuse_old_copy(submit.witnessed)?;
        // A clock set back would bring expired approvals to life.
        if now.plus(CLOCK_SKEW_SECONDS) < self.log.state().signed_at {
            return Err(SignerRefusal::ClockBehind.into());
        }
        let site = self.take_in_site(now)?;
        site.fresh(now)?;
        let request = SignedRequest::verify(&submit.request, &site)?;
        match &submit.decision {
            Decide::Approvals(approvals) => {
                self.refuse_denied_code(&request, &site, now)?;
                // A grant that the log could not take counts as absent.
                if !self.log.history().has(&request.grant().payload_digest()) {
                    return Err(SignerRefusal::GrantsExceedDataset.into());
                }
                let verdict = JudgedVerdict::verify(&submit.verdict, &request, &site, now)?;
                if let Some(denied) = Denied::in_site(&verdict, &site) {
                    self.append_denial(&denied, &verdict, &site, now)?;
                    return Err(Refusal::Denied.into());
                }
                let reviewed = ReviewedRun::check(&submit.code_approvals, &verdict, &site)?;
                let approved = Approved::check(approvals, &verdict, &site, now)?;
                self.append_release(&verdict, &approved, &reviewed, &site, now)?;
            }
            Decide::Denial(denial) => {
                // A denial does not expire, and neither does its reason: the verdict's time is not asked.
                let verdict = JudgedVerdict::recorded(&submit.verdict, &request, &site)?;
                let denied = Denied::check(denial, &verdict, &site)?;
                self.append_denial(&denied, &verdict, &site, now)?;
            }
        }
        self.progress(&digest, submit.witnessed, now)
    }

    /// Appends a refusal of code. Nothing has run, so there is no verdict: the request is what is decided about.
    fn deny_code(&mut self, deny: &DenyCode, now: Timestamp) -> Result<Answer, Stopped> {
        let digest = deny.request.payload_digest();
        if self.log.history().decided(&digest).is_none() {
            self.refuse_old_copy(deny.witnessed)?;
            if now.plus(CLOCK_SKEW_SECONDS) < self.log.state().signed_at {
                return Err(SignerRefusal::ClockBehind.into());
            }
            let site = self.take_in_site(now)?;
            site.fresh(now)?;
            let request = SignedRequest::verify(&deny.request, &site)?;
            let denied = CodeDenied::check(&deny.denial, &request, &site)?;
            self.append_code_denial(&denied, &request, &site, now)?;
        }
        self.progress(&digest, deny.witnessed, now)
    }

    /// Code that a steward refused, in the log or in the site directory, releases nothing: whether it ran all the same
    /// is not asked.
    fn refuse_denied_code(
        &mut self,
        request: &SignedRequest,
        site: &Site,
        now: Timestamp,
    ) -> Result<(), Stopped> {
        if self.log.history().decided(&request.payload_digest()).is_some() {
            return Err(Refusal::CodeDenied.into());
        }
        if let Some(denied) = CodeDenied::in_site(request, site) {
            self.append_code_denial(&denied, request, site, now)?;
            return Err(Refusal::CodeDenied.into());
        }
        Ok(())
    }

    fn append_code_denial(
        &mut self,
        denied: &CodeDenied,
        request: &SignedRequest,
        site: &Site,
        now: Timestamp,
    ) -> Result<(), Stopped> {
        // A refusal of code that a console held back until its run was released would be a proof of what is not so.
        if self.log.history().is_released(&request.payload_digest()) {
            return Err(SignerRefusal::AlreadyReleased.into());
        }
        let denial = denied.denial().envelope();
        let leaf = file::leaf(Event::CodeDenial, denial, denied.key())?;
        let file = CodeDenialFile {
            denial: denial.clone(),
            request: request.envelope().clone(),
            log_proof: String::new(),
        };
        let digest = request.payload_digest();
        self.append_decision(leaf.to_text(), digest, Outcome::CodeDenial, file.to_bytes(), site, now)
    }

    fn append_release(
        &mut self,
        verdict: &JudgedVerdict,
        approved: &Approved,
        reviewed: &ReviewedRun,
        site: &Site,
        now: Timestamp,
    ) -> Result<(), Stopped> {
        let before = self.log.history().released(&verdict.verdict().grant.id);
        let draft = ManifestDraft::from_evidence(verdict, approved, reviewed, site, &before, now)?;
        let manifest = draft.sign(&self.settings.release_key, site)?;
        let leaf = file::leaf(Event::Release, &manifest, &self.settings.release_key.public())?;
        let file = ReleaseFile::gather(manifest, verdict, approved, reviewed, site)?.to_bytes();
        self.append_decision(leaf.to_text(), verdict.payload_digest(), Outcome::Release, file, site, now)
    }

    fn append_denial(
        &mut self,
        denied: &Denied,
        verdict: &JudgedVerdict,
        site: &Site,
        now: Timestamp,
    ) -> Result<(), Stopped> {
        let denial = denied.denial().envelope();
        let leaf = file::leaf(Event::Denial, denial, denied.key())?;
        let file = DenialFile {
            denial: denial.clone(),
            verdict: verdict.envelope().clone(),
            request: verdict.request().envelope().clone(),
            log_proof: String::new(),
        };
        let digest = verdict.payload_digest();
        self.append_decision(leaf.to_text(), digest, Outcome::Denial, file.to_bytes(), site, now)
    }

    fn append_decision(
        &mut self,
        leaf: String,
        verdict: Digest,
        outcome: Outcome,
        file: Vec<u8>,
        site: &Site,
        now: Timestamp,
    ) -> Result<(), Stopped> {
        let file = String::from_utf8(file).map_err(|_| StateError::Form)?;
        let content = Content::Decision(Decision { verdict, outcome, file });
        let seen = self.log.state().seen.clone();
        let signed_at = now.max(self.log.state().signed_at);
        let origin = &site.roles().log.origin;
        Ok(self.log.append(origin, vec![Entry { leaf, content }], seen, signed_at)?)
    }
}
