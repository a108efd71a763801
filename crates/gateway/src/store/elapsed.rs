//! How long the gateway has run. What is waited for is counted in it, so that a clock that jumps forward ends no job,
//! and one that jumps back keeps none for ever. Time in which the gateway did not run does not count: it could not
//! have heard anything.

use release::value::Timestamp;
use rusqlite::Transaction;

use super::{StoreError, columns};

pub use database::elapsed::{clock, count, seconds};

/// The machine's clock was set back by so many seconds. What may be seen from a moment on moves with it; otherwise
/// it would be hidden for as long as the clock jumped, and the state shown would stand still.
pub fn set_back(transaction: &Transaction<'_>, seconds: u64, now: Timestamp) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE events SET visible_at = max(0, visible_at - ?1) WHERE visible_at > ?2",
        (columns::stored(seconds, "clock")?, now.seconds()),
    )?;
    // Else no upload could make room for another one for as long as the clock jumped.
    transaction.execute(
        "UPDATE uploads SET touched_at = max(0, touched_at - ?1) WHERE touched_at > ?2",
        (columns::stored(seconds, "clock")?, now.seconds()),
    )?;
    Ok(())
}
