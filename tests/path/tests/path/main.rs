//! The whole path over real processes and sockets: what a researcher, two stewards and an auditor do, and what the box
//! answers.

mod answers;
mod box_on_disk;
mod check;
mod clocks;
mod code_review;
mod devices;
mod doctor;
mod examples;
mod foreign;
mod full_disk;
mod json;
mod late_clocks;
mod limits;
mod listings;
mod local;
mod noise;
mod operator;
mod outages;
mod packages;
mod precision;
mod public;
mod python_client;
mod questions;
mod refusals;
mod release;
mod restart;
mod roles;
mod rotation;
mod service_manager;
mod site_changes;
mod speed;
mod ssh_agent;
mod tables;
mod time_grid;
mod together;
mod token;
mod transcript;
mod users_of_rooms;
mod waits;
mod walls;
mod weights;

use std::future::Future;

/// Runs a test's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}
