//! The smallest precision in which weights measure nearly as well as in the policy's, by the evaluation that their request
//! ships.
//!
//! The evaluation is the researcher's code and runs where the job ran, with the data. What it writes is copied unread and
//! compared by a child that has no data; one bit comes back. So an evaluation chooses among the policy's precisions, and
//! that choice is charged. Whatever goes wrong leaves the policy's own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egress::{EvaluationTask, Policy, Task, smallest_that_holds};
use release::report::EvaluationReport;
use release::statement::{DeclaredOutput, EVALUATION_FILE, Evaluation, Precision, Request};
use release::value::Name;
use sandbox::job::WEIGHTS_TARGET;
use sandbox::{Access, Mount, Outcome, Specification};

use crate::collect::{CollectError, collect};
use crate::files;
use crate::outputs::{Outputs, OutputsError};
use crate::wall::{self, Child, ChildError, JobView, Program, freeze, make_readable};

/// Most bytes that are copied of what an evaluation wrote. The file that counts is far smaller.
const MEASURED_BYTES: u64 = 1 << 20;

/// The precision of each output whose request ships an evaluation. `out` is what the job wrote, `left` the time that it
/// did not use.
pub(super) fn choose(
    outputs: &Outputs<'_>,
    asked: &Request,
    policy: &Policy,
    view: &JobView<'_>,
    out: &Path,
    left: Duration,
) -> Result<BTreeMap<Name, Precision>, OutputsError> {
    let mut chosen = BTreeMap::new();
    let mut left = left;
    for output in outputs.declared {
        let Some(evaluation) = output.evaluation() else { continue };
        let mut trial = Trial { outputs, asked, policy, view, out, output, evaluation, tried: 0, left };
        let precisions = policy.precisions(output);
        let task = EvaluationTask::new(evaluation, policy.weights.metric_drop_thousandths);
        let smallest = smallest_that_holds(
            &precisions,
            |precision| trial.measure(precision),
            |reference, smaller| compare(outputs, &task, reference, smaller),
        )?;
        left = trial.left;
        chosen.extend(smallest.map(|precision| (output.path().clone(), precision)));
    }
    Ok(chosen)
}

/// Trying the weights of one output.
struct Trial<'a> {
    outputs: &'a Outputs<'a>,
    asked: &'a Request,
    policy: &'a Policy,
    view: &'a JobView<'a>,
    out: &'a Path,
    output: &'a DeclaredOutput,
    evaluation: &'a Evaluation,
    tried: u32,
    left: Duration,
}

impl Trial<'_> {
    /// The directory with what the evaluation wrote of the weights in this precision; None if they have no form in it, or
    /// the evaluation did not end well.
    fn measure(&mut self, precision: Precision) -> Result<Option<PathBuf>, OutputsError> {
        self.tried += 1;
        let Some(weights) = self.weights_in(precision)? else { return Ok(None) };
        let measured = self.evaluate(&weights);
        files::remove_tree(&weights)?;
        measured
    }

    /// The output's form in a precision, alone in a directory that nobody writes to.
    fn weights_in(&self, precision: Precision) -> Result<Option<PathBuf>, OutputsError> {
        use std::os::unix::fs::PermissionsExt;
        let Outputs { room, slot, work, .. } = self.outputs;
        let name = self.output.path();
        let task = Task {
            policy: self.outputs.policy.clone(),
            outputs: vec![self.output.clone()],
            catalogue: Vec::new(),
            query: None,
            precisions: BTreeMap::from([(name.clone(), precision)]),
            as_written: false,
        };
        let tried = work.join("tried");
        slot.writable_directory(room, Program::Canonicaliser, &tried)?;
        let child = Child {
            program: Program::Canonicaliser,
            binary: None,
            reads: vec![(self.out, "/out")],
            writes: Some((&tried, "/canonical")),
            data: &[],
            public: &[],
        };
        let ended = self.outputs.run(&child, task.to_json());
        let tried = freeze(&tried, &work.join("tried-frozen"))?;
        // A child that gave no answer was taken over, or took too long: there is nothing to try.
        let mut found = match ended {
            Ok(_) => {
                make_readable(&tried, name.as_str())?;
                files::open_plain(&tried, name.as_str()).unwrap_or(None)
            }
            Err(ChildError::Ended(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let most = room.configuration.limits.canonical_bytes;
        found = match found {
            Some(file) if file.metadata()?.len() <= most => Some(file),
            _ => None,
        };
        let weights = work.join("weights");
        if let Some(file) = &found {
            files::new_directory(&weights, 0o700)?;
            files::write_readable(&weights.join(name.as_str()), file)?;
            fs::set_permissions(&weights, fs::Permissions::from_mode(0o555))?;
        }
        files::remove_tree(&tried)?;
        Ok(found.map(|_| weights))
    }

    /// Runs the evaluation in the job's wall, for the time that is left. Its words and its exit code go nowhere.
    fn evaluate(&mut self, weights: &Path) -> Result<Option<PathBuf>, OutputsError> {
        let Outputs { room, work, cancel, .. } = self.outputs;
        if self.left < Duration::from_secs(1) {
            return Ok(None);
        }
        let specification = self.specification(weights)?;
        let begun = Instant::now();
        let ended = wall::run_job(room, work, &specification, cancel);
        self.left = self.left.saturating_sub(begun.elapsed());
        // Without a wall nothing was measured. If the wall is what fails, the next child says so.
        let Ok(ended) = ended else { return Ok(None) };
        let (Outcome::Succeeded, Some(space)) = (ended.outcome, ended.output) else { return Ok(None) };
        let measured = work.join(format!("measured-{}-{}", self.output.path(), self.tried));
        match collect(&space, &measured, &[self.measured_file()], MEASURED_BYTES) {
            Ok(()) => Ok(Some(measured)),
            Err(CollectError::TooLarge) => Ok(None),
            Err(CollectError::Io(error)) => Err(error.into()),
        }
    }

    /// The wall around an evaluation: that of the job itself, with the weights beside the data, for the time that is left.
    fn specification(&self, weights: &Path) -> io::Result<Specification> {
        let Outputs { room, slot, .. } = self.outputs;
        let request = Request { command: self.evaluation.command.clone(), ..self.asked.clone() };
        let mut specification = wall::job(room, *slot, &request, self.policy, self.view)?;
        // Read-only, as the data: what it writes goes to its own output space, and all but one number is dropped with it.
        let (source, target) = (weights.to_owned(), WEIGHTS_TARGET.to_owned());
        specification.mounts.push(Mount { source, target, access: Access::ReadOnly });
        specification.limits.wall = specification.limits.wall.min(self.left);
        Ok(specification)
    }

    /// What an evaluation writes, of which alone bytes are copied.
    fn measured_file(&self) -> DeclaredOutput {
        DeclaredOutput::Metrics {
            path: EVALUATION_FILE.parse().expect("it is a name"),
            names: vec![self.evaluation.metric.clone()],
            degrees_of_freedom: None,
        }
    }
}

/// Whether the metric of the smaller precision holds beside the other, as a child without data says. One that gives no
/// answer says no.
fn compare(
    outputs: &Outputs<'_>,
    task: &EvaluationTask,
    reference: &Path,
    smaller: &Path,
) -> Result<bool, OutputsError> {
    let child = Child {
        program: Program::EvaluationComparer,
        binary: None,
        reads: vec![(reference, "/reference"), (smaller, "/smaller")],
        writes: None,
        data: &[],
        public: &[],
    };
    match outputs.run(&child, task.to_json()) {
        Ok(message) => Ok(EvaluationReport::from_bytes(&message).is_ok_and(|report| report.holds)),
        Err(ChildError::Ended(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
