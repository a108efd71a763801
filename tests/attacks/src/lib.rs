//! Attacks run as jobs, each with an innocent twin: refusing everything fails too.
//!
//! The matrix is a list of programs in `programs`, which try one thing after the other in one launch each, and of
//! attempts from outside (`outside`), where the launch itself is the attempt. The program `hostile-suite` runs it behind
//! a wall as whoever starts it and tells each attempt as one JSON object a line.

pub mod differences;
pub mod held;
pub mod outside;
pub mod seen;
pub mod stage;

use std::path::Path;

use sandbox::{Ended, LaunchError, Outcome};
use seen::{Seen, Twin};
use stage::Stage;

/// The hostile programs: name and text.
pub const PROGRAMS: [(&str, &str); 4] = [
    ("network.py", include_str!("../programs/network.py")),
    ("calls.py", include_str!("../programs/calls.py")),
    ("files.py", include_str!("../programs/files.py")),
    ("processes.py", include_str!("../programs/processes.py")),
];

/// What stands before each of them.
pub const PRELUDE: (&str, &str) = ("prelude.py", include_str!("../programs/prelude.py"));

/// Runs the whole matrix behind one wall. What cannot be told from within is an error.
pub fn matrix(stage: &Stage, wall: &str) -> Result<Vec<Seen>, String> {
    let mut seen = Vec::new();
    for (name, _) in PROGRAMS {
        seen.extend(program(stage, wall, name)?);
    }
    seen.extend(outside::attempts(stage, wall));
    Ok(seen)
}

/// Runs one hostile program.
pub fn program(stage: &Stage, wall: &str, name: &str) -> Result<Vec<Seen>, String> {
    let ended = launch(stage, name).map_err(|error| told(&error))?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.outcome != Outcome::Succeeded {
        return Err(format!("{name} ended {:?}: {said}", ended.outcome));
    }
    let mut twins: Vec<Twin> = Vec::new();
    let mut seen = Vec::new();
    for line in said.lines() {
        if let Ok(twin) = serde_json::from_str::<Twin>(line) {
            twins.push(twin);
            continue;
        }
        let attempt = serde_json::from_str(line).map_err(|error| format!("{name}: {error}: {said}"))?;
        seen.push(Seen::of(attempt, &twins, wall, differences::of(stage.wall())));
    }
    if seen.is_empty() { Err(format!("{name} tried nothing: {said}")) } else { Ok(seen) }
}

/// One launch of a hostile program.
pub fn launch(stage: &Stage, name: &str) -> Result<Ended, LaunchError> {
    stage.launch(&stage.python(Path::new("/job").join(name)))
}

/// An error with its causes.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
