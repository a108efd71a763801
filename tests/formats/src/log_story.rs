//! What the log and its witnesses do in the story.

use release::envelope::Envelope;
use release::key::{Sign, key_id};
use release::log::checkpoint::cosign;
use release::log::{Checkpoint, Event, KeyType, Leaf, LeafSignature, LogProof, Note, Tree, VerifierKey};
use release::value::Timestamp;

use crate::story::{self, Decided, LOG, WITNESS, key, time};

/// A cosignature: the witness's name, the key that it is made with, and when.
#[derive(Clone)]
pub struct Cosigner {
    /// The name in the note.
    pub name: String,
    /// The name of the key.
    pub key: String,
    /// When.
    pub time: Timestamp,
}

type EditProof = Box<dyn Fn(&mut LogProof)>;
type EditText = Box<dyn Fn(&mut String)>;

/// The log in which the release stands.
pub struct LogStory {
    /// Entries before the release.
    pub before: Vec<Vec<u8>>,
    /// The release's entry.
    pub leaf: Vec<u8>,
    /// Entries after it.
    pub after: Vec<Vec<u8>>,
    /// The origin line.
    pub origin: String,
    /// The name of the key that signs checkpoints.
    pub log_key: String,
    /// Who cosigns.
    pub cosigners: Vec<Cosigner>,
    /// Changes the proof, before it is written as text.
    pub edit_proof: Option<EditProof>,
    /// Changes the text.
    pub edit_text: Option<EditText>,
}

fn leaf_of(event: Event, envelope: &Envelope) -> Vec<u8> {
    let signatures = envelope.signatures().iter().map(|signature| LeafSignature {
        key_id: signature.key_id.parse().expect("a key id"),
        signature: signature.signature,
    });
    Leaf::new(event, envelope.payload_digest(), signatures).expect("a leaf").to_text().into_bytes()
}

/// A cosigner under its own key.
pub fn cosigner(name: &str, at: &str) -> Cosigner {
    Cosigner { name: name.to_owned(), key: name.to_owned(), time: time(at) }
}

impl LogStory {
    /// An honest log: what the site decided, the release, and one entry more.
    pub fn of(decided: &Decided, manifest: &Envelope) -> Self {
        let decisions = [
            (Event::Roles, &decided.roles[0]),
            (Event::Roles, &decided.roles[1]),
            (Event::Policy, &decided.policy),
            (Event::Catalogue, &decided.catalogue[0]),
            (Event::Catalogue, &decided.catalogue[1]),
            (Event::Grant, &decided.grant),
            (Event::Revocation, &decided.revocation),
        ];
        Self {
            before: decisions.map(|(event, envelope)| leaf_of(event, envelope)).to_vec(),
            leaf: leaf_of(Event::Release, manifest),
            after: vec![b"one entry more\n".to_vec()],
            origin: LOG.to_owned(),
            log_key: "log".to_owned(),
            cosigners: vec![cosigner(WITNESS, "2026-03-02T11:00:30Z")],
            edit_proof: None,
            edit_text: None,
        }
    }

    /// The proof of the release's entry, as text.
    pub fn proof(&self) -> String {
        let mut tree = Tree::new();
        let entries = self.before.iter().chain([&self.leaf]).chain(&self.after);
        for entry in entries {
            tree.append(release::log::merkle::leaf_hash(entry));
        }
        let index = self.before.len() as u64;
        let head = Checkpoint { origin: self.origin.clone(), size: tree.size(), root: tree.root() };
        let mut proof = LogProof {
            index,
            hashes: tree.inclusion_proof(index, tree.size()).expect("a proof"),
            checkpoint: self.sign(&head),
        };
        if let Some(edit) = &self.edit_proof {
            edit(&mut proof);
        }
        let mut text = proof.to_string();
        if let Some(edit) = &self.edit_text {
            edit(&mut text);
        }
        text
    }

    /// A checkpoint with the log's signature and the cosignatures.
    pub fn sign(&self, head: &Checkpoint) -> Note {
        let log_key = story::key(&self.log_key);
        let log = VerifierKey::new(&self.origin, KeyType::Log, log_key.public().public.0).expect("a key");
        let mut note = head.sign(&log, |message| log_key.sign(message)).expect("a checkpoint");
        for cosigner in &self.cosigners {
            let witness_key = key(&cosigner.key);
            let public = witness_key.public().public.0;
            let witness = VerifierKey::new(&cosigner.name, KeyType::Witness, public).expect("a key");
            let line = cosign(note.text(), &witness, cosigner.time, |message| witness_key.sign(message));
            note.push(line.expect("a cosignature"));
        }
        note
    }

    /// The id of the key that signs releases, as a leaf writes it.
    pub fn signer_id() -> blobs::Digest {
        key_id(&key("signer").public())
    }
}
