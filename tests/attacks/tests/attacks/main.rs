//! Attacks run as jobs, each with an innocent twin: refusing everything fails too. `matrix` and `layers` run them behind
//! the wall itself; the others through the real path.
//!
//! There a job tells what it observed in the one metric that it declares; a steward opens the packet and reads it. Nothing
//! else would get out.

mod layers;
mod machine;
mod matrix;
mod outputs;
mod stress;
mod walls;
mod weights;

use std::future::Future;

/// Runs a test's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}
