//! What is told to the gateway about jobs: numbered for each job, each in a step of the time grid of its own, and
//! repeated until it is taken.

use api::v1::Reason;
use api::{Failure, Transition, Use};
use blobs::Digest;
use lifecycle::State;
use release::rule::Rule;
use release::value::Timestamp;
use rusqlite::{Connection, Row, Transaction};

use super::jobs::{Job, Move};
use super::{StoreError, columns};

/// Leaves a report of a move. It falls due at the beginning of a step that no other report of this job has.
///
/// A run starts at the beginning of a step, so its start may be told at once. Everything else can depend on the data,
/// so it waits for the next step.
pub fn leave(
    transaction: &Transaction<'_>,
    job: &Job,
    movement: &Move,
    at: Timestamp,
) -> Result<(), StoreError> {
    let current = job.grid.step(at);
    let earliest = if movement.to == State::Running { current } else { current + 1 };
    let (number, last) = last(transaction, &job.request)?;
    // After a clock was set back the numbers of the steps go on from where they were, and the moments do not.
    let due = earliest.max(last.map_or(0, |(_, due_at)| job.grid.step(due_at) + 1));
    let step = due.max(last.map_or(0, |(step, _)| step + 1));
    transaction.execute(
        "INSERT INTO reports (request, number, run, state, reason, rule, output, denial_reasons, failure, used,
             step, due_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        (
            job.request.as_bytes(),
            number + 1,
            job.run,
            movement.to.word(),
            movement.reason as i32,
            movement.rule.map(Rule::id),
            movement.output,
            api::denial_reasons::to_bits(&movement.denial_reasons),
            movement.failure.map(Failure::to_bits),
            movement.used.to_bits(),
            columns::stored(step, "step")?,
            job.grid.start(due).seconds(),
        ),
    )?;
    Ok(())
}

fn last(connection: &Connection, request: &Digest) -> Result<(u32, Option<(u64, Timestamp)>), StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT number, step, due_at FROM reports WHERE request = ?1 ORDER BY number DESC LIMIT 1",
    )?;
    let mut rows = query.query([request.as_bytes()])?;
    match rows.next()? {
        Some(row) => {
            let told = (columns::count(row, "step")?, columns::moment(row, "due_at")?);
            Ok((columns::small(row, "number")?, Some(told)))
        }
        None => Ok((0, None)),
    }
}

/// When the last report of a job falls due.
pub fn last_due(connection: &Connection, request: &Digest) -> Result<Option<Timestamp>, StoreError> {
    Ok(last(connection, request)?.1.map(|(_, due_at)| due_at))
}

/// Reports that have fallen due and were not taken, in the order of each job. That a job is released is told once the
/// gateway has taken the release, which it believes more than the report.
pub fn due(connection: &Connection, now: Timestamp) -> Result<Vec<Transition>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT * FROM reports WHERE taken = 0 AND due_at <= ?1
             AND NOT (state = ?2 AND EXISTS (
                 SELECT 1 FROM releases WHERE releases.request = reports.request AND releases.taken = 0))
         ORDER BY due_at, request, number LIMIT 1000",
    )?;
    let mut rows = query.query((now.seconds(), State::Released.word()))?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        due.push(transition_of(row)?);
    }
    Ok(due)
}

/// When the next report falls due that is not due yet.
pub fn next_due(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT min(due_at) AS due_at FROM reports WHERE taken = 0 AND due_at > ?1")?;
    let next: Option<i64> = query.query_row([now.seconds()], |row| row.get(0))?;
    next.map(|next| Timestamp::from_seconds(next).map_err(|_| StoreError::Foreign("due_at"))).transpose()
}

/// The gateway holds a report durably.
pub fn take(transaction: &Transaction<'_>, request: &Digest, number: u32) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE reports SET taken = 1 WHERE request = ?1 AND number = ?2",
        (request.as_bytes(), number),
    )?;
    Ok(())
}

fn transition_of(row: &Row<'_>) -> Result<Transition, StoreError> {
    let rule = row.get::<_, Option<String>>("rule")?;
    let rule = rule.map(|id| Rule::from_id(&id).ok_or(StoreError::Foreign("rule"))).transpose()?;
    let denial_reasons = api::denial_reasons::from_bits(columns::small(row, "denial_reasons")?);
    let failure: Option<u32> = row.get("failure")?;
    let failure = failure.map(Failure::from_bits).transpose().map_err(|_| StoreError::Foreign("failure"))?;
    let used = Use::from_bits(columns::small(row, "used")?).map_err(|_| StoreError::Foreign("used"))?;
    let reason: Reason = columns::reason(row, "reason")?;
    Ok(Transition {
        request: columns::digest(row, "request")?,
        number: columns::small(row, "number")?,
        run: columns::small(row, "run")?,
        state: columns::state(row, "state")?,
        reason,
        rule,
        output: row.get("output")?,
        grid_step: columns::count(row, "step")?,
        denial_reasons: denial_reasons.map_err(|_| StoreError::Foreign("denial_reasons"))?,
        failure,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::jobs::testing::{at, insert};
    use crate::store::jobs::{Move, make_move};
    use crate::store::testing::store;

    fn moved(store: &crate::store::Store, name: &'static [u8], moves: &[(State, i64)]) {
        store.change(|transaction| insert(transaction, name)).unwrap();
        for (to, seconds) in moves.iter().copied() {
            store
                .change(move |transaction| {
                    let movement = Move::new(to, Reason::Unspecified);
                    make_move(transaction, &Digest::of(name), &movement, at(seconds))
                })
                .unwrap();
        }
    }

    #[test]
    fn two_runs_that_end_within_one_step_are_told_alike() {
        let (_directory, store) = store();
        moved(&store, b"quick", &[(State::Running, 0), (State::Failed, 11)]);
        moved(&store, b"slow", &[(State::Running, 0), (State::Failed, 19)]);
        let ends = |now| {
            let mut due = store.read(move |connection| due(connection, at(now))).unwrap();
            due.retain(|report| report.state == State::Failed);
            due.iter().map(|report| (report.number, report.grid_step)).collect::<Vec<_>>()
        };
        assert!(ends(19).is_empty());
        assert_eq!(ends(20), [(2, 100_002), (2, 100_002)]);
    }

    #[test]
    fn each_report_of_a_job_has_a_step_of_its_own_and_no_number_is_missing() {
        let (_directory, store) = store();
        let moves = [(State::Running, 0), (State::InReview, 1), (State::Approved, 2), (State::Released, 2)];
        moved(&store, b"one", &moves);
        let all = store.read(|connection| due(connection, at(1000))).unwrap();
        let told: Vec<_> = all.iter().map(|report| (report.number, report.state, report.grid_step)).collect();
        assert_eq!(
            told,
            [
                (1, State::Running, 100_000),
                (2, State::InReview, 100_001),
                (3, State::Approved, 100_002),
                (4, State::Released, 100_003)
            ]
        );
        assert_eq!(store.read(|connection| next_due(connection, at(10))).unwrap(), Some(at(20)));
    }

    #[test]
    fn a_report_is_repeated_until_it_is_taken() {
        let (_directory, store) = store();
        moved(&store, b"one", &[(State::Running, 0)]);
        let open = || store.read(|connection| due(connection, at(0))).unwrap().len();
        assert_eq!((open(), open()), (1, 1));
        store.change(|transaction| take(transaction, &Digest::of(b"one"), 1)).unwrap();
        assert_eq!(open(), 0);
    }
}
