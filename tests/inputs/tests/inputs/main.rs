//! Whatever arrives may be bad: over gRPC, at the command line, in files. Each bad input has an error with a name of its
//! own, and beside each group stands an innocent twin that is taken.

mod bundles;
mod certificates;
mod command;
mod decisions;
mod desk;
mod manifests;
mod operator;
mod outputs;
mod requests;
mod site_statements;
mod table;
mod uploads;
mod wire;

use std::future::Future;

use harness::TestBox;
use table::Table;

/// Runs a test's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

/// Fewest cases that the table must hold, and fewest different names among their errors.
const LEAST: (usize, usize) = (60, 60);

#[test]
fn every_bad_input_has_its_own_named_error_and_its_innocent_twin_is_taken() {
    let mut tested = TestBox::start();
    let mut table = Table::new();
    wait(async {
        certificates::cases(&tested, &mut table).await;
        uploads::cases(&tested, &mut table).await;
        table.time("certificates and uploads");
        bundles::cases(&tested, &mut table).await;
        table.time("bundles");
        manifests::cases(&tested, &mut table).await;
        table.time("manifests");
        requests::cases(&tested, &mut table).await;
        table.time("requests");
        outputs::cases(&tested, &mut table).await;
        table.time("outputs");
    });
    site_statements::cases(&tested, &mut table);
    table.time("site");
    decisions::cases(&mut tested, &mut table);
    table.time("decisions");
    table.finish(LEAST);
}
