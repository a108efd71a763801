//! How far the machine's clock is believed. Whoever sets it forward must not end jobs with it, and whoever sets it
//! back must not keep the state of a job hidden; so waiting is counted by a clock that nobody can set.

use daemon::Clocks;
use release::value::Timestamp;

use crate::room::now;
use crate::store::{Store, StoreError, elapsed};

/// What was last seen of both clocks.
pub struct Clock(Clocks);

impl Clock {
    /// Begins to count. A clock that stands before what it said when the gateway last ran was set back meanwhile.
    pub async fn start(store: &Store) -> Result<Self, StoreError> {
        let clock = now();
        let last = store.read(|connection| Ok(elapsed::clock(connection)?)).await?;
        set_back_if(store, daemon::set_back_by(last, clock.seconds()), clock).await?;
        Ok(Self(Clocks::start(clock.seconds())))
    }

    /// Compares the clocks, and undoes what a clock that was set back would hide.
    pub async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let clock = now();
        set_back_if(store, self.0.set_back(clock.seconds()), clock).await
    }

    /// Adds what has passed to what is waited for.
    pub async fn count(&self, store: &Store) -> Result<(), StoreError> {
        let passed = self.0.passed(0).unwrap_or_default();
        store.change(move |transaction| Ok(elapsed::count(transaction, passed, now().seconds())?)).await
    }
}

async fn set_back_if(store: &Store, behind: Option<u64>, clock: Timestamp) -> Result<(), StoreError> {
    let Some(behind) = behind else { return Ok(()) };
    store.change(move |transaction| elapsed::set_back(transaction, behind, clock)).await
}
