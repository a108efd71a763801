//! What the service manager is told (sd_notify(3)). Nothing is said where none asked: `databox up` does not.

use sd_notify::NotifyState;

/// Where a room says that it is alive. Without such a place, as under `databox up`, it says nothing.
///
/// A room calls [`alive`](Self::alive) after each round of a loop that uses its store, or its log, whatever came of it: a
/// timer that uses nothing would go on while the store stands still. Work that waits for something else is not seen.
#[derive(Debug, Clone, Copy)]
pub struct ServiceManager {
    watches: bool,
}

impl ServiceManager {
    /// Tells that the room is ready.
    pub fn ready() -> Self {
        let told = sd_notify::notify(&[NotifyState::Ready]);
        Self { watches: told.is_ok() && sd_notify::watchdog_enabled().is_some() }
    }

    /// Tells that the room goes on. Who does not say so within the unit's `WatchdogSec` is killed and started anew.
    pub fn alive(self) {
        if self.watches {
            // A service manager that does not listen kills the room, which is what it is there for.
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}
