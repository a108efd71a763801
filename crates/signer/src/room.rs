//! The room: what it answers to each message.

use std::path::PathBuf;

use blobs::Digest;
use release::file::{self, CodeDenialFile, DenialFile, GivenFiles, Pinned, ReleaseFile};
use release::key::{SecretKey, Sign};
use release::log::checkpoint::{self, Checkpoint};
use release::log::socket::{
    Answer, Appended, Cosign, Decision as Decide, DenyCode, Finished, Get, Message, Outcome, SignerRefusal,
    Submit,
};
use release::log::witness::AddCheckpoint;
use release::log::{Event, KeyType, LogProof, Note, NoteSignature, VerifierKey};
use release::path::{Approved, CodeDenied, Denied, JudgedVerdict, ManifestDraft, ReviewedRun, SignedRequest};
use release::refusal::Refusal;
use release::site::{CLOCK_SKEW_SECONDS, Site};
use release::value::{Count, Timestamp};

use crate::append::{Log, LogError};
use crate::disk::Disk;
use crate::history::Decided;
use crate::intake;
use crate::state::{Content, Decision, Entry, StateError, read_decision, read_file};

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

    fn get(&mut self, get: &Get, now: Timestamp) -> Result<Answer, Stopped> {
        self.progress(&get.verdict, get.witnessed, now)
    }

    /// How far a decision has come.
    fn progress(&mut self, verdict: &Digest, witnessed: Count, now: Timestamp) -> Result<Answer, Stopped> {
        let decided = *self.log.history().decided(verdict).ok_or(SignerRefusal::VerdictUnknown)?;
        if let Some(finished) = self.finish_if_covered(verdict, now)? {
            return Ok(Answer::Finished(finished));
        }
        self.refuse_old_copy(witnessed)?;
        let size = self.size();
        let proof = self.log.history().tree().consistency_proof(witnessed.0, size);
        let proof = proof.map_err(|_| SignerRefusal::SizeUnknown)?;
        let request = AddCheckpoint { old: witnessed.0, proof, checkpoint: self.checkpoint(size)? };
        Ok(Answer::Appended(Appended {
            outcome: decided.outcome,
            index: Count(decided.index),
            size: Count(size),
            add_checkpoint: request.to_string(),
        }))
    }

    /// A witness that has seen more than there is here has seen what this log has lost. Signing on would be a second
    /// history.
    fn refuse_old_copy(&self, witnessed: Count) -> Result<(), SignerRefusal> {
        if witnessed.0 > self.size() { Err(SignerRefusal::LogBehindWitness) } else { Ok(()) }
    }

    fn cosign(&mut self, cosign: &Cosign, now: Timestamp) -> Result<Answer, Stopped> {
        let decided = *self.log.history().decided(&cosign.verdict).ok_or(SignerRefusal::VerdictUnknown)?;
        if let Some(finished) = self.finish_if_covered(&cosign.verdict, now)? {
            return Ok(Answer::Finished(finished));
        }
        let size = cosign.size.0;
        if size <= decided.index || size > self.size() {
            return Err(SignerRefusal::SizeUnknown.into());
        }
        let note = self.cosigned(size, &cosign.cosignatures, now)?;
        let file = self.finished_file(&cosign.verdict, &decided, &note, now)?;
        // The checkpoint first: a release file that is there is then always under a published head. A crash between
        // the two leaves a checkpoint that covers the leaf, from which the next start makes the file.
        if size > self.published {
            let path = self.log.places.checkpoint();
            self.log.replace(&path, note.to_string().as_bytes())?;
            self.published = size;
        }
        self.keep_finished(&cosign.verdict, &decided, file).map(Answer::Finished)
    }

    /// The log's own checkpoint of this size, with the cosignatures of witnesses that the site's roles name, if they
    /// are enough.
    fn cosigned(&self, size: u64, lines: &str, now: Timestamp) -> Result<Note, Stopped> {
        let lines = NoteSignature::parse_lines(lines).map_err(|_| SignerRefusal::CosignatureForm)?;
        let site = intake::load(&self.settings.site_directory, &self.settings.site_pin, now)?;
        // An older directory would bring back witnesses that were dropped since.
        site.not_older_than(&self.log.state().seen)?;
        let refused = |_| Refusal::LogWitnesses;
        let counts = |on_box: bool| self.settings.accept_on_box_witness || !on_box;
        let counted = site.roles().witnesses.iter().filter(|witness| counts(witness.on_box_machine));
        let witnesses: Vec<_> =
            counted.map(VerifierKey::of_witness).collect::<Result<_, _>>().map_err(refused)?;
        let refused = |_| Refusal::LogWitnesses;
        let unwitnessed = self.checkpoint(size)?;
        let mut note = unwitnessed.clone();
        for line in lines {
            let mut alone = unwitnessed.clone();
            alone.push(line.clone());
            // Verifiers refuse a note with a line of a known key that does not verify. Left in, one witness that lies
            // would keep all the others from counting.
            if checkpoint::cosignatures(&alone, &witnesses).is_ok() {
                note.push(line);
            }
        }
        let cosigned = checkpoint::cosignatures(&note, &witnesses).map_err(refused)?;
        let log = self.verifier_key()?;
        checkpoint::quorum(&cosigned, &log, site.roles().witness_quorum.0).map_err(refused)?;
        let known: Vec<_> = witnesses.iter().chain([&log]).collect();
        Ok(note.only(&known))
    }

    /// The release file or denial file of a decision under a cosigned checkpoint. A release is verified as everyone
    /// else will verify it, before anyone gets it.
    fn finished_file(
        &self,
        verdict: &Digest,
        decided: &Decided,
        note: &Note,
        now: Timestamp,
    ) -> Result<Vec<u8>, Stopped> {
        let head = Checkpoint::parse(note.text()).map_err(|_| LogError::Checkpoint)?;
        let hashes = self.log.history().tree().inclusion_proof(decided.index, head.size);
        let hashes = hashes.map_err(|_| SignerRefusal::SizeUnknown)?;
        let proof = LogProof { index: decided.index, hashes, checkpoint: note.clone() };
        let kept = read_decision(&self.log.places, verdict)?.ok_or(StateError::Form)?;
        let Content::Decision(decision) = kept.content else { return Err(StateError::Form.into()) };
        match decided.outcome {
            Outcome::Release => {
                let file = ReleaseFile::parse(decision.file.as_bytes())?.with_proof(&proof);
                let accept_on_box_witness = self.settings.accept_on_box_witness;
                let pinned = Pinned { accept_on_box_witness, ..Pinned::new(self.settings.site_pin) };
                file.verify(&pinned, now, GivenFiles::NotGiven)?;
                Ok(file.to_bytes())
            }
            Outcome::Denial => Ok(DenialFile::parse(decision.file.as_bytes())?.with_proof(&proof).to_bytes()),
            Outcome::CodeDenial => {
                Ok(CodeDenialFile::parse(decision.file.as_bytes())?.with_proof(&proof).to_bytes())
            }
        }
    }

    /// The finished file, if there is one, or if the published checkpoint covers the leaf and one can be made.
    fn finish_if_covered(&mut self, verdict: &Digest, now: Timestamp) -> Result<Option<Finished>, Stopped> {
        let Some(decided) = self.log.history().decided(verdict).copied() else { return Ok(None) };
        if let Some(file) = read_file(&self.finished_path(verdict, &decided))? {
            return Ok(Some(finished(&decided, file)?));
        }
        if decided.index >= self.published {
            return Ok(None);
        }
        let Some((_, note)) = self.published_note()? else { return Ok(None) };
        let file = self.finished_file(verdict, &decided, &note, now)?;
        self.keep_finished(verdict, &decided, file).map(Some)
    }

    fn keep_finished(
        &mut self,
        verdict: &Digest,
        decided: &Decided,
        file: Vec<u8>,
    ) -> Result<Finished, Stopped> {
        let path = self.finished_path(verdict, decided);
        self.log.keep(&path, &file)?;
        Ok(finished(decided, file)?)
    }

    fn finished_path(&self, verdict: &Digest, decided: &Decided) -> PathBuf {
        match decided.outcome {
            Outcome::Release => self.log.places.release(&decided.payload),
            Outcome::Denial | Outcome::CodeDenial => self.log.places.denial(verdict),
        }
    }

    /// The published checkpoint. One that is not of this log and this history is no reason to go on.
    fn published_note(&self) -> Result<Option<(Checkpoint, Note)>, LogError> {
        let Some(bytes) = read_file(&self.log.places.checkpoint())? else { return Ok(None) };
        let note = Note::parse(&bytes).map_err(|_| LogError::Checkpoint)?;
        let head = Checkpoint::open(&note, &self.verifier_key()?).map_err(|_| LogError::Checkpoint)?;
        let same = self.log.history().tree().root_at(head.size) == Some(head.root);
        if same { Ok(Some((head, note))) } else { Err(LogError::Checkpoint) }
    }

    fn verifier_key(&self) -> Result<VerifierKey, LogError> {
        let public = self.settings.log_key.public().public.0;
        VerifierKey::new(&self.log.state().origin, KeyType::Log, public).map_err(|_| LogError::Checkpoint)
    }

    /// A checkpoint of this size, signed. Ed25519 gives the same bytes each time.
    fn checkpoint(&self, size: u64) -> Result<Note, LogError> {
        let root = self.log.history().tree().root_at(size).ok_or(LogError::Checkpoint)?;
        let head = Checkpoint { origin: self.log.state().origin.clone(), size, root };
        let signed = head.sign(&self.verifier_key()?, |message| self.settings.log_key.sign(message));
        signed.map_err(|_| LogError::Checkpoint)
    }
}

fn finished(decided: &Decided, file: Vec<u8>) -> Result<Finished, StateError> {
    let file = String::from_utf8(file).map_err(|_| StateError::Form)?;
    Ok(Finished { outcome: decided.outcome, file })
}
