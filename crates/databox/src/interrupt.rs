//! Ctrl-C while a command works on something that it must take away again.

use std::sync::OnceLock;

use crate::failure::{Failure, whole};

static STOP: OnceLock<daemon::StopFlag> = OnceLock::new();

/// From now on SIGINT and SIGTERM are noted, and [`check`] fails. A second one ends the process at once.
pub fn watch() -> Result<daemon::StopFlag, Failure> {
    let stop = daemon::stop_on_signals().map_err(|error| Failure::new("SIGNALS", whole(&error)))?;
    Ok(STOP.get_or_init(|| stop).clone())
}

/// Fails once a signal was noted. Called between steps, so that everything that was begun is dropped in order.
pub fn check() -> Result<(), Failure> {
    match STOP.get() {
        Some(stop) if stop.is_raised() => Err(interrupted()),
        _ => Ok(()),
    }
}

/// The failure of a command that was interrupted.
pub fn interrupted() -> Failure {
    Failure::new("INTERRUPTED", "ended before it was done; nothing was left behind").hint("run it again")
}
