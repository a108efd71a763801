//! How long it takes to verify a release file, over the signatures and digests in it alone: every signature once, strictly,
//! with a key that is ready, and every payload hashed once, in turn in the same process.
//!
//! A process looks at each key of a site once, so its first file takes longer. That is measured too, in a process for
//! each time, against the same work alone in that process.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use release::file::{Examination, GivenFiles, Pinned};
use release::key::Sign;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use test_formats::story::{Story, key, verified_at};

const ROUNDS: usize = 101;
const EACH: usize = 20;

/// A signature with its key and what it signs.
struct Signed {
    key: VerifyingKey,
    message: Vec<u8>,
    signature: Signature,
}

/// What there is to compute, whoever does it.
#[derive(Default)]
struct Bare {
    signed: Vec<Signed>,
    hashed: Vec<Vec<u8>>,
}

impl Bare {
    fn of(release: &Value) -> Self {
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
            let witness = ["log", test_formats::story::WITNESS].map(verifying);
            bare.add(message.into_bytes(), signature, &witness);
        }
        // The path to the root: a digest of 65 bytes a step.
        bare.hashed.extend(proof.lines().skip(2).take_while(|line| !line.is_empty()).map(|_| vec![0; 65]));
        bare
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

    fn compute(&self) {
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

fn microseconds(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..EACH).for_each(|_| work());
    begun.elapsed().as_secs_f64() * 1e6 / EACH as f64
}

/// How many processes verify a first file.
const FIRST_FILES: usize = 31;

/// Told to a process that verifies one file and ends: it prints its ratio.
const FIRST: &str = "--first-file";

fn main() {
    let told = Story::default().tell();
    let bare = Bare::of(&serde_json::from_slice(&told.bytes).expect("JSON"));
    let pinned = Pinned::new(told.pin);
    let verify = || {
        let examined = Examination::of(&told.bytes, &pinned, verified_at(), GivenFiles::NotGiven);
        assert!(black_box(examined).result.is_ok());
    };
    if std::env::args().any(|argument| argument == FIRST) {
        let begun = Instant::now();
        verify();
        let first = begun.elapsed().as_secs_f64() * 1e6;
        return println!("{}", first / microseconds(|| bare.compute()));
    }
    let pairs: Vec<_> =
        (0..ROUNDS).map(|_| (microseconds(verify), microseconds(|| bare.compute()))).collect();
    let whole = median(pairs.iter().map(|pair| pair.0));
    let alone = median(pairs.iter().map(|pair| pair.1));
    println!(
        "a release file of {} bytes: {whole:.0} us to verify; its {} signatures and {} digests alone: {alone:.0} us",
        told.bytes.len(),
        bare.signed.len(),
        bare.hashed.len()
    );
    print("verified over signatures and digests alone", pairs.iter().map(|pair| pair.0 / pair.1));
    let fastest = |part: fn(&(f64, f64)) -> f64| pairs.iter().map(part).fold(f64::INFINITY, f64::min);
    println!("the fastest of each: {:.2}", fastest(|pair| pair.0) / fastest(|pair| pair.1));
    print(
        "the same for the first file of a site, whose keys are looked at",
        (0..FIRST_FILES).map(|_| first_file()),
    );
}

fn first_file() -> f64 {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).arg(FIRST).output().expect("a process");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a ratio")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[values.len() / 2]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn print(what: &str, ratios: impl Iterator<Item = f64>) {
    let ratios = sorted(ratios);
    let (low, high) = (ratios[1], ratios[ratios.len() - 2]);
    println!("{what}: {:.2} ({low:.2} to {high:.2}, {} pairs)", ratios[ratios.len() / 2], ratios.len());
}
