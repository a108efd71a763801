//! Jobs and what the enclave has not answered yet.

use blobs::Digest;
use lifecycle::State;
use release::statement::Request;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, Row, Transaction};
use server::Refused;

use super::events::{self, Event, Said};
use super::{StoreError, columns};

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
    pub(super) state: State,
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
    /// When the request was taken in.
    pub created_at: Timestamp,
    /// The last event.
    pub last: Event,
}

/// A submit to be sent to the enclave.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Payload digest of the request.
    pub request: Digest,
    /// The bundle that it names.
    pub bundle: Digest,
    /// The request's envelope.
    pub envelope: Vec<u8>,
    /// The purpose.
    pub purpose: String,
    /// Its salt.
    pub purpose_salt: Vec<u8>,
}

/// Takes a job in as SUBMITTED. At most `limit` jobs of a person have not ended. A repeat does nothing.
pub fn take_in(
    transaction: &Transaction<'_>,
    job: &NewJob,
    limit: u64,
    now: Timestamp,
) -> Result<(), Refused> {
    if find(transaction, &job.digest)?.is_some() {
        return Ok(());
    }
    let requester = job.request.requester.id.as_str();
    if open(transaction, requester)? >= limit {
        return Err(Refused::Quota { subject: "jobs", limit });
    }
    insert(transaction, job, now)?;
    let submitted = Said { state: Some(State::Submitted), ..Said::default() };
    let job = find(transaction, &job.digest)?.ok_or(StoreError::Foreign("request"))?;
    Ok(events::append(transaction, &job, None, &submitted, now)?)
}

fn open(transaction: &Transaction<'_>, requester: &str) -> Result<u64, StoreError> {
    let mut query = transaction.prepare_cached("SELECT state FROM jobs WHERE requester = ?1")?;
    let mut rows = query.query([requester])?;
    let mut open = 0;
    while let Some(row) = rows.next()? {
        open += u64::from(!columns::state(row, "state")?.is_end());
    }
    Ok(open)
}

fn insert(transaction: &Transaction<'_>, job: &NewJob, now: Timestamp) -> Result<(), StoreError> {
    let request = &job.request;
    let outputs: Vec<_> = request.outputs.iter().map(|output| output.path().as_str()).collect();
    transaction.execute(
        "INSERT INTO jobs (request, requester, project, name, bundle, outputs, grid_seconds, created_at, state,
                           last_number, last_step)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0)",
        (
            job.digest.as_bytes(),
            request.requester.id.as_str(),
            request.project.as_str(),
            request.job.as_str(),
            request.bundle.sha256.as_bytes(),
            outputs.join("\n"),
            columns::stored(job.grid_seconds, "grid_seconds")?,
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
        state: columns::state(row, "state")?,
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
    Ok(JobView {
        place: row.get("place")?,
        request,
        project: columns::name(row, "project")?,
        name: columns::name(row, "name")?,
        created_at: columns::moment(row, "created_at")?,
        last: events::last_visible(connection, &request, now)?.ok_or(StoreError::Foreign("events"))?,
    })
}

/// What the enclave has not answered yet, the oldest first.
pub fn unanswered(connection: &Connection) -> Result<Vec<Submit>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT submits.*, bundle FROM submits JOIN jobs ON jobs.request = submits.request ORDER BY place LIMIT 1000",
    )?;
    let mut rows = query.query([])?;
    let mut submits = Vec::new();
    while let Some(row) = rows.next()? {
        submits.push(Submit {
            request: columns::digest(row, "request")?,
            bundle: columns::digest(row, "bundle")?,
            envelope: row.get("envelope")?,
            purpose: row.get("purpose")?,
            purpose_salt: row.get("purpose_salt")?,
        });
    }
    Ok(submits)
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
    transaction
        .execute("UPDATE jobs SET state = ?2 WHERE request = ?1", (request.as_bytes(), state.word()))?;
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

/// Jobs that are SUBMITTED since before a moment.
pub(super) fn submitted_before(
    connection: &Connection,
    moment: Timestamp,
) -> Result<Vec<Digest>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT request FROM jobs WHERE state = ?1 AND created_at < ?2")?;
    let mut rows = query.query((State::Submitted.word(), moment.seconds()))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(columns::digest(row, "request")?);
    }
    Ok(found)
}
