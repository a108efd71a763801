//! How far the machine's clock is believed. Whoever sets it forward must not end jobs with it, and whoever sets it
//! back must not keep jobs waiting; so waiting is counted by a clock that nobody can set.

use daemon::Clocks;
use release::value::Timestamp;

use crate::room::now;
use crate::store::{Store, StoreError, elapsed};

/// How much time is counted at once, in seconds. A crash forgets at most so much.
const COUNTED: u64 = 30;

/// What was last seen of both clocks.
#[derive(Debug)]
pub struct Clock(Clocks);

impl Clock {
    /// Begins to count. A clock that stands before what it said when the enclave last ran was set back meanwhile.
    pub fn start(store: &Store) -> Result<Self, StoreError> {
        let clock = now();
        let last = store.read(|connection| Ok(elapsed::clock(connection)?))?;
        set_back_if(store, daemon::set_back_by(last, clock.seconds()), clock)?;
        Ok(Self(Clocks::start(clock.seconds())))
    }

    /// Compares the clocks, undoes what a clock that was set back would hold up, and counts what has passed.
    pub fn look(&self, store: &Store) -> Result<(), StoreError> {
        let clock = now();
        set_back_if(store, self.0.set_back(clock.seconds()), clock)?;
        match self.0.passed(COUNTED) {
            Some(passed) => {
                store.change(move |transaction| Ok(elapsed::count(transaction, passed, clock.seconds())?))
            }
            None => Ok(()),
        }
    }
}

fn set_back_if(store: &Store, behind: Option<u64>, clock: Timestamp) -> Result<(), StoreError> {
    let Some(behind) = behind else { return Ok(()) };
    store.change(move |transaction| elapsed::set_back(transaction, behind, clock))
}
