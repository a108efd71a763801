//! Events of jobs: what the enclave reports, checked against the table of states, and when a researcher may see it.

use api::v1::Reason;
use api::{Answer, Failure, Transition, Use};
use blobs::Digest;
use lifecycle::{HandOver, MoveError, Owner, State};
use release::rule::Rule;
use release::statement::DenialReason;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, Row, Transaction};

use super::jobs::{self, Job};
use super::{StoreError, columns, elapsed};

/// One event of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// From 1, without gaps.
    pub event: u64,
    /// Which run it is about.
    pub run: u32,
    /// The state reached.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The first rule that forbade the release.
    pub rule: Option<Rule>,
    /// The declared output that it was about.
    pub file: Option<Name>,
    /// Why a steward refused.
    pub denial_reasons: Vec<DenialReason>,
    /// Where a Python program failed.
    pub failure: Option<Failure>,
    /// What the run used.
    pub used: Use,
    /// When, on the time grid.
    pub at: Timestamp,
    /// From when on it may be seen.
    pub visible_at: Timestamp,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is stored.
    New,
    /// It was stored before, or changes nothing any more.
    Already,
}

/// A report that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is about a job that was never submitted here.
    #[error("a report about a job that is not known")]
    UnknownJob,
    /// A number is missing before it.
    #[error("a report's number does not follow the one before")]
    Gap,
    /// Its number came before with another content.
    #[error("a report came before with another content")]
    Differs,
    /// Its step of the grid does not lie after that of the report before.
    #[error("a report's grid step does not lie after the one before")]
    Step,
    /// The move is not in the table.
    #[error("a report of a move that is not in the table")]
    Move(#[from] MoveError),
    /// The move is not one that the enclave reports.
    #[error("a report of a move that is not the enclave's to report")]
    NotTheirs,
    /// It names an output that the request does not declare.
    #[error("a report about an output that was not declared")]
    Output,
    /// The store failed.
    #[error("the report could not be stored")]
    Store(#[from] StoreError),
}

/// What an event says; what is left out says nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) state: Option<State>,
    pub(super) run: u32,
    pub(super) reason: Reason,
    pub(super) rule: Option<Rule>,
    pub(super) file: Option<Name>,
    pub(super) denial_reasons: Vec<DenialReason>,
    pub(super) failure: Option<Failure>,
    pub(super) used: Use,
}

/// Takes the enclave's answer to a submit, which is the move from SUBMITTED.
pub fn take_answer(
    transaction: &Transaction<'_>,
    answer: &Answer,
    now: Timestamp,
) -> Result<Taken, NotTaken> {
    let job = jobs::find(transaction, &answer.request)?.ok_or(NotTaken::UnknownJob)?;
    if job.state != State::Submitted {
        return Ok(Taken::Already);
    }
    let said =
        Said { state: Some(answer.admission.state()), reason: answer.admission.reason(), ..Said::default() };
    append(transaction, &job, None, &said, now)?;
    Ok(Taken::New)
}

/// Takes a move that the enclave reports.
pub fn take_transition(
    transaction: &Transaction<'_>,
    report: &Transition,
    now: Timestamp,
) -> Result<Taken, NotTaken> {
    let job = jobs::find(transaction, &report.request)?.ok_or(NotTaken::UnknownJob)?;
    if report.number <= job.last_number {
        return repeat(transaction, &job, report);
    }
    if report.number != job.last_number + 1 {
        return Err(NotTaken::Gap);
    }
    if job.last_number > 0 && report.grid_step <= job.last_step {
        return Err(NotTaken::Step);
    }
    // What the log decided, or this room, stands; the report is taken so that it is not sent for ever.
    let is_late = job.state == State::Released && matches!(report.state, State::Approved | State::Released);
    let decided = is_late || job.ended_unheard;
    if decided {
        jobs::set_reported(transaction, &job.request, report.number, report.grid_step)?;
        return Ok(Taken::Already);
    }
    let row = lifecycle::transition(job.state, report.state)?;
    let theirs = row.owner != Owner::Gateway && row.hand_over != HandOver::Submit;
    // Only a release that this room verified itself makes a job RELEASED.
    if !theirs || report.state == State::Released {
        return Err(NotTaken::NotTheirs);
    }
    append(transaction, &job, Some(report.number), &passed_on(&job, report)?, now)?;
    jobs::set_reported(transaction, &job.request, report.number, report.grid_step)?;
    Ok(Taken::New)
}

fn repeat(transaction: &Transaction<'_>, job: &Job, report: &Transition) -> Result<Taken, NotTaken> {
    let mut query = transaction
        .prepare_cached("SELECT * FROM events WHERE job = ?1 AND number = ?2")
        .map_err(StoreError::from)?;
    let mut rows = query.query((job.request.as_bytes(), report.number)).map_err(StoreError::from)?;
    let Some(row) = rows.next().map_err(StoreError::from)? else { return Ok(Taken::Already) };
    let first = event_of(row)?;
    let said = passed_on(job, report)?;
    let same = said.state == Some(first.state)
        && (said.run, said.reason, said.rule) == (first.run, first.reason, first.rule)
        && (said.file, said.denial_reasons) == (first.file, first.denial_reasons)
        && (said.failure, said.used) == (first.failure, first.used);
    if same { Ok(Taken::Already) } else { Err(NotTaken::Differs) }
}

/// The part of a report that a researcher may see. One run is charged for one answer, so a state that is not the
/// answer to a run says nothing but itself, and only a steward's refusal says why a steward refused.
fn passed_on(job: &Job, report: &Transition) -> Result<Said, NotTaken> {
    let file = report.output.map(|output| job.outputs.get(output as usize).cloned().ok_or(NotTaken::Output));
    let file = file.transpose()?;
    let mut said =
        Said { state: Some(report.state), run: report.run, reason: report.reason, ..Said::default() };
    match report.state {
        State::Submitted | State::Running | State::Approved | State::Released => {
            said.reason = Reason::Unspecified;
        }
        State::Failed => {
            said.rule = report.rule;
            said.file = file;
            said.failure = report.failure;
            said.used = report.used;
        }
        State::Blocked => {
            said.rule = report.rule;
            said.file = file;
            said.used = report.used;
        }
        State::InReview => said.used = report.used,
        State::Rejected | State::Returned => said.denial_reasons.clone_from(&report.denial_reasons),
        State::InCodeReview | State::Queued | State::Refused => {}
        State::Cancelled | State::Expired | State::Lost => {}
    }
    Ok(said)
}

/// Appends an event and moves the job. A report is seen in a step of the grid of its own, by this room's clock.
pub(super) fn append(
    transaction: &Transaction<'_>,
    job: &Job,
    number: Option<u32>,
    said: &Said,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last = last(transaction, &job.request)?;
    let reported_before = reported_at(transaction, &job.request)?;
    let grid = job.grid_seconds;
    let next_step = reported_before.map_or(0, |seen| (seen.seconds() / grid + 1) * grid);
    let earliest = if number.is_some() { next_step } else { 0 };
    let visible = now.seconds().max(last.as_ref().map_or(0, |last| last.visible_at.seconds())).max(earliest);
    // The time of what the box reports is a step of the grid, not a moment.
    let at = if number.is_some() { visible / grid * grid } else { visible };
    let state = said.state.ok_or(StoreError::Foreign("state"))?;
    let run = said.run.max(last.as_ref().map_or(0, |last| last.run));
    transaction.execute(
        "INSERT INTO events (job, event, number, run, state, reason, rule, file, denial_reasons, failure, used,
             at, visible_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        (
            job.request.as_bytes(),
            columns::stored(last.map_or(1, |last| last.event + 1), "event")?,
            number,
            run,
            state.word(),
            said.reason as i32,
            said.rule.map(Rule::id),
            said.file.as_ref().map(Name::as_str),
            api::denial_reasons::to_bits(&said.denial_reasons),
            said.failure.map(Failure::to_bits),
            said.used.to_bits(),
            at,
            visible,
        ),
    )?;
    jobs::set_state(transaction, &job.request, state)
}

/// The log says that a job is released; so it was approved, whether or not that was reported. It overrules an end that
/// no verdict and no leaf of the log made.
pub(super) fn release(transaction: &Transaction<'_>, job: &Job, now: Timestamp) -> Result<(), StoreError> {
    let steps: &[State] = match job.state {
        State::InReview => &[State::Approved, State::Released],
        state if state.yields_to_release() => &[State::Released],
        _ => return Err(StoreError::Foreign("state")),
    };
    for to in steps {
        append(transaction, job, None, &Said { state: Some(*to), ..Said::default() }, now)?;
    }
    Ok(())
}

/// A job that this room ended because nothing was heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unheard {
    /// The job.
    pub job: Digest,
    /// The state in which nothing was heard.
    pub state: State,
}

/// Ends jobs of which nothing was heard within the limit of a view, and says which.
pub fn end_unheard(transaction: &Transaction<'_>, now: Timestamp) -> Result<Vec<Unheard>, StoreError> {
    let elapsed = elapsed::seconds(transaction)?;
    let mut ended = Vec::new();
    for job in jobs::not_ended(transaction)? {
        let limit = job.state.view_limit_seconds(job.run_seconds, job.grid_seconds.unsigned_abs());
        let (Some(limit), Some(end)) = (limit, job.state.unheard_end()) else { continue };
        let waited = elapsed.saturating_sub(job.entered);
        if waited < 0 || waited.unsigned_abs() <= limit {
            continue;
        }
        let reason = if job.state == State::Submitted { Reason::Undecided } else { Reason::Unheard };
        append(transaction, &job, None, &Said { state: Some(end), reason, ..Said::default() }, now)?;
        jobs::set_ended_unheard(transaction, &job.request)?;
        ended.push(Unheard { job: job.request, state: job.state });
    }
    Ok(ended)
}

fn last(connection: &Connection, job: &Digest) -> Result<Option<Event>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT * FROM events WHERE job = ?1 ORDER BY event DESC LIMIT 1")?;
    let mut rows = query.query([job.as_bytes()])?;
    rows.next()?.map(event_of).transpose()
}

fn reported_at(connection: &Connection, job: &Digest) -> Result<Option<Timestamp>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT visible_at FROM events WHERE job = ?1 AND number IS NOT NULL ORDER BY event DESC LIMIT 1",
    )?;
    let mut rows = query.query([job.as_bytes()])?;
    rows.next()?.map(|row| columns::moment(row, "visible_at")).transpose()
}

/// The last event that may be seen now.
pub(super) fn last_visible(
    connection: &Connection,
    job: &Digest,
    now: Timestamp,
) -> Result<Option<Event>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT * FROM events WHERE job = ?1 AND visible_at <= ?2 ORDER BY event DESC LIMIT 1",
    )?;
    let mut rows = query.query((job.as_bytes(), now.seconds()))?;
    rows.next()?.map(event_of).transpose()
}

/// Every event after a number, also those that may not be seen yet.
pub fn after(connection: &Connection, job: &Digest, after: u64) -> Result<Vec<Event>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT * FROM events WHERE job = ?1 AND event > ?2 ORDER BY event")?;
    let mut rows = query.query((job.as_bytes(), columns::stored(after, "after_event")?))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event_of(row)?);
    }
    Ok(events)
}

fn event_of(row: &Row<'_>) -> Result<Event, StoreError> {
    let rule: Option<String> = row.get("rule")?;
    let file: Option<String> = row.get("file")?;
    let failure: Option<u32> = row.get("failure")?;
    let failure = failure.map(Failure::from_bits).transpose();
    let denial_reasons = api::denial_reasons::from_bits(columns::small(row, "denial_reasons")?);
    Ok(Event {
        event: columns::count(row, "event")?,
        run: columns::small(row, "run")?,
        state: columns::state(row, "state")?,
        reason: columns::reason(row, "reason")?,
        rule: rule.map(|id| Rule::from_id(&id).ok_or(StoreError::Foreign("rule"))).transpose()?,
        file: file.map(|name| name.parse().map_err(|_| StoreError::Foreign("file"))).transpose()?,
        denial_reasons: denial_reasons.map_err(|_| StoreError::Foreign("denial_reasons"))?,
        failure: failure.map_err(|_| StoreError::Foreign("failure"))?,
        used: Use::from_bits(columns::small(row, "used")?).map_err(|_| StoreError::Foreign("used"))?,
        at: columns::moment(row, "at")?,
        visible_at: columns::moment(row, "visible_at")?,
    })
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
