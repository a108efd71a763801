//! Verdicts with tables that may leave, in the order in which they were compared, and where their tables lie.

use blobs::Digest;
use lifecycle::State;
use release::differencing::ComparedSet;
use release::value::Name;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{StoreError, columns};

/// A table of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTable {
    /// Index of the declared output.
    pub output: usize,
    /// The canonical table.
    pub table: Digest,
    /// Its counts before rounding.
    pub counts: Digest,
    /// Bytes of both.
    pub bytes: u64,
}

/// A table that left or may leave.
#[derive(Debug, Clone)]
pub struct EarlierTable {
    /// The envelope of the request of its job.
    pub request: Vec<u8>,
    /// Where it lies.
    pub kept: KeptTable,
}

/// Of a job that may release what a verdict names, or has.
const IS_LIVE: &str = "jobs.run = verdicts.run AND jobs.state IN (?1, ?2, ?3)";

fn live() -> [&'static str; 3] {
    [State::InReview, State::Approved, State::Released].map(State::word)
}

/// The place of the next verdict.
pub fn next_place(connection: &Connection) -> Result<u64, StoreError> {
    let mut query = connection.prepare_cached("SELECT COALESCE(MAX(place), 0) AS last FROM table_places")?;
    let last = query.query_row([], |row| Ok(columns::count(row, "last")))??;
    Ok(last.saturating_add(1))
}

/// The verdicts that one on these datasets is compared with: all that have a place, also those whose job is over. Each is
/// handed to the console until it has it, and the console makes the set from what it has.
pub fn set(connection: &Connection, datasets: &[Name]) -> Result<ComparedSet, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT verdict FROM table_datasets JOIN table_places USING (place) WHERE dataset = ?1",
    )?;
    let mut found = Vec::new();
    for dataset in datasets {
        let mut rows = query.query([dataset.as_str()])?;
        while let Some(row) = rows.next()? {
            found.push(columns::digest(row, "verdict")?);
        }
    }
    Ok(ComparedSet::new(found))
}

/// The tables of these datasets that left or may leave, the latest first.
pub fn earlier(connection: &Connection, datasets: &[Name]) -> Result<Vec<EarlierTable>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT place, output, sealed, counts, bytes, jobs.envelope AS request_envelope
         FROM table_datasets JOIN table_places USING (place) JOIN tables USING (place)
         JOIN verdicts USING (verdict) JOIN jobs USING (request)
         WHERE dataset = ?4 AND {IS_LIVE}"
    ))?;
    let mut found = std::collections::BTreeMap::new();
    for dataset in datasets {
        let [one, two, three] = live();
        let mut rows = query.query((one, two, three, dataset.as_str()))?;
        while let Some(row) = rows.next()? {
            let (place, output) = (columns::count(row, "place")?, columns::small(row, "output")?);
            let kept = KeptTable {
                output: output as usize,
                table: columns::digest(row, "sealed")?,
                counts: columns::digest(row, "counts")?,
                bytes: columns::count(row, "bytes")?,
            };
            let table = EarlierTable { request: row.get("request_envelope")?, kept };
            found.insert((std::cmp::Reverse(place), output), table);
        }
    }
    Ok(found.into_values().collect())
}

/// Gives a verdict its place.
pub fn insert(
    transaction: &Transaction<'_>,
    place: u64,
    verdict: &Digest,
    datasets: &[Name],
    tables: &[KeptTable],
) -> Result<(), StoreError> {
    let place = columns::stored(place, "place")?;
    transaction
        .execute("INSERT INTO table_places (place, verdict) VALUES (?1, ?2)", (place, verdict.as_bytes()))?;
    for dataset in datasets {
        transaction.execute(
            "INSERT INTO table_datasets (place, dataset) VALUES (?1, ?2)",
            (place, dataset.as_str()),
        )?;
    }
    for kept in tables {
        transaction.execute(
            "INSERT INTO tables (place, output, sealed, counts, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                place,
                columns::stored(kept.output as u64, "output")?,
                kept.table.as_bytes(),
                kept.counts.as_bytes(),
                columns::stored(kept.bytes, "bytes")?,
            ),
        )?;
    }
    Ok(())
}

/// True if a file is a table, or its counts, that later ones are compared with.
pub fn is_needed(connection: &Connection, file: &Digest) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT 1 FROM tables JOIN table_places USING (place) JOIN verdicts USING (verdict)
         JOIN jobs USING (request) WHERE (sealed = ?4 OR counts = ?4) AND {IS_LIVE} LIMIT 1"
    ))?;
    let [one, two, three] = live();
    Ok(query.query_row((one, two, three, file.as_bytes()), |_| Ok(())).optional()?.is_some())
}
