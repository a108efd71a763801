//! Attacks run as jobs through the real path, each with an innocent twin: refusing everything fails too.
//!
//! A job tells what it observed in the one metric that it declares; a steward opens the packet and reads it. Nothing
//! else would get out.

mod outputs;
mod walls;
mod weights;

use std::future::Future;

/// Runs a test's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}
