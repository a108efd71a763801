//! No job stays in a state past its limit: what waited too long in the queue or under review ends here.

use std::sync::Arc;
use std::time::Duration;

use api::v1::Reason;
use daemon::ServiceManager;
use lifecycle::State;
use release::value::Timestamp;

use crate::cancel;
use crate::code_review;
use crate::room::Room;
use crate::store::account::{self, Occasion};
use crate::store::jobs::{self, Job, Move};
use crate::store::{StoreError, elapsed, verdicts};
use crate::sweep;

/// How often the deadlines are looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// Watches the deadlines until the room stops.
pub async fn watch(room: Arc<Room>, manager: ServiceManager) {
    while !room.stop.is_raised() {
        let of = room.clone();
        let round = tokio::task::spawn_blocking(move || end_what_is_over(&of)).await;
        // Also after an error, such as a full disk's: to be killed for it would end the jobs that run.
        if let Ok(done) = round {
            manager.alive();
            if let Err(error) = done {
                room.journal.error("deadlines are not kept").own_error(&error).write();
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn end_what_is_over(room: &Room) -> Result<(), StoreError> {
    room.clock.look(&room.store)?;
    let now = room.now();
    let elapsed = room.store.read(|connection| Ok(elapsed::seconds(connection)?))?;
    let mut ended = code_review::end_uncovered(room, now)?;
    for (state, reason) in [(State::InCodeReview, Reason::Undecided), (State::Queued, Reason::Box)] {
        for job in room.store.read(move |connection| jobs::in_state(connection, state))? {
            if is_past(&job, elapsed) {
                ended |= room.store.change(move |transaction| end_wait(transaction, &job, reason, now))?;
            }
        }
    }
    for job in room.store.read(|connection| jobs::in_state(connection, State::InReview))? {
        ended |= room.store.change(move |transaction| expire(transaction, &job, now))?;
    }
    if ended {
        sweep::sweep_and_tell(room);
    }
    Ok(())
}

/// Ends a wait, unless the job has moved on since.
fn end_wait(
    transaction: &rusqlite::Transaction<'_>,
    job: &Job,
    reason: Reason,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let waits = jobs::find(transaction, &job.request)?.is_some_and(|current| current.state == job.state);
    if waits {
        jobs::make_move(transaction, &job.request, &Move::new(State::Expired, reason), now)?;
    }
    Ok(waits)
}

fn is_past(job: &Job, elapsed: i64) -> bool {
    let limit = job.state.limit_seconds().and_then(|limit| i64::try_from(limit).ok());
    limit.is_some_and(|limit| elapsed.saturating_sub(job.entered) > limit)
}

/// Ends a review that nobody decided in time, and frees its reservation, in one transaction.
fn expire(transaction: &rusqlite::Transaction<'_>, job: &Job, now: Timestamp) -> Result<bool, StoreError> {
    let verdict = verdicts::of_request(transaction, &job.request)?.ok_or(StoreError::Foreign("verdict"))?;
    let open_for = elapsed::seconds(transaction)?.saturating_sub(job.entered);
    if u64::try_from(open_for).is_ok_and(|open_for| open_for <= verdict.review_seconds) {
        return Ok(false);
    }
    account::free(transaction, Occasion { request: job.request, run: verdict.run, at: now })?;
    let end = cancel::ended_by_people(transaction, &job.request)?;
    let end = end.unwrap_or(Move::new(State::Expired, Reason::Undecided));
    jobs::make_move(transaction, &job.request, &end, now)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use blobs::Digest;
    use release::statement::DatasetGrant;
    use release::value::Count;

    use super::*;
    use crate::store::account::{DatasetLimits, Limits, Sums, reserve_release, sums};
    use crate::store::jobs::testing::{at, insert};
    use crate::store::testing::store;
    use crate::store::verdicts::StoredVerdict;

    fn in_review(transaction: &rusqlite::Transaction<'_>) -> Result<Job, account::AccountError> {
        let request = Digest::of(b"one");
        insert(transaction, b"one")?;
        let bits = DatasetGrant { release_bits: Count(100), answer_bits: Count(0) };
        let limits = Limits {
            grant: "hie".parse().unwrap(),
            datasets: [("hie".parse().unwrap(), DatasetLimits { grant: bits, dataset: bits, privacy: 0 })]
                .into(),
            rho: None,
        };
        reserve_release(transaction, &limits, 60, Occasion { request, run: 1, at: at(0) })?;
        let verdict = StoredVerdict {
            verdict: Digest::of(b"verdict"),
            request,
            run: 1,
            envelope: vec![],
            packet: Digest::of(b"packet"),
            passed: true,
            expires: at(100),
            review_seconds: 150,
            taken: true,
        };
        verdicts::insert(transaction, &verdict)?;
        for to in [State::Running, State::InReview] {
            jobs::make_move(transaction, &request, &Move::new(to, Reason::Passed), at(0))?;
        }
        Ok(jobs::find(transaction, &request)?.expect("it was stored"))
    }

    /// More than any limit, in seconds.
    const YEAR: i64 = 400 * 24 * 3600;

    fn moment(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(2 * YEAR + seconds).unwrap()
    }

    #[test]
    fn a_review_that_nobody_decides_ends_and_frees_its_bits() {
        let (_directory, store) = store();
        let job = store.change(in_review).unwrap();
        for (passed, clock, over) in [(150, YEAR, false), (1, -YEAR, true)] {
            let (job, clock) = (job.clone(), moment(clock));
            store
                .change(move |transaction| -> Result<(), StoreError> {
                    Ok(elapsed::count(transaction, passed, clock.seconds())?)
                })
                .unwrap();
            assert_eq!(store.change(move |transaction| expire(transaction, &job, clock)).unwrap(), over);
        }
        let hie = "hie".parse().unwrap();
        let sums = store.read(move |connection| sums(connection, &hie, None)).unwrap();
        assert_eq!(sums, Sums::default());
        let job = store.read(|connection| jobs::find(connection, &Digest::of(b"one"))).unwrap().unwrap();
        assert_eq!(job.state, State::Expired);
    }

    #[test]
    fn a_job_waits_in_the_queue_for_so_long_and_no_longer() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        let job = store.read(|connection| jobs::find(connection, &Digest::of(b"one"))).unwrap().unwrap();
        let limit = State::Queued.limit_seconds().unwrap() as i64;
        assert!(!is_past(&job, job.entered + limit));
        assert!(is_past(&job, job.entered + limit + 1));
    }
}
