//! Values of the path in columns of the database, and back.

use api::v1::Reason;
use blobs::Digest;
use lifecycle::State;
use release::value::Timestamp;
use rusqlite::Row;

use super::StoreError;

pub fn digest(row: &Row<'_>, column: &'static str) -> Result<Digest, StoreError> {
    Ok(Digest::from_bytes(row.get(column)?))
}

pub fn state(row: &Row<'_>, column: &'static str) -> Result<State, StoreError> {
    State::from_word(&row.get::<_, String>(column)?).ok_or(StoreError::Foreign(column))
}

pub fn reason(row: &Row<'_>, column: &'static str) -> Result<Reason, StoreError> {
    Reason::try_from(row.get::<_, i32>(column)?).map_err(|_| StoreError::Foreign(column))
}

pub fn count(row: &Row<'_>, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Foreign(column))
}

pub fn small(row: &Row<'_>, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Foreign(column))
}

pub fn moment(row: &Row<'_>, column: &'static str) -> Result<Timestamp, StoreError> {
    Timestamp::from_seconds(row.get(column)?).map_err(|_| StoreError::Foreign(column))
}

/// A count as SQLite holds it.
pub fn stored(count: u64, column: &'static str) -> Result<i64, StoreError> {
    i64::try_from(count).map_err(|_| StoreError::Foreign(column))
}
