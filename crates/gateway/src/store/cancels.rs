//! Cancels that requesters signed, until the enclave needs them no more.

use blobs::Digest;
use lifecycle::State;
use release::value::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};
use server::Refused;

use super::events::{self, Said};
use super::{StoreError, columns, jobs};

/// A cancel to be sent to the enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Payload digest of the request that it calls off.
    pub request: Digest,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

/// Takes in a cancel whose signature was checked. A repeat does nothing.
///
/// What is decided here is decided by the state that may be *seen*: one that is not shown yet must not show in the
/// answer. A job that the enclave has not answered ends at once.
pub fn take_in(
    transaction: &Transaction<'_>,
    request: &Digest,
    envelope: &[u8],
    now: Timestamp,
) -> Result<(), Refused> {
    let job = jobs::find(transaction, request)?.ok_or(Refused::NotFound)?;
    if is_taken_in(transaction, request)? {
        return Ok(());
    }
    let seen = events::last_visible(transaction, request, now)?.ok_or(StoreError::Foreign("events"))?.state;
    match seen {
        State::Submitted | State::InCodeReview | State::Queued | State::Running | State::InReview => {}
        State::Cancelled => return Ok(()),
        State::Approved | State::Released | State::Refused | State::Failed | State::Blocked => {
            return Err(Refused::TooLate);
        }
        State::Rejected | State::Returned | State::Expired | State::Lost => return Err(Refused::TooLate),
    }
    transaction
        .execute(
            "INSERT INTO cancels (request, envelope, taken) VALUES (?1, ?2, 0)",
            (request.as_bytes(), envelope),
        )
        .map_err(StoreError::from)?;
    if job.state == State::Submitted {
        // The enclave may hold it already, its answer being on the way; so the cancel is sent as well.
        let said =
            Said { state: Some(State::Cancelled), reason: api::v1::Reason::Cancelled, ..Said::default() };
        events::append(transaction, &job, None, &said, now)?;
        jobs::set_ended_unheard(transaction, request)?;
    }
    Ok(())
}

/// True if this job was called off.
pub fn is_taken_in(connection: &Connection, request: &Digest) -> Result<bool, StoreError> {
    let found = connection
        .query_row("SELECT 1 FROM cancels WHERE request = ?1", [request.as_bytes()], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// The enclave needs this cancel no more.
pub fn taken(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    transaction.execute("UPDATE cancels SET taken = 1 WHERE request = ?1", [request.as_bytes()])?;
    Ok(())
}

/// What the enclave has not taken yet.
pub fn untaken(connection: &Connection) -> Result<Vec<Cancel>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT request, envelope FROM cancels WHERE taken = 0 ORDER BY request LIMIT 1000",
    )?;
    let mut rows = query.query([])?;
    let mut cancels = Vec::new();
    while let Some(row) = rows.next()? {
        cancels.push(Cancel { request: columns::digest(row, "request")?, envelope: row.get("envelope")? });
    }
    Ok(cancels)
}
