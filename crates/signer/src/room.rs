//! The room: what it answers to each message.

pub(crate) mod deciding;
mod publishing;

use std::path::PathBuf;

use blobs::Digest;
use release::key::SignError;
use release::log::socket::{
    Answer, Decision as Decide, DenyCode, Message, Outcome, SignerRefusal, Submit, TOGETHER_LIMIT, Together,
};
use release::path::{CodeDenied, NotSigned, SignedRequest};
use release::refusal::Refusal;
use release::site::{CLOCK_SKEW_SECONDS, Site};
use release::value::{Count, Timestamp};

use crate::append::{Log, LogError};
use crate::disk::Disk;
use crate::history::HistoryError;
use crate::intake;
use crate::key::BoxKey;
use crate::ledger::Batch;
use crate::state::StateError;
use deciding::Deciding;

/// What the signer is given to work with.
#[derive(Debug)]
pub struct Settings {
    /// Signed statements of the site.
    pub site_directory: PathBuf,
    /// Payload digest of version 1 of the roles.
    pub site_pin: Digest,
    /// The key of release manifests.
    pub release_key: BoxKey,
    /// The key of the log.
    pub log_key: BoxKey,
    /// Whether a witness on the box's own machine counts.
    pub accept_on_box_witness: bool,
    /// Bytes of decisions after which no further one is taken in the same step.
    pub batch_bytes: usize,
}

/// The usual [`Settings::batch_bytes`]. One more may come, and a release file has 16 MiB at most: far from the limit at
/// which the state is read.
pub const BATCH_BYTES: usize = 64 << 20;

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

impl From<NotSigned> for Stopped {
    fn from(error: NotSigned) -> Self {
        match error {
            NotSigned::Refused(refusal) => refusal.into(),
            NotSigned::Key(error) => error.into(),
        }
    }
}

impl From<SignError> for Stopped {
    fn from(_: SignError) -> Self {
        Self::Refused(SignerRefusal::KeyUnavailable)
    }
}

impl From<HistoryError> for Stopped {
    fn from(error: HistoryError) -> Self {
        Self::Log(error.into())
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
        let decided: Vec<_> =
            signer.log.history().ledger().decisions().map(|(verdict, _)| *verdict).collect();
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
    pub fn forget_tables(&mut self) {
        self.log.history_mut().forget_tables();
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
            Message::Together(together) => self.together(together, now),
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
        if let Some(decided) = self.log.history().ledger().decided(&digest) {
            match (decided.outcome, &submit.decision) {
                (Outcome::Release, Decide::Approvals(_)) | (Outcome::Denial, Decide::Denial(_)) => {}
                (Outcome::Release, Decide::Denial(_)) => return Err(SignerRefusal::AlreadyReleased.into()),
                (Outcome::Denial, Decide::Approvals(_)) => return Err(Refusal::Denied.into()),
                // A request's payload digest is no verdict's.
                (Outcome::CodeDenial, _) => return Err(SignerRefusal::VerdictUnknown.into()),
            }
            return self.progress(&digest, submit.witnessed, now);
        }
        let site = self.fresh_site(submit.witnessed, now)?;
        let mut deciding = Deciding::over(self, &site, now);
        let taken = deciding.submit(submit);
        self.append_all(deciding.into_batch(), &site, now, taken)?;
        self.progress(&digest, submit.witnessed, now)
    }

    /// Decides several at once, so that they become leaves in one step and are witnessed under one head. Each is weighed
    /// with those before it. One that is refused is left out; a question about it alone tells why.
    fn together(&mut self, together: &Together, now: Timestamp) -> Result<Answer, Stopped> {
        if together.submits.len() > TOGETHER_LIMIT {
            return Err(SignerRefusal::MessageForm.into());
        }
        let site = self.fresh_site(together.witnessed, now)?;
        let mut deciding = Deciding::over(self, &site, now);
        // What is left out for its size becomes a leaf when it is asked for alone.
        for submit in &together.submits {
            if deciding.is_full() {
                break;
            }
            match deciding.submit(submit) {
                Ok(()) | Err(Stopped::Refused(_)) => {}
                Err(Stopped::Log(error)) => return Err(error.into()),
            }
        }
        self.append_all(deciding.into_batch(), &site, now, Ok(()))?;
        self.unwitnessed(together.witnessed)
    }

    /// Appends a refusal of code. Nothing has run, so there is no verdict: the request is what is decided about.
    fn deny_code(&mut self, deny: &DenyCode, now: Timestamp) -> Result<Answer, Stopped> {
        let digest = deny.request.payload_digest();
        if self.log.history().ledger().decided(&digest).is_none() {
            let site = self.fresh_site(deny.witnessed, now)?;
            let request = SignedRequest::verify(&deny.request, &site)?;
            let denied = CodeDenied::check(&deny.denial, &request, &site)?;
            let mut deciding = Deciding::over(self, &site, now);
            let taken = deciding.deny_code(&denied, &request);
            self.append_all(deciding.into_batch(), &site, now, taken)?;
        }
        self.progress(&digest, deny.witnessed, now)
    }

    /// The site as it is now, taken into the log. Nothing is decided on an old copy of the log, or by a clock that was set
    /// back, which would bring expired approvals to life.
    fn fresh_site(&mut self, witnessed: Count, now: Timestamp) -> Result<Site, Stopped> {
        self.refuse_old_copy(witnessed)?;
        if now.plus(CLOCK_SKEW_SECONDS) < self.log.state().signed_at {
            return Err(SignerRefusal::ClockBehind.into());
        }
        let site = self.take_in_site(now)?;
        site.fresh(now)?;
        Ok(site)
    }

    /// Appends what was decided. A refusal can come with a decision: a denial that lay in the site directory is appended,
    /// and the approvals are refused.
    fn append_all(
        &mut self,
        batch: Batch,
        site: &Site,
        now: Timestamp,
        taken: Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        if let Err(Stopped::Log(error)) = taken {
            return Err(error.into());
        }
        let entries = batch.into_entries();
        if !entries.is_empty() {
            let seen = self.log.state().seen.clone();
            let signed_at = now.max(self.log.state().signed_at);
            self.log.append(&site.roles().log.origin, entries, seen, signed_at)?;
        }
        taken
    }
}
