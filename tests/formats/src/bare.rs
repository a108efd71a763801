//! The signatures and digests in a release file, and nothing else: every signature verified once, strictly, with a key that
//! is ready, and every payload hashed once. Measurements compare with it.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use release::key::Sign;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::story::{WITNESS, key};

/// A signature with its key and what it signs.
struct Signed {
    key: VerifyingKey,
    message: Vec<u8>,
    signature: Signature,
}

/// What there is to compute, whoever does it.
#[derive(Default)]
pub struct Bare {
    signed: Vec<Signed>,
    hashed: Vec<Vec<u8>>,
}

impl Bare {
    /// What is in a release file that is sound.
    pub fn of(release: &Value) -> Self {
        let names =
            ["root-rita", "root-rolf", "steward-ana", "steward-ben", "researcher-mia", "enclave", "signer"];
        let keys: Vec<VerifyingKey> = names.iter().map(|name| verifying(name)).collect();
        let mut bare = Self::default();
        bare.gather(release, &keys);
        let proof = release["tlogProof"].as_str().expect("a proof");
        let (_, note) = proof.split_once("\n\n").expect("a note");
        let (text, lines) = note.split_once("\n\n").expect("signatures");
        let text = format!("{text}\n");
        for line in lines.lines() {
            let raw = STANDARD.decode(line.split(' ').nth(2).expect("a signature")).expect("base64");
            let (time, signature) = raw[4..].split_at(raw.len() - 68);
            let message = match time.try_into() {
                Ok(time) => format!("cosignature/v1\ntime {}\n{text}", u64::from_be_bytes(time)),
                Err(_) => text.clone(),
            };
            let witness = ["log", WITNESS].map(verifying);
            bare.add(message.into_bytes(), signature, &witness);
        }
        // The path to the root: a digest of 65 bytes a step.
        bare.hashed.extend(proof.lines().skip(2).take_while(|line| !line.is_empty()).map(|_| vec![0; 65]));
        bare
    }

    /// How many signatures, and how many digests.
    pub fn counts(&self) -> (usize, usize) {
        (self.signed.len(), self.hashed.len())
    }

    /// Every envelope below this value.
    fn gather(&mut self, value: &Value, keys: &[VerifyingKey]) {
        match value {
            Value::Object(fields) if fields.contains_key("payloadType") => {
                let payload = STANDARD.decode(fields["payload"].as_str().expect("text")).expect("base64");
                let begin = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
                let message = [begin.as_bytes(), &payload].concat();
                for signature in fields["signatures"].as_array().expect("signatures") {
                    let signature =
                        STANDARD.decode(signature["sig"].as_str().expect("text")).expect("base64");
                    self.add(message.clone(), &signature, keys);
                }
                self.hashed.push(payload);
            }
            Value::Object(fields) => fields.values().for_each(|part| self.gather(part, keys)),
            Value::Array(parts) => parts.iter().for_each(|part| self.gather(part, keys)),
            _ => {}
        }
    }

    fn add(&mut self, message: Vec<u8>, signature: &[u8], keys: &[VerifyingKey]) {
        let signature = Signature::from_slice(signature).expect("64 bytes");
        let key = keys.iter().find(|key| key.verify_strict(&message, &signature).is_ok());
        if let Some(key) = key {
            self.signed.push(Signed { key: *key, message, signature });
        }
    }

    /// Computes it.
    pub fn compute(&self) {
        for signed in &self.signed {
            signed.key.verify_strict(&signed.message, &signed.signature).expect("a true signature");
        }
        for bytes in &self.hashed {
            black_box(Sha256::digest(bytes));
        }
    }
}

fn verifying(name: &str) -> VerifyingKey {
    VerifyingKey::from_bytes(&key(name).public().public.0).expect("a key")
}
