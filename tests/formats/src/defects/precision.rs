//! Releases of weights in a precision that the box chose, and defects of what a verdict says of that.

use std::collections::BTreeMap;

use blobs::Digest;
use egress::{InMemory, Task};
use release::refusal::Refusal;
use release::statement::{Better, DeclaredOutput, Evaluation, OutputKind, Precision, Request, Verdict};
use release::value::Count;

use super::{Defect, story};
use crate::story::{POLICY_FILE, Story, name, outputs, written};

/// What the choice among `bf16`, `int8` and `int4` costs.
const CHOICE_BITS: u64 = 2;

pub(super) fn all() -> Vec<Defect> {
    let files = |which, about, story| Defect::new(Refusal::VerdictFiles, which, about, story);
    let judged = |which, about, story| Defect::new(Refusal::JudgedDifferently, which, about, story);
    // Three parameters, and a scale for them in int4: 44 bits, where bf16 has 48 and int8 56.
    let [own, int4] = [48, 44].map(|bits| bits + CHOICE_BITS);
    vec![
        Defect::innocent(
            "precision-kept",
            "Weights with an evaluation that left in the policy's own precision.",
            chosen(Precision::Bf16, own),
        ),
        Defect::innocent(
            "precision-chosen",
            "Weights with an evaluation that left in the smallest precision, for fewer bits.",
            smaller(int4),
        )
        .with_files(),
        files(
            "precision-missing",
            "The request ships an evaluation, and the verdict does not say which precision was chosen.",
            story().request(evaluated),
        ),
        files(
            "precision-unasked",
            "The verdict says that a precision was chosen, and the request ships no evaluation.",
            story().verdict(|verdict| weights(verdict).precision = Some(Precision::Bf16)),
        ),
        files(
            "precision-of-metrics",
            "The verdict says that a precision was chosen for metrics.",
            story().verdict(|verdict| {
                let metrics = verdict.files.iter_mut().find(|file| file.kind == OutputKind::Metrics);
                metrics.expect("metrics").precision = Some(Precision::Bf16);
            }),
        ),
        judged(
            "precision-finer",
            "Weights left in a finer precision than the policy's, and every bit of it was charged.",
            chosen(Precision::F32, 96 + CHOICE_BITS),
        ),
        judged(
            "precision-unlisted",
            "Weights left in a smaller precision that the policy does not list.",
            chosen(Precision::Int3, own),
        ),
        judged(
            "precision-dearer",
            "Weights left in a listed precision that costs more than the policy's, since they are few.",
            chosen(Precision::Int8, 56 + CHOICE_BITS),
        ),
        judged(
            "precision-choice-free",
            "The box charged nothing for what its choice of a precision tells.",
            chosen(Precision::Bf16, own - CHOICE_BITS),
        ),
        judged(
            "precision-other",
            "The verdict says int4 and charges for it, and bf16 left.",
            chosen(Precision::Int4, int4),
        ),
        judged(
            "precision-other-form",
            "The verdict says bf16 and charges for it, and int4 left.",
            smaller(own).verdict(|verdict| weights(verdict).precision = Some(Precision::Bf16)),
        )
        .with_files(),
    ]
}

fn evaluated(request: &mut Request) {
    if let DeclaredOutput::Weights { evaluation, .. } = &mut request.outputs[0] {
        *evaluation = Some(Evaluation {
            command: vec!["python3".to_owned(), "evaluate.py".to_owned()],
            metric: name("accuracy"),
            better: Better::Higher,
        });
    }
}

fn weights(verdict: &mut Verdict) -> &mut release::statement::VerdictFile {
    let weights = verdict.files.iter_mut().find(|file| file.kind == OutputKind::Weights);
    weights.expect("weights")
}

/// A request with an evaluation, and a verdict that states this precision and charges the weights with so many bits.
fn chosen(precision: Precision, bits: u64) -> Story {
    story().request(evaluated).verdict(move |verdict| {
        let file = weights(verdict);
        file.precision = Some(precision);
        let before = std::mem::replace(&mut file.released_bits, Count(bits)).0;
        verdict.released_bits.0 = verdict.released_bits.0 + bits - before;
        verdict.charges[0].release_bits.0 = verdict.charges[0].release_bits.0 + bits - before;
    })
}

/// The same in int4, with the file.
fn smaller(bits: u64) -> Story {
    chosen(Precision::Int4, bits)
        .verdict(|verdict| {
            let (form, file) = (form(), weights(verdict));
            (file.bytes, file.sha256) = (Count(form.len() as u64), Digest::of(&form));
        })
        .files(|files| {
            files.insert(name("model.safetensors"), form());
        })
}

/// The weights of the story in int4.
fn form() -> Vec<u8> {
    let mut request = vec![outputs().remove(0)];
    if let DeclaredOutput::Weights { evaluation, .. } = &mut request[0] {
        *evaluation =
            Some(Evaluation { command: vec!["x".to_owned()], metric: name("x"), better: Better::Lower });
    }
    let task = Task {
        policy: POLICY_FILE.to_owned(),
        outputs: request,
        catalogue: Vec::new(),
        query: None,
        precisions: BTreeMap::from([(name("model.safetensors"), Precision::Int4)]),
        as_written: false,
    };
    let mut canonical = InMemory::default();
    egress::canonicalise(&task, &mut written(), &mut canonical).expect("a canonical file");
    canonical.0.remove(&name("model.safetensors")).expect("weights")
}
