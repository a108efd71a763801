//! Which verdicts have tables that others were compared with. A verdict says its place and the digest of its set; the set
//! itself is what the console has of earlier places.

use std::collections::BTreeSet;

use blobs::Digest;
use release::statement::Verdict;
use release::value::Name;
use rusqlite::{Transaction, params};

use super::Store;
use super::review::digest;

/// The place of a verdict with tables, in the order in which they were compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its place, from 1.
    pub place: u64,
    /// The datasets that its run saw.
    pub datasets: Vec<Name>,
}

impl Placed {
    /// The place of a verdict that was checked; none if it has none.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        let datasets = verdict.datasets.iter().map(|dataset| dataset.name.clone()).collect();
        release::differencing::is_placed(verdict).then_some(Self { place: verdict.table_place.0, datasets })
    }

    fn stored(&self) -> i64 {
        // A place is at most 2^20, which was checked with the verdict.
        i64::try_from(self.place).unwrap_or(i64::MAX)
    }
}

/// Keeps a place, with its review.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    verdict: &Digest,
    placed: &Placed,
) -> rusqlite::Result<()> {
    for dataset in &placed.datasets {
        transaction.execute(
            "INSERT OR IGNORE INTO table_places VALUES (?1, ?2, ?3)",
            params![dataset.as_str(), placed.stored(), verdict.as_bytes()],
        )?;
    }
    Ok(())
}

impl Store {
    /// The verdicts of an earlier place that share a dataset with this one, sorted.
    pub fn compared_with(&self, placed: &Placed) -> rusqlite::Result<Vec<Digest>> {
        self.with(|connection| {
            let mut query = connection
                .prepare_cached("SELECT verdict FROM table_places WHERE dataset = ?1 AND place < ?2")?;
            let mut found = BTreeSet::new();
            for dataset in &placed.datasets {
                let rows =
                    query.query_map(params![dataset.as_str(), placed.stored()], |row| digest(row, 0))?;
                for verdict in rows {
                    found.insert(verdict?);
                }
            }
            Ok(found.into_iter().collect())
        })
    }
}
