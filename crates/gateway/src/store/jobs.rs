//! Jobs and what the enclave has not answered yet.

use blobs::Digest;
use lifecycle::State;
use release::statement::{Limits, Request};
use release::value::{Count, Name, Timestamp};
use rusqlite::{Connection, Row, Transaction};
use server::Refused;

use super::events::{self, Event, Said};
use super::{StoreError, cancels, columns, queue};

/// A job that was admitted here.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Payload digest of the request.
    pub digest: Digest,
    /// What it says.
    pub request: Request,
    /// Its envelope, byte for byte.
    pub envelope: Vec<u8>,
    /// The purpose in words.
    pub purpose: String,
    /// The salt of its digest.
    pub purpose_salt: [u8; 32],
    /// Step of the policy's time grid, in seconds.
    pub grid_seconds: u64,
}

/// A job as the store has it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) request: Digest,
    pub(super) outputs: Vec<Name>,
    pub(super) grid_seconds: i64,
    pub(super) run_seconds: u64,
    pub(super) state: State,
    /// When it came into this state, counted as `elapsed` does.
    pub(super) entered: i64,
    /// True if this room ended it without a word of the enclave.
    pub(super) ended_unheard: bool,
    pub(super) last_number: u32,
    pub(super) last_step: u64,
}

/// A job as its requester sees it: as of its last event that may be seen.
#[derive(Debug, Clone)]
pub struct JobView {
    /// Its place in the list of all jobs.
    pub place: i64,
    /// Payload digest of the request.
    pub request: Digest,
    /// The project.
    pub project: Name,
    /// The job's name.
    pub name: Name,
    /// What the request asks for.
    pub limits: Limits,
    /// When the request was taken in.
    pub created_at: Timestamp,
    /// The last event.
    pub last: Event,
    /// How many jobs wait before it, plus 1; 0 if it does not wait.
    pub queue_place: u32,
    /// True if it was called off.
    pub cancel_requested: bool,
}

/// How many jobs may wait or be open at the same time.
#[derive(Debug, Clone, Copy)]
pub struct JobLimits {
    /// Of one person, that have not ended.
    pub open_per_person: u64,
    /// Of one grant, that the enclave has not begun to run.
    pub waiting_per_grant: u64,
}

/// A job as its requester named it when they signed.
#[derive(Debug, Clone)]
pub struct Named {
    /// Who asked for it.
    pub requester: Name,
    /// The grant's id.
    pub grant: Name,
}

/// Takes a job in as SUBMITTED, within the limits of its requester and its grant. A repeat does nothing.
pub fn take_in(
    transaction: &Transaction<'_>,
    job: &NewJob,
    limits: JobLimits,
    now: Timestamp,
) -> Result<(), Refused> {
    if find(transaction, &job.digest)?.is_some() {
        return Ok(());
    }
    let requester = job.request.requester.id.as_str();
    if open(transaction, requester, now)? >= limits.open_per_person {
        return Err(Refused::Quota { subject: "jobs", limit: limits.open_per_person });
    }
    if waiting(transaction, job.request.grant.id.as_str(), now)? >= limits.waiting_per_grant {
        return Err(Refused::Quota {
            subject: "jobs of the grant that wait",
            limit: limits.waiting_per_grant,
        });
    }
    insert(transaction, job, now)?;
    let submitted = Said { state: Some(State::Submitted), ..Said::default() };
    let job = find(transaction, &job.digest)?.ok_or(StoreError::Foreign("request"))?;
    Ok(events::append(transaction, &job, None, &submitted, now)?)
}

/// The state that its requester was shown last, of a job in the table `jobs`. `?1` is the moment. Quotas count by it: a
/// refusal would else tell, off the grid, that a job has moved.
const SHOWN: &str = "coalesce((SELECT events.state FROM events WHERE job = jobs.request AND visible_at <= ?1
                               ORDER BY event DESC LIMIT 1), 'SUBMITTED')";

fn open(transaction: &Transaction<'_>, requester: &str, now: Timestamp) -> Result<u64, StoreError> {
    let query = format!("SELECT {SHOWN} AS state FROM jobs WHERE requester = ?2");
    let mut query = transaction.prepare_cached(&query)?;
    let mut rows = query.query((now.seconds(), requester))?;
    let mut open = 0;
    while let Some(row) = rows.next()? {
        open += u64::from(!columns::state(row, "state")?.is_end());
    }
    Ok(open)
}

fn waiting(connection: &Connection, grant: &str, now: Timestamp) -> Result<u64, StoreError> {
    let query = format!("SELECT count(*) FROM jobs WHERE grant_id = ?2 AND {SHOWN} IN (?3, ?4, ?5)");
    let (submitted, reviewed, queued) = (State::Submitted, State::InCodeReview, State::Queued);
    let count: i64 = connection.query_row(
        &query,
        (now.seconds(), grant, submitted.word(), reviewed.word(), queued.word()),
        |row| row.get(0),
    )?;
    Ok(count.unsigned_abs())
}

fn insert(transaction: &Transaction<'_>, job: &NewJob, now: Timestamp) -> Result<(), StoreError> {
    let request = &job.request;
    let outputs: Vec<_> = request.outputs.iter().map(|output| output.path().as_str()).collect();
    transaction.execute(
        "INSERT INTO jobs (request, requester, grant_id, project, name, bundle, outputs, grid_seconds, run_seconds,
                           memory_bytes, cpus, created_at, state, entered, ended_unheard, last_number, last_step)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, (SELECT seconds FROM elapsed), 0, 0, 0)",
        (
            job.digest.as_bytes(),
            request.requester.id.as_str(),
            request.grant.id.as_str(),
            request.project.as_str(),
            request.job.as_str(),
            request.bundle.sha256.as_bytes(),
            outputs.join("\n"),
            columns::stored(job.grid_seconds, "grid_seconds")?,
            // A request may ask for any number of seconds; one that SQLite cannot hold waits as long as any other.
            i64::try_from(request.limits.seconds.0).unwrap_or(i64::MAX),
            i64::try_from(request.limits.memory_bytes.0).unwrap_or(i64::MAX),
            i64::try_from(request.limits.cpus.0).unwrap_or(i64::MAX),
            now.seconds(),
            State::Submitted.word(),
        ),
    )?;
    transaction.execute(
        "INSERT INTO submits (request, envelope, purpose, purpose_salt) VALUES (?1, ?2, ?3, ?4)",
        (job.digest.as_bytes(), &job.envelope, &job.purpose, job.purpose_salt),
    )?;
    Ok(())
}

pub(super) fn find(connection: &Connection, request: &Digest) -> Result<Option<Job>, StoreError> {
    let mut query = connection.prepare_cached("SELECT * FROM jobs WHERE request = ?1")?;
    let mut rows = query.query([request.as_bytes()])?;
    rows.next()?.map(job_of).transpose()
}

fn job_of(row: &Row<'_>) -> Result<Job, StoreError> {
    let outputs: String = row.get("outputs")?;
    let outputs = outputs.split('\n').map(|name| name.parse().map_err(|_| StoreError::Foreign("outputs")));
    Ok(Job {
        request: columns::digest(row, "request")?,
        outputs: outputs.collect::<Result<_, _>>()?,
        grid_seconds: row.get::<_, i64>("grid_seconds")?.max(1),
        run_seconds: columns::count(row, "run_seconds")?,
        state: columns::state(row, "state")?,
        entered: row.get("entered")?,
        ended_unheard: row.get("ended_unheard")?,
        last_number: columns::small(row, "last_number")?,
        last_step: columns::count(row, "last_step")?,
    })
}

/// Who asked for a job, and the state that it is in here.
pub fn standing(connection: &Connection, request: &Digest) -> Result<Option<(Name, State)>, StoreError> {
    let mut query = connection.prepare_cached("SELECT requester, state FROM jobs WHERE request = ?1")?;
    let mut rows = query.query([request.as_bytes()])?;
    rows.next()?.map(|row| Ok((columns::name(row, "requester")?, columns::state(row, "state")?))).transpose()
}

/// Who asked for a job, and under which grant.
pub fn named(connection: &Connection, request: &Digest) -> Result<Option<Named>, StoreError> {
    let mut query = connection.prepare_cached("SELECT requester, grant_id FROM jobs WHERE request = ?1")?;
    let mut rows = query.query([request.as_bytes()])?;
    let named = |row: &Row<'_>| {
        Ok(Named { requester: columns::name(row, "requester")?, grant: columns::name(row, "grant_id")? })
    };
    rows.next()?.map(named).transpose()
}

/// A person's job, as they see it now.
pub fn view(
    connection: &Connection,
    person: &Name,
    request: &Digest,
    now: Timestamp,
) -> Result<Option<JobView>, StoreError> {
    let mut query = connection.prepare_cached("SELECT * FROM jobs WHERE request = ?1 AND requester = ?2")?;
    let mut rows = query.query((request.as_bytes(), person.as_str()))?;
    rows.next()?.map(|row| view_of(connection, row, now)).transpose()
}

/// A person's jobs, the newest first, from before a place on.
pub fn list(
    connection: &Connection,
    person: &Name,
    before: i64,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<JobView>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT * FROM jobs WHERE requester = ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3",
    )?;
    let mut rows = query.query((person.as_str(), before, limit))?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(view_of(connection, row, now)?);
    }
    Ok(jobs)
}

fn view_of(connection: &Connection, row: &Row<'_>, now: Timestamp) -> Result<JobView, StoreError> {
    let request = columns::digest(row, "request")?;
    let last = events::last_visible(connection, &request, now)?.ok_or(StoreError::Foreign("events"))?;
    let place: i64 = row.get("place")?;
    let queue_place = match last.state {
        State::Submitted | State::Queued => {
            // No fresher than the grid of this job's own policy: others' jobs may be on a finer one.
            let grid = row.get::<_, i64>("grid_seconds")?.max(1);
            1 + queue::waiting_before(connection, &request, now.seconds() / grid * grid)?
        }
        _ => 0,
    };
    Ok(JobView {
        place,
        queue_place,
        cancel_requested: cancels::is_taken_in(connection, &request)?,
        request,
        project: columns::name(row, "project")?,
        name: columns::name(row, "name")?,
        limits: Limits {
            cpus: Count(columns::count(row, "cpus")?),
            memory_bytes: Count(columns::count(row, "memory_bytes")?),
            seconds: Count(columns::count(row, "run_seconds")?),
        },
        created_at: columns::moment(row, "created_at")?,
        last,
    })
}

/// True if a submit waits for this bundle.
pub fn is_awaited(connection: &Connection, bundle: &Digest) -> Result<bool, StoreError> {
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM submits JOIN jobs ON jobs.request = submits.request WHERE bundle = ?1",
        [bundle.as_bytes()],
        |row| row.get(0),
    )?;
    Ok(count > 0)
}

/// The bundle of a job.
pub fn bundle(connection: &Connection, request: &Digest) -> Result<Option<Digest>, StoreError> {
    let mut query = connection.prepare_cached("SELECT bundle FROM jobs WHERE request = ?1")?;
    let mut rows = query.query([request.as_bytes()])?;
    rows.next()?.map(|row| columns::digest(row, "bundle")).transpose()
}

pub(super) fn set_state(
    transaction: &Transaction<'_>,
    request: &Digest,
    state: State,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE jobs SET state = ?2, entered = (SELECT seconds FROM elapsed) WHERE request = ?1",
        (request.as_bytes(), state.word()),
    )?;
    if state != State::Submitted {
        transaction.execute("DELETE FROM submits WHERE request = ?1", [request.as_bytes()])?;
    }
    Ok(())
}

pub(super) fn set_reported(
    transaction: &Transaction<'_>,
    request: &Digest,
    number: u32,
    step: u64,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE jobs SET last_number = ?2, last_step = ?3 WHERE request = ?1",
        (request.as_bytes(), number, columns::stored(step, "last_step")?),
    )?;
    Ok(())
}

/// This room ended a job without a word of the enclave.
pub(super) fn set_ended_unheard(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    transaction.execute("UPDATE jobs SET ended_unheard = 1 WHERE request = ?1", [request.as_bytes()])?;
    Ok(())
}

/// Every job that has not ended.
pub(super) fn not_ended(connection: &Connection) -> Result<Vec<Job>, StoreError> {
    let mut query = connection.prepare_cached("SELECT * FROM jobs WHERE state = ?1")?;
    let mut found = Vec::new();
    for state in State::ALL.into_iter().filter(|state| !state.is_end()) {
        let mut rows = query.query([state.word()])?;
        while let Some(row) = rows.next()? {
            found.push(job_of(row)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, connection, take};

    #[test]
    fn a_grant_has_a_limited_number_of_jobs_that_wait_and_another_grant_its_own() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let first = take(&transaction, "many", 0, 0).unwrap();
        for number in 1..3 {
            take(&transaction, "many", number, 0).unwrap();
        }
        assert!(matches!(take(&transaction, "many", 3, 0), Err(Refused::Quota { limit: 3, .. })));
        take(&transaction, "few", 0, 0).unwrap();
        let found = find(&transaction, &first).unwrap().unwrap();
        let running = Said { state: Some(State::Running), ..Said::default() };
        events::append(&transaction, &found, None, &running, at(0)).unwrap();
        take(&transaction, "many", 3, 0).unwrap();
    }

    #[test]
    fn a_job_counts_for_the_quotas_as_long_as_it_is_shown_to() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let first = take(&transaction, "many", 0, 0).unwrap();
        let (person, grant) = ("researcher-mia", "many");
        let count = |seconds| {
            let open = open(&transaction, person, at(seconds)).unwrap();
            (open, waiting(&transaction, grant, at(seconds)).unwrap())
        };
        // Two reports that come in one step of ten minutes are shown in two.
        for (number, state, seconds) in
            [(1, State::Queued, 10), (2, State::Running, 20), (3, State::Failed, 30)]
        {
            let found = find(&transaction, &first).unwrap().unwrap();
            let said = Said { state: Some(state), ..Said::default() };
            events::append(&transaction, &found, Some(number), &said, at(seconds)).unwrap();
        }
        assert_eq!([30, 599, 600, 1199, 1200].map(count), [(1, 1), (1, 1), (1, 0), (1, 0), (0, 0)]);
    }
}
