//! Orderly stop: SIGTERM and SIGINT raise a flag; the room finishes what it has begun and ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Raised once the room is asked to stop.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// True once the room is asked to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Raises it from within.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A flag that SIGTERM or SIGINT raises. A second signal ends the process at once. For rooms without an async
/// runtime; the others wait for signals in theirs.
pub fn stop_on_signals() -> io::Result<StopFlag> {
    let flag = StopFlag::default();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, flag.0.clone())?;
        signal_hook::flag::register(signal, flag.0.clone())?;
    }
    Ok(flag)
}

/// Asks the kernel for a SIGTERM to this process when its parent ends, however it ends. `databox up` starts rooms this
/// way, so that none outlives it; a service manager does not.
pub fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    leave_terminal()
}

/// Gives up the terminal of whoever started this program.
// On the terminal of root a room that was taken over could type commands, which root's shell would run (TIOCSTI).
fn leave_terminal() -> io::Result<()> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        // It leads a group or session already: systemd made it one, without a terminal; or it is the first program of a
        // shell's own line, which nobody starts a room as.
        Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
