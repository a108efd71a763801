//! Evaluations of weights at the desk, as the box runs them: on the job's weights in several precisions, behind the job's
//! wall, for the time that the job left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use egress::{EvaluationTask, Policy, Task, smallest_that_holds};
use release::report::EvaluationReport;
use release::statement::{DeclaredOutput, Evaluation, Precision};
use release::value::Name;
use sandbox::job::WEIGHTS_TARGET;
use sandbox::{Access, Cancel, Mount, Outcome, Stdin};

use super::{Desk, not_launched, outputs};
use crate::check::{self, stage};
use crate::failure::{Failure, whole};
use crate::wall::{self, Shown};

/// The precision of each output that ships an evaluation. `written` is what the job wrote.
pub(super) fn choose(
    desk: &Desk<'_>,
    declared: &[DeclaredOutput],
    (policy, limits): (&str, &Policy),
    written: &Path,
    left: Duration,
    told: &mut dyn FnMut(&[u8]),
) -> Result<BTreeMap<Name, Precision>, Failure> {
    let mut chosen = BTreeMap::new();
    let mut left = left;
    for output in declared {
        let Some(evaluation) = output.evaluation() else { continue };
        let staged = stage::outputs(written, limits.weights.max_file_bytes)?;
        let measure = |precision| {
            let task = Task {
                policy: policy.to_owned(),
                outputs: vec![output.clone()],
                catalogue: Vec::new(),
                query: None,
                precisions: BTreeMap::from([(output.path().clone(), precision)]),
                as_written: false,
            };
            let weights = check::formed(&task, staged.path())?;
            if !weights.path().join(output.path().as_str()).is_file() {
                return Ok(None);
            }
            evaluate(desk, evaluation, weights.path(), &mut left, &mut *told)
        };
        let task = EvaluationTask::new(evaluation, limits.weights.metric_drop_thousandths);
        let smallest = smallest_that_holds(&limits.precisions(output), measure, |one, other| {
            compare(&task, one, other)
        })?;
        chosen.extend(smallest.map(|precision| (output.path().clone(), precision)));
    }
    Ok(chosen)
}

/// What the evaluation wrote of these weights; None if it did not end well.
fn evaluate(
    desk: &Desk<'_>,
    evaluation: &Evaluation,
    weights: &Path,
    left: &mut Duration,
    told: &mut dyn FnMut(&[u8]),
) -> Result<Option<stage::Staged>, Failure> {
    if *left < Duration::from_secs(1) {
        return Ok(None);
    }
    let mut specification = desk.specification(&evaluation.command)?;
    let source = super::plain(weights)?;
    specification.mounts.push(Mount { source, target: WEIGHTS_TARGET.to_owned(), access: Access::ReadOnly });
    specification.limits.wall = specification.limits.wall.min(*left);
    let cancel = Cancel::new().map_err(|error| Failure::new("WALL", whole(&error)))?;
    let begun = Instant::now();
    let ended = desk.launcher.run_told(&specification, Stdin::Empty, &cancel, told).map_err(not_launched)?;
    *left = left.saturating_sub(begun.elapsed());
    let (Outcome::Succeeded, Some(space)) = (ended.outcome, &ended.output) else { return Ok(None) };
    let copy = stage::temporary()?;
    let there = outputs::copy(space, copy.path(), super::OUTPUT_BYTES)?;
    // Staged once more, so that the process that compares may read it.
    there.map(|_| stage::outputs(copy.path(), super::OUTPUT_BYTES)).transpose()
}

fn compare(
    task: &EvaluationTask,
    reference: &stage::Staged,
    smaller: &stage::Staged,
) -> Result<bool, Failure> {
    let shown = [(reference, "/reference"), (smaller, "/smaller")].map(|(staged, target)| Shown {
        source: staged.path().to_owned(),
        target: target.to_owned(),
        writable: false,
    });
    let message = wall::check("evaluation", task.to_json(), &shown, EvaluationReport::BYTES as u64)?;
    let report = EvaluationReport::from_bytes(&message).map_err(|_| {
        Failure::new("CHECKER_FAILED", "the answer about evaluations is not of the fixed form")
    })?;
    Ok(report.holds)
}
