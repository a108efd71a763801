//! Every room is killed at every durable call that it makes in a job's life, before and after, and the power is cut.

mod disk;
mod durable;
mod fault;
mod first_start;
mod intake;
mod life;
mod plan;
mod planted;
mod points;
mod power;
mod site;
mod stage;
mod sweep;
mod tracer;

use std::future::Future;

/// Runs a person's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    // One for all: a connection lives no longer than the runtime that it was made in.
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> =
        std::sync::LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime"));
    RUNTIME.block_on(work)
}
