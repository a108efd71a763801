//! Jobs that their requesters called off: kept from the moment that the enclave has the signed statement, until what
//! it is about has ended or can come no more.
//!
//! A cancel may come before its job does. Then nobody can tell yet whether its signer asked for the job, so it is kept
//! by request *and* person, and counts once the request turns out to be that person's. Without a bound anyone who is
//! enrolled could fill the room's database with cancels of jobs that do not exist.

use blobs::Digest;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::StoreError;

/// A request expires at most a day after it was made, with a few minutes of clock skew; a cancel of a request that did
/// not come in so many seconds is about nothing.
pub const KEPT_AHEAD_SECONDS: i64 = 25 * 3600;

/// Cancels of one person that wait for their job.
pub const AHEAD_OF_ONE_PERSON: u32 = 256;

/// Cancels that wait for their job.
pub const AHEAD: u32 = 8192;

/// Keeps a cancel, the first only. False if there is no room for another one that waits for its job.
pub fn keep(
    transaction: &Transaction<'_>,
    request: &Digest,
    requester: &Name,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let known = transaction
        .query_row("SELECT 1 FROM jobs WHERE request = ?1", [request.as_bytes()], |_| Ok(()))
        .optional()?
        .is_some();
    if !known && !has_room(transaction, requester, at)? {
        return Ok(false);
    }
    transaction.execute(
        "INSERT OR IGNORE INTO cancels (request, requester, at) VALUES (?1, ?2, ?3)",
        (request.as_bytes(), requester.as_str(), at.seconds()),
    )?;
    Ok(true)
}

fn has_room(transaction: &Transaction<'_>, requester: &Name, at: Timestamp) -> Result<bool, StoreError> {
    const AHEAD_ONLY: &str = "NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.request = cancels.request)";
    transaction.execute(
        &format!("DELETE FROM cancels WHERE at < ?1 AND {AHEAD_ONLY}"),
        [at.plus(-KEPT_AHEAD_SECONDS).seconds()],
    )?;
    let count = |of: &str| -> Result<u32, StoreError> {
        let query = format!("SELECT count(*) FROM cancels WHERE ({of} OR requester = ?1) AND {AHEAD_ONLY}");
        Ok(transaction.query_row(&query, [requester.as_str()], |row| row.get(0))?)
    };
    Ok(count("FALSE")? < AHEAD_OF_ONE_PERSON && count("TRUE")? < AHEAD)
}

/// True if this person called this request off, before or since it came.
pub fn is_called_off(
    connection: &Connection,
    request: &Digest,
    requester: &Name,
) -> Result<bool, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT 1 FROM cancels WHERE request = ?1 AND requester = ?2")?;
    Ok(query.query_row((request.as_bytes(), requester.as_str()), |_| Ok(())).optional()?.is_some())
}

/// Forgets what others called off ahead of a request that turned out not to be theirs.
pub fn forget(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM cancels WHERE request = ?1", [request.as_bytes()])?;
    Ok(())
}

/// True if this job, which is admitted, was called off: what came since was verified against its own requester.
pub fn job_is_called_off(connection: &Connection, request: &Digest) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM cancels WHERE request = ?1")?;
    Ok(query.query_row([request.as_bytes()], |_| Ok(())).optional()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::jobs::testing::{at, insert};
    use crate::store::testing::store;

    fn of(person: u32) -> Name {
        format!("person-{person}").parse().unwrap()
    }

    fn request(number: u32) -> Digest {
        Digest::of(format!("request {number}").as_bytes())
    }

    #[test]
    fn cancels_that_wait_for_their_job_are_bounded_for_each_person_and_in_time() {
        let (_directory, store) = store();
        let kept = |number: u32, person: u32, seconds: i64| {
            store
                .change(move |transaction| keep(transaction, &request(number), &of(person), at(seconds)))
                .unwrap()
        };
        assert!((0..AHEAD_OF_ONE_PERSON).all(|number| kept(number, 1, 0)));
        assert!(!kept(AHEAD_OF_ONE_PERSON, 1, 0), "one more of the same person");
        assert!(kept(AHEAD_OF_ONE_PERSON, 2, 0), "another person has its own share");
        assert!(kept(AHEAD_OF_ONE_PERSON, 1, KEPT_AHEAD_SECONDS + 1), "the first are too old to wait");
    }

    #[test]
    fn a_cancel_counts_for_the_person_who_signed_it_only() {
        let (_directory, store) = store();
        store.change(|transaction| keep(transaction, &request(1), &of(1), at(0))).unwrap();
        let called_off = |person: u32| {
            store.read(move |connection| is_called_off(connection, &request(1), &of(person))).unwrap()
        };
        assert!(called_off(1));
        assert!(!called_off(2));
    }

    #[test]
    fn a_cancel_of_a_job_that_is_there_needs_no_room() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        for number in 0..AHEAD_OF_ONE_PERSON {
            store.change(move |transaction| keep(transaction, &request(number), &of(1), at(0))).unwrap();
        }
        let one = Digest::of(b"one");
        assert!(store.change(move |transaction| keep(transaction, &one, &of(1), at(0))).unwrap());
    }
}
