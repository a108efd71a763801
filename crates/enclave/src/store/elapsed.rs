//! How long the enclave has run. The time in the queue and under review is counted in it, so that a clock that jumps
//! forward ends no job, and one that jumps back keeps none for ever. Time in which the enclave did not run does not
//! count: no job could start and no outcome could arrive.

use release::value::Timestamp;
use rusqlite::Transaction;

use super::{StoreError, columns};

pub use database::elapsed::{clock, count, seconds};

/// The machine's clock was set back by so many seconds. What falls due from a moment on moves with it, to the next
/// step of the grid; otherwise a job would wait, and its reports would be held back, for as long as the clock jumped.
pub fn set_back(transaction: &Transaction<'_>, seconds: u64, now: Timestamp) -> Result<(), StoreError> {
    let by = (columns::stored(seconds, "clock")?, now.seconds());
    transaction.execute(
        "UPDATE reports SET due_at = max(0, (due_at - ?1 + grid_seconds - 1) / grid_seconds * grid_seconds)
         FROM jobs WHERE jobs.request = reports.request AND due_at > ?2",
        by,
    )?;
    transaction.execute(
        "UPDATE jobs SET admitted_at = max(0, admitted_at - ?1), entered_at = max(0, entered_at - ?1)
         WHERE entered_at > ?2",
        by,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use api::v1::Reason;
    use blobs::Digest;
    use lifecycle::State;

    use super::*;
    use crate::store::jobs::testing::{at, insert};
    use crate::store::jobs::{self, Move, make_move};
    use crate::store::reports;
    use crate::store::testing::{open, store};

    /// More than any limit, in seconds.
    const YEAR: i64 = 400 * 24 * 3600;

    fn moved(store: &crate::store::Store, to: State, moment: Timestamp) {
        store
            .change(move |transaction| {
                make_move(transaction, &Digest::of(b"one"), &Move::new(to, Reason::Unspecified), moment)
            })
            .unwrap();
    }

    #[test]
    fn what_was_counted_is_there_after_a_restart() {
        let (directory, store) = store();
        for clock in [at(YEAR), at(0)] {
            store
                .change(move |transaction| -> Result<(), StoreError> {
                    Ok(count(transaction, 30, clock.seconds())?)
                })
                .unwrap();
        }
        drop(store);
        let again = open(directory.path()).unwrap();
        assert_eq!(again.read(|connection| Ok(seconds(connection)?)).unwrap(), 60);
        assert_eq!(again.read(|connection| Ok(clock(connection)?)).unwrap(), at(0).seconds());
    }

    #[test]
    fn a_clock_that_was_set_back_holds_up_no_report_and_they_stay_on_the_grid_each_in_a_step() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        moved(&store, State::Running, at(YEAR));
        moved(&store, State::InReview, at(YEAR + 3));
        let told =
            |seconds| store.read(move |connection| reports::due(connection, at(seconds))).unwrap().len();
        assert_eq!(told(100), 0, "held up for as long as the clock jumped");
        store.change(|transaction| set_back(transaction, (YEAR + 3).unsigned_abs(), at(4))).unwrap();
        assert_eq!((told(5), told(10)), (1, 2));
        moved(&store, State::Approved, at(6));
        assert_eq!((told(19), told(20)), (2, 3));
        let all = store.read(|connection| reports::due(connection, at(100))).unwrap();
        let steps: Vec<_> = all.iter().map(|report| report.grid_step).collect();
        assert!(steps.is_sorted_by(|before, after| before < after), "{steps:?}");
    }

    #[test]
    fn a_job_that_waits_keeps_its_place_when_the_clock_is_set_back() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        store.change(|transaction| set_back(transaction, 5000, at(-5000))).unwrap();
        let job = store.read(|connection| jobs::find(connection, &Digest::of(b"one"))).unwrap().unwrap();
        assert_eq!(job.entered, 0);
        // Its step comes as soon as it would have, by the clock that is set back.
        let queued = |moment| store.read(move |connection| jobs::queued(connection, moment)).unwrap().len();
        assert_eq!((queued(at(-5000)), queued(at(-4980))), (0, 1));
    }
}
