//! How leaves come under a published checkpoint: what witnesses are shown, what they must have cosigned, and the files
//! that then leave the signer.

use std::path::PathBuf;

use blobs::Digest;
use release::file::{CodeDenialFile, DenialFile, GivenFiles, KnownSite, Pinned, ReleaseFile};
use release::log::checkpoint::{self, Checkpoint};
use release::log::socket::{
    Answer, Appended, Cosign, CosignHead, Finished, Get, Outcome, Publish, Published, SignerRefusal,
    Unwitnessed,
};
use release::log::witness::AddCheckpoint;
use release::log::{KeyType, LogProof, Note, NoteSignature, VerifierKey};
use release::refusal::Refusal;
use release::value::{Count, Timestamp};

use super::{Signer, Stopped};
use crate::append::LogError;
use crate::disk::Disk;
use crate::intake;
use crate::ledger::Decided;
use crate::state::{Content, StateError, read_decision, read_file};

impl<D: Disk> Signer<D> {
    pub(super) fn get(&mut self, get: &Get, now: Timestamp) -> Result<Answer, Stopped> {
        self.progress(&get.verdict, get.witnessed, now)
    }

    /// How far a decision has come.
    pub(super) fn progress(
        &mut self,
        verdict: &Digest,
        witnessed: Count,
        now: Timestamp,
    ) -> Result<Answer, Stopped> {
        let decided = *self.log.history().ledger().decided(verdict).ok_or(SignerRefusal::VerdictUnknown)?;
        if let Some(finished) = self.finish_if_covered(verdict, now)? {
            return Ok(Answer::Finished(finished));
        }
        self.refuse_old_copy(witnessed)?;
        Ok(Answer::Appended(Appended {
            outcome: decided.outcome,
            index: Count(decided.index),
            size: Count(self.size()),
            add_checkpoint: self.add_checkpoint(witnessed)?,
        }))
    }

    /// Takes in what the site directory has new. Whoever reads the log need not wait for a decision to learn of a recall.
    pub(super) fn publish(&mut self, publish: &Publish, now: Timestamp) -> Result<Answer, Stopped> {
        self.refuse_old_copy(publish.witnessed)?;
        self.take_in_site(now)?;
        self.unwitnessed(publish.witnessed)
    }

    /// The head that witnesses have not cosigned yet, if there is one.
    pub(super) fn unwitnessed(&self, witnessed: Count) -> Result<Answer, Stopped> {
        let size = self.size();
        if size == self.published {
            return Ok(Answer::Published(Published { size: Count(size) }));
        }
        let add_checkpoint = self.add_checkpoint(witnessed)?;
        Ok(Answer::Unwitnessed(Unwitnessed { size: Count(size), add_checkpoint }))
    }

    pub(super) fn cosign_head(&mut self, cosign: &CosignHead, now: Timestamp) -> Result<Answer, Stopped> {
        let size = cosign.size.0;
        if size > self.published {
            if size > self.size() {
                return Err(SignerRefusal::SizeUnknown.into());
            }
            let note = self.cosigned(size, &cosign.cosignatures, now)?;
            // A published head is never cosigned again: under one that a witness dated wrongly, a release below it could
            // not be finished until the log has grown.
            let waiting: Vec<_> = self
                .log
                .history()
                .ledger()
                .decisions()
                .filter(|(_, decided)| (self.published..size).contains(&decided.index))
                .map(|(verdict, decided)| (*verdict, *decided))
                .collect();
            let (mut files, mut known) = (Vec::new(), KnownSite::default());
            for (verdict, decided) in waiting {
                let path = self.finished_path(&verdict, &decided);
                // One that was finished under an older head stays as it is: a file that never changes.
                if !path.exists() {
                    files.push((path, self.finished_file(&verdict, &decided, &note, now, &mut known)?));
                }
            }
            self.publish_checkpoint(size, &note)?;
            self.log.keep_all(&files)?;
        }
        Ok(Answer::Published(Published { size: Count(self.published) }))
    }

    /// The body of the request `add-checkpoint` to a witness that cosigned this size last.
    fn add_checkpoint(&self, witnessed: Count) -> Result<String, Stopped> {
        let size = self.size();
        let proof = self.log.history().tree().consistency_proof(witnessed.0, size);
        let proof = proof.map_err(|_| SignerRefusal::SizeUnknown)?;
        Ok(AddCheckpoint { old: witnessed.0, proof, checkpoint: self.checkpoint(size)? }.to_string())
    }

    /// A published checkpoint never shrinks: a reader who has seen it would take the smaller one for a rollback.
    fn publish_checkpoint(&mut self, size: u64, note: &Note) -> Result<(), Stopped> {
        if size > self.published {
            let path = self.log.places.checkpoint();
            self.log.replace(&path, note.to_string().as_bytes())?;
            self.published = size;
        }
        Ok(())
    }

    /// A witness that has seen more than there is here has seen what this log has lost. Signing on would be a second
    /// history.
    pub(super) fn refuse_old_copy(&self, witnessed: Count) -> Result<(), SignerRefusal> {
        if witnessed.0 > self.size() { Err(SignerRefusal::LogBehindWitness) } else { Ok(()) }
    }

    pub(super) fn cosign(&mut self, cosign: &Cosign, now: Timestamp) -> Result<Answer, Stopped> {
        let decided =
            *self.log.history().ledger().decided(&cosign.verdict).ok_or(SignerRefusal::VerdictUnknown)?;
        if let Some(finished) = self.finish_if_covered(&cosign.verdict, now)? {
            return Ok(Answer::Finished(finished));
        }
        let size = cosign.size.0;
        if size <= decided.index || size > self.size() {
            return Err(SignerRefusal::SizeUnknown.into());
        }
        let note = self.cosigned(size, &cosign.cosignatures, now)?;
        let file = self.finished_file(&cosign.verdict, &decided, &note, now, &mut KnownSite::default())?;
        // The checkpoint first: a release file that is there is then always under a published head. A crash between
        // the two leaves a checkpoint that covers the leaf, from which the next start makes the file.
        self.publish_checkpoint(size, &note)?;
        self.keep_finished(&cosign.verdict, &decided, file).map(Answer::Finished)
    }

    /// The log's own checkpoint of this size, with the cosignatures of witnesses that the site's roles name, if they
    /// are enough.
    fn cosigned(&self, size: u64, lines: &str, now: Timestamp) -> Result<Note, Stopped> {
        // What is no signature line is passed over: else a witness's answer could keep all the others from counting.
        let lines: Vec<_> = lines.split('\n').filter_map(|line| NoteSignature::parse(line).ok()).collect();
        if lines.is_empty() {
            return Err(SignerRefusal::CosignatureForm.into());
        }
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
        for witness in &witnesses {
            // One true line of each, and nothing else. Verifiers refuse a note with a line of a known key that does not
            // verify, and one with too many lines: left in, one witness that lies would keep all the others from counting.
            let is_true = |line: &&NoteSignature| {
                let mut alone = unwitnessed.clone();
                alone.push((*line).clone());
                let cosigned = checkpoint::cosignatures(&alone, std::slice::from_ref(witness));
                cosigned.is_ok_and(|found| !found.is_empty())
            };
            lines.iter().find(is_true).into_iter().for_each(|line| note.push(line.clone()));
        }
        let cosigned = checkpoint::cosignatures(&note, &witnesses).map_err(refused)?;
        let log = self.verifier_key()?;
        checkpoint::quorum(&cosigned, &log, site.roles().witness_quorum.0).map_err(refused)?;
        Ok(note)
    }

    /// The release file or denial file of a decision under a cosigned checkpoint. A release is verified as everyone
    /// else will verify it, before anyone gets it; of those that are finished together, what the site decided once.
    fn finished_file(
        &self,
        verdict: &Digest,
        decided: &Decided,
        note: &Note,
        now: Timestamp,
        known: &mut KnownSite,
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
                file.verify_beside(&pinned, now, GivenFiles::NotGiven, known)?;
                Ok(file.to_bytes())
            }
            Outcome::Denial => Ok(DenialFile::parse(decision.file.as_bytes())?.with_proof(&proof).to_bytes()),
            Outcome::CodeDenial => {
                Ok(CodeDenialFile::parse(decision.file.as_bytes())?.with_proof(&proof).to_bytes())
            }
        }
    }

    /// The finished file, if there is one, or if the published checkpoint covers the leaf and one can be made.
    pub(super) fn finish_if_covered(
        &mut self,
        verdict: &Digest,
        now: Timestamp,
    ) -> Result<Option<Finished>, Stopped> {
        let Some(decided) = self.log.history().ledger().decided(verdict).copied() else { return Ok(None) };
        if let Some(file) = read_file(&self.finished_path(verdict, &decided))? {
            return Ok(Some(finished(&decided, file)?));
        }
        if decided.index >= self.published {
            return Ok(None);
        }
        let Some((_, note)) = self.published_note()? else { return Ok(None) };
        let file = self.finished_file(verdict, &decided, &note, now, &mut KnownSite::default())?;
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
    pub(super) fn published_note(&self) -> Result<Option<(Checkpoint, Note)>, LogError> {
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
    fn checkpoint(&self, size: u64) -> Result<Note, Stopped> {
        let root = self.log.history().tree().root_at(size).ok_or(LogError::Checkpoint)?;
        let head = Checkpoint { origin: self.log.state().origin.clone(), size, root };
        let signature = self.settings.log_key.sign(head.text().as_bytes())?;
        let signed = head.sign(&self.verifier_key()?, |_| signature);
        Ok(signed.map_err(|_| LogError::Checkpoint)?)
    }
}

fn finished(decided: &Decided, file: Vec<u8>) -> Result<Finished, StateError> {
    let file = String::from_utf8(file).map_err(|_| StateError::Form)?;
    Ok(Finished { outcome: decided.outcome, file })
}
