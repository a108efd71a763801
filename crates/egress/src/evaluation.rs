//! Whether weights in a smaller precision measure nearly as well as in the policy's, by the word of the job's own program.
//!
//! What is read here a job wrote in the sight of data. So this runs behind a wall, and one bit of it goes on.

use std::io::{self, Read};

use release::statement::{Better, EVALUATION_FILE, Evaluation, Precision};
use release::value::Name;
use serde::{Deserialize, Serialize};

use crate::files::{EntryKind, Source};
use crate::json::Json;
use crate::task::EgressError;

/// Largest file that an evaluation may write, in bytes.
const FILE_BYTES: u64 = 64 << 10;

/// What the process is told that compares two evaluations. All of it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvaluationTask {
    /// The number that counts.
    pub metric: Name,
    /// Which numbers are better.
    pub better: Better,
    /// How much worse it may be, in thousandths of its value at the policy's precision.
    pub drop_thousandths: u64,
}

impl EvaluationTask {
    /// The comparison of these evaluations.
    pub fn new(evaluation: &Evaluation, drop_thousandths: u64) -> Self {
        Self { metric: evaluation.metric.clone(), better: evaluation.better, drop_thousandths }
    }

    /// Reads a task.
    ///
    /// # Errors
    /// If it is not JSON of the expected form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EgressError> {
        serde_json::from_slice(bytes).map_err(EgressError::Task)
    }

    /// The text of a task.
    ///
    /// Panics never: each part has a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a task has a JSON form")
    }
}

/// Whether the metric of the smaller precision is there and is worse than that of the policy's precision by no more than
/// the policy allows. False if either wrote no such number: what cannot be compared does not hold.
///
/// # Errors
/// Only if a directory or file cannot be read.
pub fn holds(
    task: &EvaluationTask,
    reference: &mut dyn Source,
    smaller: &mut dyn Source,
) -> io::Result<bool> {
    let (Some(reference), Some(smaller)) = (metric(&task.metric, reference)?, metric(&task.metric, smaller)?)
    else {
        return Ok(false);
    };
    let drop = match task.better {
        Better::Higher => reference - smaller,
        Better::Lower => smaller - reference,
    };
    // Two finite numbers can be further apart than the largest one; infinity holds for nothing.
    Ok(drop <= reference.abs() * (task.drop_thousandths as f64 / 1000.0))
}

/// The smallest of these precisions, of which the first is the policy's and each has fewer bits than the one before, that
/// `holds` beside the first. `measure` says what was measured in a precision; none if nothing was.
///
/// The policy's own is what remains if nothing can be measured. No answer leads to another than one of these.
///
/// # Errors
/// If measuring or comparing fails by the fault of whoever does it.
pub fn smallest_that_holds<M, E>(
    precisions: &[Precision],
    mut measure: impl FnMut(Precision) -> Result<Option<M>, E>,
    mut holds: impl FnMut(&M, &M) -> Result<bool, E>,
) -> Result<Option<Precision>, E> {
    let Some((own, smaller)) = precisions.split_first() else { return Ok(None) };
    if smaller.is_empty() {
        return Ok(Some(*own));
    }
    let Some(reference) = measure(*own)? else { return Ok(Some(*own)) };
    for precision in smaller.iter().rev() {
        if let Some(measured) = measure(*precision)?
            && holds(&reference, &measured)?
        {
            return Ok(Some(*precision));
        }
    }
    Ok(Some(*own))
}

/// The number of this name; None if there is no such file, or no such number in it exactly once.
fn metric(name: &Name, source: &mut dyn Source) -> io::Result<Option<f64>> {
    let wanted = |entry: &crate::files::Entry| entry.name == EVALUATION_FILE.as_bytes();
    let there = source.entries()?.into_iter().find(wanted);
    if !there.is_some_and(|entry| entry.kind == EntryKind::File && entry.bytes <= FILE_BYTES) {
        return Ok(None);
    }
    let (reader, size) = source.open(&EVALUATION_FILE.parse().expect("it is a name"))?;
    let mut written = Vec::new();
    reader.take(size.min(FILE_BYTES)).read_to_end(&mut written)?;
    let Ok(Json::Object(pairs)) = Json::parse(&written) else { return Ok(None) };
    let mut values = pairs.iter().filter(|(key, _)| key == name.as_str());
    Ok(match (values.next(), values.next()) {
        (Some((_, Json::Whole(value))), None) => Some(*value as f64),
        (Some((_, Json::Number(value))), None) if value.is_finite() => Some(*value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::InMemory;

    fn written(text: &str) -> InMemory {
        InMemory::new([(EVALUATION_FILE.parse().unwrap(), text.as_bytes().to_vec())])
    }

    fn told(better: Better, reference: &str, smaller: &str) -> bool {
        let task = EvaluationTask { metric: "accuracy".parse().unwrap(), better, drop_thousandths: 5 };
        assert_eq!(EvaluationTask::from_json(&task.to_json()).unwrap(), task);
        holds(&task, &mut written(reference), &mut written(smaller)).unwrap()
    }

    fn of(better: Better, reference: f64, smaller: f64) -> bool {
        let text = |value: f64| format!("{{\"accuracy\": {value}, \"more\": [1]}}");
        told(better, &text(reference), &text(smaller))
    }

    #[test]
    fn a_metric_holds_if_it_is_worse_by_no_more_than_the_share_that_the_policy_allows() {
        use Better::{Higher, Lower};
        let cases = [
            (Higher, 200.0, 199.0, true),
            (Higher, 200.0, 198.9, false),
            (Higher, 200.0, 1e9, true),
            (Lower, 200.0, 201.0, true),
            (Lower, 200.0, 201.1, false),
            (Lower, 200.0, -1e9, true),
            (Higher, -200.0, -201.0, true),
            (Higher, -200.0, -201.1, false),
            (Higher, 0.0, 0.0, true),
            (Higher, 0.0, -1e-300, false),
            (Lower, 0.0, 1e-300, false),
            (Higher, f64::MAX, -f64::MAX, false),
        ];
        for (better, reference, smaller, expected) in cases {
            assert_eq!(of(better, reference, smaller), expected, "{better:?} {reference} {smaller}");
        }
    }

    #[test]
    fn the_smallest_that_holds_is_taken_and_else_the_policys_own() {
        use Precision::{Bf16, Int4, Int8};
        let chosen = |of: &[Precision], there: &[Precision], held: &[Precision]| {
            let mut tried = Vec::new();
            let measure = |precision| {
                tried.push(precision);
                Ok::<_, ()>(there.contains(&precision).then_some(precision))
            };
            let chosen = smallest_that_holds(of, measure, |_, one| Ok(held.contains(one))).unwrap();
            (chosen, tried)
        };
        let all = [Bf16, Int8, Int4];
        assert_eq!(chosen(&all, &all, &all), (Some(Int4), vec![Bf16, Int4]));
        assert_eq!(chosen(&all, &all, &[Int8]), (Some(Int8), vec![Bf16, Int4, Int8]));
        assert_eq!(chosen(&all, &all, &[]), (Some(Bf16), vec![Bf16, Int4, Int8]));
        assert_eq!(chosen(&all, &[Bf16, Int8], &all), (Some(Int8), vec![Bf16, Int4, Int8]));
        assert_eq!(chosen(&all, &[Int8, Int4], &all), (Some(Bf16), vec![Bf16]));
        assert_eq!(chosen(&[Bf16], &all, &all), (Some(Bf16), vec![]));
        assert_eq!(chosen(&[], &all, &all), (None, vec![]));
    }

    #[test]
    fn what_is_no_number_once_does_not_hold_on_either_side() {
        let good = r#"{"accuracy": 1}"#;
        assert!(told(Better::Higher, good, good));
        let none = [
            "",
            "1",
            "[1]",
            "NaN",
            r#"{"accuracy": NaN}"#,
            r#"{"accuracy": Infinity}"#,
            r#"{"accuracy": 1e999}"#,
            r#"{"accuracy": "1"}"#,
            r#"{"accuracy": null}"#,
            r#"{"accuracy": [1]}"#,
            r#"{"loss": 1}"#,
            r#"{"accuracy": 1, "accuracy": 1}"#,
            r#"{"accuracy": 1} {"accuracy": 1}"#,
        ];
        for text in none {
            assert!(!told(Better::Higher, good, text), "{text}");
            assert!(!told(Better::Lower, text, good), "{text}");
        }
        let large = format!("{{\"accuracy\": 1, \"more\": \"{}\"}}", "x".repeat(FILE_BYTES as usize));
        assert!(!told(Better::Higher, good, &large));
        let task = EvaluationTask {
            metric: "accuracy".parse().unwrap(),
            better: Better::Lower,
            drop_thousandths: 5,
        };
        assert!(!holds(&task, &mut written(good), &mut InMemory::default()).unwrap());
    }
}
