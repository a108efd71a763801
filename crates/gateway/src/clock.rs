//! How far the machine's clock is believed. Whoever sets it forward must not end jobs with it, and whoever sets it
//! back must not keep the state of a job hidden; so waiting is counted by a clock that nobody can set.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use release::value::Timestamp;

use crate::room::now;
use crate::store::{Store, StoreError, elapsed};

/// A clock that is behind by more than this was set back, in seconds; less is what the time service corrects.
const SET_BACK: i64 = 5;

/// What was last seen of both clocks.
pub struct Clock(Mutex<Seen>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    counted: Instant,
    looked: Instant,
    clock: Timestamp,
}

impl Clock {
    /// Begins to count. A clock that stands before what it said when the gateway last ran was set back meanwhile.
    pub async fn start(store: &Store) -> Result<Self, StoreError> {
        let clock = now();
        let last = store.read(elapsed::clock).await?;
        set_back_if(store, last.seconds() - clock.seconds(), clock).await?;
        let moment = Instant::now();
        Ok(Self(Mutex::new(Seen { counted: moment, looked: moment, clock })))
    }

    /// Compares the clocks, and undoes what a clock that was set back would hide.
    pub async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let (moment, clock) = (Instant::now(), now());
        let behind = {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let expected = seen.clock.seconds() + moment.duration_since(seen.looked).as_secs() as i64;
            (seen.looked, seen.clock) = (moment, clock);
            expected - clock.seconds()
        };
        set_back_if(store, behind, clock).await
    }

    /// Adds what has passed to what is waited for.
    pub async fn count(&self, store: &Store) -> Result<(), StoreError> {
        let passed = {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = seen.counted.elapsed().as_secs();
            seen.counted += std::time::Duration::from_secs(passed);
            passed
        };
        store.change(move |transaction| elapsed::count(transaction, passed, now())).await
    }
}

async fn set_back_if(store: &Store, behind: i64, clock: Timestamp) -> Result<(), StoreError> {
    if behind <= SET_BACK {
        return Ok(());
    }
    store.change(move |transaction| elapsed::set_back(transaction, behind.unsigned_abs(), clock)).await
}
