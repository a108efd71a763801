//! The gateway's queue, its copies of bundles and what it serves.

use std::collections::BTreeMap;

use blobs::Digest;
use lifecycle::State;

use super::enclave::Jobs;
use super::log::Log;
use super::places::{Database, Places, database, digest, is_whole, rows};
use super::{LOOKS_EVERY, Report, Rule};
use crate::failure::Failure;

/// Examines the gateway.
pub fn examine(places: &Places, log: &Log, enclave: &Jobs, report: &mut Report) -> Result<(), Failure> {
    let Some(store) = database(&places.gateway.join("queue.db"), report)? else { return Ok(()) };
    bundles(&store, places, report)?;
    states(&store, enclave, report)?;
    limits(&store, report)?;
    served(&store, places, log, report)
}

/// What the enclave has not taken yet was acknowledged to somebody: its bundle is there.
fn bundles(store: &Database, places: &Places, report: &mut Report) -> Result<(), Failure> {
    let query = "SELECT request, bundle FROM submits JOIN jobs USING (request)";
    for (request, bundle) in rows(store, query, |row| Ok((digest(row, "request")?, digest(row, "bundle")?)))?
    {
        let whole =
            is_whole(&places.gateway.join("bundles"), &bundle) || is_whole(&places.to_enclave, &bundle);
        report.check(whole, Rule::Bundle, || format!("the bundle of job {request} is not whole"));
    }
    let query = "SELECT sha256, person, committed, whole FROM uploads";
    for (bundle, person, committed, done) in rows(store, query, |row| {
        let committed: i64 = row.get("committed")?;
        Ok((digest(row, "sha256")?, row.get::<_, String>("person")?, committed, row.get::<_, bool>("whole")?))
    })? {
        let part = places.gateway.join("uploads").join(format!("{person}.{bundle}"));
        let there = std::fs::metadata(&part).map_or(0, |found| found.len() as i64);
        let kept = if done { is_whole(&places.gateway.join("bundles"), &bundle) } else { there >= committed };
        report.check(kept, Rule::Bundle, || format!("upload {bundle} has lost bytes that were acknowledged"));
    }
    Ok(())
}

/// The events of each job move along the table, and the enclave knows every job that it is said to have taken.
fn states(store: &Database, enclave: &Jobs, report: &mut Report) -> Result<(), Failure> {
    let mut events: BTreeMap<Digest, Vec<(i64, State)>> = BTreeMap::new();
    for (job, number, state) in
        rows(store, "SELECT job, event, state FROM events ORDER BY job, event", |row| {
            let state: String = row.get("state")?;
            let state = State::from_word(&state).ok_or(rusqlite::Error::InvalidQuery)?;
            Ok((digest(row, "job")?, row.get::<_, i64>("event")?, state))
        })?
    {
        events.entry(job).or_default().push((number, state));
    }
    for (job, events) in events {
        for (at, (number, _)) in events.iter().enumerate() {
            report.check(*number == at as i64 + 1, Rule::States, || {
                format!("an event of job {job} is missing")
            });
        }
        for pair in events.windows(2) {
            let (from, to) = (pair[0].1, pair[1].1);
            // An end that the gateway gave to a silent enclave's job gives way to what the log says.
            let logged = from.is_end() && matches!(to, State::Approved | State::Released);
            let allowed = from == to || logged || lifecycle::transition(from, to).is_ok();
            report.check(allowed, Rule::States, || format!("job {job} moved from {from} to {to}"));
        }
        let last = events.last().map_or(State::Submitted, |(_, state)| *state);
        let own = matches!(last, State::Submitted | State::Cancelled | State::Expired | State::Refused);
        report.check(own || enclave.contains_key(&job), Rule::States, || {
            format!("job {job} is {last} here, and the enclave does not know it")
        });
        let ended = enclave.get(&job).map(|job| job.state);
        report.check(last != State::Released || ended == Some(State::Released), Rule::States, || {
            format!("job {job} is released here and not in the enclave")
        });
    }
    Ok(())
}

/// A job of which nothing is heard for too long is ended.
fn limits(store: &Database, report: &mut Report) -> Result<(), Failure> {
    let query = "SELECT request, state, run_seconds, grid_seconds,
                     (SELECT seconds FROM elapsed) - entered AS waited FROM jobs";
    for (request, state, run, grid, waited) in rows(store, query, |row| {
        let state: String = row.get("state")?;
        let state = State::from_word(&state).ok_or(rusqlite::Error::InvalidQuery)?;
        let count = |column| row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0));
        Ok((digest(row, "request")?, state, count("run_seconds")?, count("grid_seconds")?, count("waited")?))
    })? {
        let limit = state.view_limit_seconds(run, grid);
        let within = limit.is_none_or(|limit| waited <= limit.saturating_add(LOOKS_EVERY));
        report.check(within, Rule::Limit, || {
            format!("job {request} has been {state} for {waited} s of the gateway's time")
        });
    }
    Ok(())
}

/// What is served stands in a verified release, whole.
fn served(store: &Database, places: &Places, log: &Log, report: &mut Report) -> Result<(), Failure> {
    let directory = places.gateway.join("served");
    let query = "SELECT release, release_file FROM releases";
    for (release, file) in
        rows(store, query, |row| Ok((digest(row, "release")?, digest(row, "release_file")?)))?
    {
        let bytes = std::fs::read(directory.join(file.to_string())).unwrap_or_default();
        let found = if Digest::of(&bytes) == file { log.verify(&bytes) } else { Err("not whole".to_owned()) };
        report.check(found.is_ok(), Rule::Outbox, || {
            format!(
                "release {release} is served and is not one of the log's: {}",
                found.err().unwrap_or_default()
            )
        });
    }
    for file in rows(store, "SELECT sha256 FROM released_files", |row| digest(row, "sha256"))? {
        report.check(is_whole(&directory, &file), Rule::Outbox, || format!("{file} is served and not whole"));
    }
    Ok(())
}
