//! A run that the box lost, by a crash or by a child that failed: charged anew and queued again, at most twice, and
//! then the job ends LOST.

use api::v1::Reason;
use lifecycle::{ANSWER_BITS, State};
use release::envelope::Envelope;
use release::path::SignedRequest;
use release::value::Timestamp;
use rusqlite::Transaction;

use crate::admission::limits_of;
use crate::cancel;
use crate::room::Room;
use crate::store::StoreError;
use crate::store::account::{self, AccountError, Limits, Occasion};
use crate::store::jobs::{self, Job, Move};

/// Most runs of a job: the first and two more.
pub const RUNS: u32 = 3;

/// Writes down that the box lost a run.
pub fn lost(room: &Room, job: &Job) -> Result<(), StoreError> {
    let limits = limits(room, job);
    let (job, at) = (job.clone(), room.now());
    room.store.change(move |transaction| lose(transaction, &job, limits.as_ref(), at))
}

/// What the next run would be charged to, if the site still covers the job.
fn limits(room: &Room, job: &Job) -> Option<Limits> {
    let site = room.site.current()?;
    let envelope = Envelope::parse(&job.envelope).ok()?;
    limits_of(&site, &SignedRequest::verify(&envelope, &site).ok()?)
}

fn lose(
    transaction: &Transaction<'_>,
    job: &Job,
    limits: Option<&Limits>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let current = jobs::find(transaction, &job.request)?.ok_or(StoreError::Foreign("request"))?;
    if current.state != State::Running || current.run != job.run {
        // It was written down before.
        return Ok(());
    }
    if let Some(end) = cancel::ended_by_people(transaction, &job.request)? {
        return jobs::make_move(transaction, &job.request, &end, at);
    }
    let occasion = Occasion { request: job.request, run: job.run + 1, at };
    let charged = match limits {
        Some(limits) if job.run < RUNS => {
            match account::charge_run(transaction, limits, ANSWER_BITS, occasion) {
                Ok(()) => true,
                Err(AccountError::Store(error)) => return Err(error),
                Err(AccountError::AnswerBits | AccountError::ReleaseBits | AccountError::Privacy) => false,
            }
        }
        Some(_) | None => false,
    };
    if charged {
        jobs::set_run(transaction, &job.request, occasion.run)?;
    }
    let to = if charged { State::Queued } else { State::Lost };
    jobs::make_move(transaction, &job.request, &Move::new(to, Reason::Box), at)
}

#[cfg(test)]
mod tests {
    use blobs::Digest;
    use release::statement::DatasetGrant;
    use release::value::Count;

    use super::*;
    use crate::store::account::{DatasetLimits, sums};
    use crate::store::jobs::testing::{at, insert};
    use crate::store::testing::store;
    use crate::store::{Store, reports};

    fn limits(answer_bits: u64) -> Limits {
        let bits = DatasetGrant { release_bits: Count(0), answer_bits: Count(answer_bits) };
        let limits = DatasetLimits { grant: bits, dataset: bits, privacy: 25 };
        let datasets = [("hie".parse().unwrap(), limits)].into();
        Limits { grant: "hie".parse().unwrap(), datasets, rho: None }
    }

    fn running(store: &Store) -> Job {
        store
            .change(|transaction| {
                let movement = Move::new(State::Running, Reason::Unspecified);
                jobs::make_move(transaction, &Digest::of(b"one"), &movement, at(0))
            })
            .unwrap();
        job(store)
    }

    fn job(store: &Store) -> Job {
        store.read(|connection| jobs::find(connection, &Digest::of(b"one"))).unwrap().unwrap()
    }

    fn lose_once(store: &Store, limits: Option<Limits>) -> Job {
        let running = running(store);
        store.change(move |transaction| lose(transaction, &running, limits.as_ref(), at(0))).unwrap();
        job(store)
    }

    #[test]
    fn a_lost_run_is_charged_and_queued_twice_and_then_the_job_is_lost() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        let after = [(State::Queued, 2, 1), (State::Queued, 3, 2), (State::Lost, 3, 2)];
        for (state, run, answered) in after {
            let job = lose_once(&store, Some(limits(1000)));
            assert_eq!((job.state, job.run), (state, run));
            let hie = "hie".parse().unwrap();
            let sums = store.read(move |connection| sums(connection, &hie, None)).unwrap();
            assert_eq!(sums.answered, answered * ANSWER_BITS);
        }
        let reports = store.read(|connection| reports::due(connection, at(1000))).unwrap();
        let told: Vec<_> = reports.iter().map(|report| (report.number, report.state, report.run)).collect();
        assert_eq!(
            told,
            [
                (1, State::Running, 1),
                (2, State::Queued, 2),
                (3, State::Running, 2),
                (4, State::Queued, 3),
                (5, State::Running, 3),
                (6, State::Lost, 3)
            ]
        );
    }

    #[test]
    fn a_lost_run_that_cannot_be_paid_for_ends_the_job() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        let job = lose_once(&store, Some(limits(ANSWER_BITS - 1)));
        assert_eq!((job.state, job.run), (State::Lost, 1));
    }

    #[test]
    fn a_lost_run_of_a_question_with_noise_is_charged_its_noise_anew_and_ends_where_the_budget_does() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        let hie = || "hie".parse().unwrap();
        let spent = || store.read(move |connection| account::privacy_spent(connection, &hie())).unwrap();
        let noisy = || Some(Limits { rho: Some(10), ..limits(1000) });
        // The budget is 25: a second and a third run are paid for, and no fourth.
        let job = lose_once(&store, noisy());
        assert_eq!((job.state, job.run, spent()), (State::Queued, 2, 10));
        let job = lose_once(&store, noisy());
        assert_eq!((job.state, job.run, spent()), (State::Queued, 3, 20));
        store.change(|transaction| jobs::set_run(transaction, &Digest::of(b"one"), 2)).unwrap();
        let job = lose_once(&store, noisy());
        assert_eq!((job.state, spent()), (State::Lost, 20));
    }

    #[test]
    fn a_lost_run_that_no_site_covers_ends_the_job() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        assert_eq!(lose_once(&store, None).state, State::Lost);
    }

    #[test]
    fn a_run_is_lost_once() {
        let (_directory, store) = store();
        store.change(|transaction| insert(transaction, b"one")).unwrap();
        let running = running(&store);
        for _ in 0..2 {
            let (running, limits) = (running.clone(), limits(1000));
            store.change(move |transaction| lose(transaction, &running, Some(&limits), at(0))).unwrap();
        }
        assert_eq!((job(&store).state, job(&store).run), (State::Queued, 2));
    }
}
