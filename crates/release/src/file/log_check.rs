//! Whether a statement stands in the log that roles name, under a head that enough witnesses saw, and since when.

use std::collections::BTreeMap;

use crate::envelope::Envelope;
use crate::key::key_id;
use crate::log::checkpoint::{self, Cosigned};
use crate::log::{Checkpoint, Event, Leaf, LeafSignature, LogProof, VerifierKey, merkle};
use crate::refusal::Refusal;
use crate::statement::{PublicKey, Roles};
use crate::value::Timestamp;

/// Where a statement stands in the log, and since when enough witnesses say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The leaf's index, from 0.
    pub index: u64,
    /// The head under which it was proven.
    pub head: Checkpoint,
    /// The moment at which the quorum was complete.
    pub time: Timestamp,
    /// The names of the witnesses that count.
    pub witnesses: Vec<String>,
}

/// The log proof, read.
pub(super) fn parse(text: &str) -> Result<LogProof, Refusal> {
    LogProof::parse(text.as_bytes()).map_err(|_| Refusal::LogForm)
}

/// The leaf of a statement that carries one signature, by this key: releases and denials. The signer appends it, and
/// a verifier rebuilds it from the statement at hand, so a proof about any other entry proves nothing here.
pub fn leaf(event: Event, envelope: &Envelope, key: &PublicKey) -> Result<Leaf, Refusal> {
    let [signature] = envelope.signatures() else {
        return Err(Refusal::SignatureCount);
    };
    // The key that verified is written, never the hint beside the signature.
    let signature = LeafSignature { key_id: key_id(key), signature: signature.signature };
    Leaf::new(event, envelope.payload_digest(), [signature]).map_err(|_| Refusal::LogForm)
}

pub(super) fn open(proof: &LogProof, roles: &Roles) -> Result<Checkpoint, Refusal> {
    let log = VerifierKey::of_log(&roles.log).map_err(|_| Refusal::LogCheckpoint)?;
    Checkpoint::open(&proof.checkpoint, &log).map_err(|_| Refusal::LogCheckpoint)
}

pub(super) fn included(proof: &LogProof, leaf: &Leaf, head: &Checkpoint) -> Result<(), Refusal> {
    merkle::verify_inclusion(&leaf.hash(), proof.index, head.size, &proof.hashes, &head.root)
        .map_err(|_| Refusal::LogInclusion)
}

/// Counts witnesses: those that roles name, each key once, the log's own key never, and those on the box's machine
/// only where the verifier says so. Returns the moment at which the quorum was complete, and who counted.
pub(super) fn witnessed(
    proof: &LogProof,
    roles: &Roles,
    accept_on_box_witness: bool,
) -> Result<(Timestamp, Vec<String>), Refusal> {
    let log = VerifierKey::of_log(&roles.log).map_err(|_| Refusal::LogCheckpoint)?;
    let counted = roles.witnesses.iter().filter(|witness| accept_on_box_witness || !witness.on_box_machine);
    let keys: Result<Vec<_>, _> = counted.map(VerifierKey::of_witness).collect();
    let keys = keys.map_err(|_| Refusal::LogWitnesses)?;
    let cosigned = checkpoint::cosignatures(&proof.checkpoint, &keys).map_err(|_| Refusal::LogWitnesses)?;
    checkpoint::quorum(&cosigned, &log, roles.witness_quorum.0).map_err(|_| Refusal::LogWitnesses)?;
    complete(cosigned, &log, roles.witness_quorum.0)
}

fn complete(
    cosigned: Vec<Cosigned>,
    log: &VerifierKey,
    quorum: u64,
) -> Result<(Timestamp, Vec<String>), Refusal> {
    let mut by_key = BTreeMap::new();
    for one in cosigned.into_iter().filter(|one| one.witness.public() != log.public()) {
        by_key.entry(*one.witness.public()).or_insert((one.time, one.witness.name().to_owned()));
    }
    let mut counted: Vec<_> = by_key.into_values().collect();
    counted.sort();
    let last = usize::try_from(quorum).ok().and_then(|quorum| quorum.checked_sub(1));
    let (time, _) = last.and_then(|last| counted.get(last)).ok_or(Refusal::LogWitnesses)?;
    Ok((*time, counted.iter().map(|(_, name)| name.clone()).collect()))
}
