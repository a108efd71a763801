//! Jobs and their moves. Every move is checked against the table of states and leaves a report for the gateway in the
//! same transaction, so that a crash leaves both or neither.

use api::v1::Reason;
use api::{Failure, Use};
use blobs::Digest;
use lifecycle::State;
use release::rule::Rule;
use release::statement::DenialReason;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::{StoreError, columns, elapsed, reports};
use crate::grid::Grid;

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Payload digest of its request: the job's one name.
    pub request: Digest,
    /// The request's envelope.
    pub envelope: Vec<u8>,
    /// What it is for, in words; for the stewards only.
    pub purpose: String,
    /// The salt of the purpose's digest.
    pub purpose_salt: [u8; 32],
    /// Where it stands.
    pub state: State,
    /// Number of the run that was charged last; 0 if none was.
    pub run: u32,
    /// The time grid of its policy.
    pub grid: Grid,
    /// How long the enclave had run by then, in seconds.
    pub entered: i64,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Payload digest of the request.
    pub request: Digest,
    /// Its envelope.
    pub envelope: Vec<u8>,
    /// What it is for.
    pub purpose: String,
    /// The salt of the purpose's digest.
    pub purpose_salt: [u8; 32],
}

/// What an admitted request asks for, as far as its row needs to know.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The grant that it is under.
    pub grant: Name,
    /// The request's nonce.
    pub nonce: [u8; 32],
    /// The bundle.
    pub bundle: Digest,
    /// The time grid of the grant's policy.
    pub grid: Grid,
}

/// Stores an admitted job: QUEUED for its first run, which is charged in the same transaction, or IN_CODE_REVIEW before
/// any. The nonce is unique in the database.
pub fn insert_admitted(
    transaction: &Transaction<'_>,
    submission: &Submission,
    asked: &Asked,
    state: State,
    at: Timestamp,
) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO jobs (request, nonce, bundle, envelope, grant_id, purpose, purpose_salt, state, run,
             grid_seconds, admitted_at, entered_at, entered)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12)",
        (
            submission.request.as_bytes(),
            asked.nonce,
            asked.bundle.as_bytes(),
            &submission.envelope,
            asked.grant.as_str(),
            &submission.purpose,
            &submission.purpose_salt,
            state.word(),
            u32::from(state == State::Queued),
            asked.grid.seconds(),
            at.seconds(),
            elapsed::seconds(transaction)?,
        ),
    )?;
    Ok(())
}

/// The job with this request.
pub fn find(connection: &Connection, request: &Digest) -> Result<Option<Job>, StoreError> {
    let mut query = connection.prepare_cached("SELECT * FROM jobs WHERE request = ?1")?;
    let mut rows = query.query([request.as_bytes()])?;
    rows.next()?.map(job_of).transpose()
}

/// True if an admitted request had this nonce.
pub fn nonce_is_used(connection: &Connection, nonce: &[u8; 32]) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM jobs WHERE nonce = ?1")?;
    Ok(query.query_row([nonce], |_| Ok(())).optional()?.is_some())
}

/// True if a job that waits or runs has this bundle.
pub fn bundle_is_needed(connection: &Connection, bundle: &Digest) -> Result<bool, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT 1 FROM jobs WHERE bundle = ?1 AND state IN (?2, ?3, ?4)")?;
    let waits = (State::InCodeReview.word(), State::Queued.word());
    let states = (bundle.as_bytes(), waits.0, waits.1, State::Running.word());
    Ok(query.query_row(states, |_| Ok(())).optional()?.is_some())
}

/// Jobs in the queue whose step has begun, in the order in which they start: grants take turns, the one first that has started nothing yet or
/// nothing for the longest; and of each grant its jobs in the order of their admission. A grant with a thousand jobs
/// holds up one with a single job by one run.
///
/// The order depends on starts, which the time grid rules, and on nothing that tells when a run ended.
pub fn queued(connection: &Connection, now: Timestamp) -> Result<Vec<Job>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT jobs.*, row_number() OVER (PARTITION BY grant_id ORDER BY admitted_at, jobs.rowid) AS nth
         FROM jobs LEFT JOIN turns USING (grant_id)
         WHERE state = ?1 AND ?2 >= (entered_at / grid_seconds + 1) * grid_seconds
         ORDER BY nth, coalesce(turn, 0), admitted_at, jobs.rowid",
    )?;
    let mut rows = query.query((State::Queued.word(), now.seconds()))?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(job_of(row)?);
    }
    Ok(jobs)
}

/// The job's grant has had its turn.
pub fn had_its_turn(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT OR REPLACE INTO turns (grant_id, turn)
         SELECT grant_id, (SELECT coalesce(max(turn), 0) + 1 FROM turns) FROM jobs WHERE request = ?1",
        [request.as_bytes()],
    )?;
    Ok(())
}

/// Jobs in a state, in the order in which they were admitted.
pub fn in_state(connection: &Connection, state: State) -> Result<Vec<Job>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT * FROM jobs WHERE state = ?1 ORDER BY admitted_at, rowid")?;
    let mut rows = query.query([state.word()])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(job_of(row)?);
    }
    Ok(jobs)
}

fn job_of(row: &Row<'_>) -> Result<Job, StoreError> {
    Ok(Job {
        request: columns::digest(row, "request")?,
        envelope: row.get("envelope")?,
        purpose: row.get("purpose")?,
        purpose_salt: row.get("purpose_salt")?,
        state: columns::state(row, "state")?,
        run: columns::small(row, "run")?,
        grid: Grid::new(columns::count(row, "grid_seconds")?),
        entered: row.get("entered")?,
    })
}

/// What is known of a move.
#[derive(Debug, Clone)]
pub struct Move {
    /// The new state.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The first rule that forbade the release.
    pub rule: Option<Rule>,
    /// The first declared output that it was about.
    pub output: Option<u32>,
    /// Why a steward refused.
    pub denial_reasons: Vec<DenialReason>,
    /// Where a Python program failed.
    pub failure: Option<Failure>,
    /// What the run used.
    pub used: Use,
}

impl Move {
    /// A move of which no more than this is told.
    pub fn new(to: State, reason: Reason) -> Self {
        Self {
            to,
            reason,
            rule: None,
            output: None,
            denial_reasons: Vec::new(),
            failure: None,
            used: Use::default(),
        }
    }
}

/// Makes a move and leaves its report.
pub fn make_move(
    transaction: &Transaction<'_>,
    request: &Digest,
    movement: &Move,
    at: Timestamp,
) -> Result<(), StoreError> {
    let job = find(transaction, request)?.ok_or(StoreError::Foreign("request"))?;
    lifecycle::transition(job.state, movement.to)?;
    transaction.execute(
        "UPDATE jobs SET state = ?2, entered_at = ?3, entered = ?4 WHERE request = ?1",
        (request.as_bytes(), movement.to.word(), at.seconds(), elapsed::seconds(transaction)?),
    )?;
    if movement.to.is_end() {
        // Nobody needs the words any more; the stewards have them in their packet.
        transaction.execute("UPDATE jobs SET purpose = '' WHERE request = ?1", [request.as_bytes()])?;
    }
    reports::leave(transaction, &job, movement, at)
}

/// Numbers the next run of a job. It must have been charged in the same transaction.
pub fn set_run(transaction: &Transaction<'_>, request: &Digest, run: u32) -> Result<(), StoreError> {
    transaction.execute("UPDATE jobs SET run = ?2 WHERE request = ?1", (request.as_bytes(), run))?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A queued job whose request is the digest of these bytes, admitted at second 1,000,000 with a grid of 10 s.
    pub(crate) fn insert(transaction: &Transaction<'_>, name: &[u8]) -> Result<(), StoreError> {
        let request = Digest::of(name);
        let submission =
            Submission { request, envelope: vec![1], purpose: "why".to_owned(), purpose_salt: [7; 32] };
        insert_admitted(transaction, &submission, &asked("hie", request), State::Queued, at(0))
    }

    /// What a job under a grant asks for: its nonce and bundle are the digest.
    pub(crate) fn asked(grant: &str, request: Digest) -> Asked {
        let grant = grant.parse().unwrap();
        Asked { grant, nonce: *request.as_bytes(), bundle: request, grid: Grid::new(10) }
    }

    /// Second 1,000,000 and so many.
    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::at;
    use super::*;
    use crate::store::testing::store;

    #[test]
    fn a_nonce_is_accepted_once() {
        let (_directory, store) = store();
        store.change(|transaction| testing::insert(transaction, b"one")).unwrap();
        let nonce = *Digest::of(b"one").as_bytes();
        assert!(store.read(move |connection| nonce_is_used(connection, &nonce)).unwrap());
        let again = store.change(move |transaction| {
            let submission = Submission {
                request: Digest::of(b"two"),
                envelope: vec![],
                purpose: String::new(),
                purpose_salt: [0; 32],
            };
            let asked = Asked { nonce, ..testing::asked("hie", Digest::of(b"two")) };
            insert_admitted(transaction, &submission, &asked, State::Queued, at(0))
        });
        assert!(matches!(again, Err(StoreError::Database(_))));
        let other = store.read(|connection| nonce_is_used(connection, &[9; 32])).unwrap();
        assert!(!other);
    }

    #[test]
    fn grants_take_turns_and_one_that_started_nothing_yet_comes_first() {
        let (_directory, store) = store();
        let add = |name: &'static str, grant: &'static str| {
            store
                .change(move |transaction| {
                    let request = Digest::of(name.as_bytes());
                    let submission = Submission {
                        request,
                        envelope: vec![],
                        purpose: String::new(),
                        purpose_salt: [0; 32],
                    };
                    let asked = testing::asked(grant, request);
                    insert_admitted(transaction, &submission, &asked, State::Queued, at(0))
                })
                .unwrap();
        };
        let next = || store.read(|connection| queued(connection, at(20))).unwrap()[0].request;
        let start = || {
            let request = next();
            let change = move |transaction: &Transaction<'_>| -> Result<(), StoreError> {
                had_its_turn(transaction, &request)?;
                make_move(transaction, &request, &Move::new(State::Running, Reason::Unspecified), at(0))
            };
            store.change(change).unwrap();
            request
        };
        for name in ["many 1", "many 2", "many 3", "many 4"] {
            add(name, "many");
        }
        let mut order = vec![start()];
        add("few 1", "few");
        add("few 2", "few");
        order.extend([start(), start()]);
        add("late 1", "late");
        order.extend([start(), start(), start(), start()]);
        let names = ["many 1", "few 1", "many 2", "late 1", "few 2", "many 3", "many 4"];
        assert_eq!(order, names.map(|name| Digest::of(name.as_bytes())));
        // A run that was lost within a step must not move others before the step is over.
        add("again", "many");
        assert!(store.read(|connection| queued(connection, at(1))).unwrap().is_empty());
    }

    #[test]
    fn a_move_outside_the_table_is_refused_and_leaves_no_report() {
        let (_directory, store) = store();
        let request = Digest::of(b"one");
        store.change(|transaction| testing::insert(transaction, b"one")).unwrap();
        let refused = store.change(move |transaction| {
            make_move(transaction, &request, &Move::new(State::Released, Reason::Passed), at(0))
        });
        assert!(matches!(refused, Err(StoreError::Move(_))));
        store
            .change(move |transaction| {
                make_move(transaction, &request, &Move::new(State::Running, Reason::Unspecified), at(0))
            })
            .unwrap();
        let reports = store.read(|connection| reports::due(connection, at(100))).unwrap();
        assert_eq!(reports.len(), 1);
    }

    #[test]
    fn the_words_of_a_purpose_are_gone_once_a_job_has_ended() {
        let (_directory, store) = store();
        let request = Digest::of(b"one");
        store.change(|transaction| testing::insert(transaction, b"one")).unwrap();
        for (to, words) in [(State::Running, "why"), (State::Failed, "")] {
            store
                .change(move |transaction| {
                    make_move(transaction, &request, &Move::new(to, Reason::ProgramFailed), at(0))
                })
                .unwrap();
            let job = store.read(move |connection| find(connection, &request)).unwrap().unwrap();
            assert_eq!(job.purpose, words);
        }
    }
}
