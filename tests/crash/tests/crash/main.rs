//! Every room is killed at every durable call that it makes in a job's life, before and after, and the power is cut.

mod disk;
mod durable;
mod life;
mod plan;
mod planted;
mod power;
mod stage;
mod sweep;
mod tracer;

use std::future::Future;

/// Runs a person's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}
