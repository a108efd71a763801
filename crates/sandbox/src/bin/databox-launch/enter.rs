//! The launcher in a container: the first program that an OCI runtime starts there. It looks at the wall from inside, so
//! that the evidence rests on what stands and not on what a runtime was asked for; then it takes the steps that no
//! runtime takes, starts the program, and buries what dies, as behind the native wall.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io;

use rustix::fs::Mode;
use rustix::io::dup;
use rustix::process::{DumpableBehavior, getgroups, set_dumpable_behavior, umask};
use rustix::stdio::{stderr, stdin, stdout};
use sandbox::oci::bundle::{ORDER, OWN, Order};
use sandbox::{Calls, Refusal, Specification, Step, wire};

use crate::container::kernel;
use crate::first::look_again;
use crate::landlock::Rules;
use crate::program::{Observed, Report, Start};
use crate::supervisor::{at, let_go_of_streams};
use crate::{calls, system, tree};

/// Does it all. It was given the program's input and output, and at 2 the pipe by which it reports.
pub fn run() {
    if system::close_from(3).is_err() {
        return;
    }
    let Ok(report) = dup(stderr()) else { return };
    let mut report = File::from(report);
    let Err(refusal) = report.try_clone().map_err(refused).and_then(build);
    let _ = wire::send(&mut report, &Report::Refused(refusal));
}

fn refused(error: io::Error) -> Refusal {
    Refusal::Step { step: Step::Descriptors, errno: error.raw_os_error().unwrap_or_default() }
}

fn build(mut report: File) -> Result<Infallible, Refusal> {
    let order = at(Step::Bundle, fs::read(ORDER))?;
    let Order { specification, counted, unasked } =
        serde_json::from_slice(&order).map_err(|_| Refusal::SpecificationUnreadable)?;
    let (input, output) = (at(Step::Descriptors, dup(stdin()))?, at(Step::Descriptors, dup(stdout()))?);
    at(Step::Descriptors, let_go_of_streams())?;
    at(Step::User, set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    umask(Mode::from_raw_mode(0o022));
    at(Step::Pivot, tree::holds_only(&expected(&specification), &unasked))?;
    let rules = Rules::new(&specification)?;
    look_again()?;
    let groups_dropped = at(Step::User, getgroups())?.is_empty();
    let observed =
        Observed { groups_dropped, landlock: rules.whole, kernel: kernel(), ..Observed::default() };
    at(Step::ParentLost, wire::send(&mut report, &Report::Observed(observed)))?;
    let filter = calls::filter(&specification);
    Start { specification, filter, counted, input, output, report }.run(rules)
}

/// The names at the top, of which there must be no other.
fn expected(specification: &Specification) -> BTreeSet<String> {
    let output = specification.output.iter().map(|output| output.target.as_str());
    let mounts = specification.mounts.iter().map(|mount| mount.target.as_str());
    let job = (specification.calls == Calls::Job).then_some("proc");
    let memory = (specification.limits.tmp_bytes > 0).then_some("tmp");
    let targets = mounts.chain(output).chain(["dev", OWN]).chain(job).chain(memory);
    targets.filter_map(|target| target.trim_start_matches('/').split('/').next()).map(str::to_owned).collect()
}
