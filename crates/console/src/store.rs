//! `reviews.db`: verdicts, decisions and what became of them. Whoever controls this file can hide a review or show an
//! old one; they cannot read a packet, forge an approval or swallow a denial unnoticed, since a denial counts only as
//! a witnessed leaf of the log and the steward's own tool waits for that proof.

mod code;
mod places;
mod review;

use std::path::Path;
use std::sync::Mutex;

use blobs::Digest;
use rusqlite::{Connection, OptionalExtension, params};

pub use self::places::Placed;
pub use self::review::{Finished, NewReview, Review, Standing, Statements, Subject};
use self::review::{REVIEW_COLUMNS, digest, finished_of_row, review_of_row};

/// The database, with one writer.
#[derive(Debug)]
pub struct Store(Mutex<Connection>);

const SCHEMA: &str = "
    CREATE TABLE reviews (
        place INTEGER PRIMARY KEY AUTOINCREMENT, verdict BLOB NOT NULL UNIQUE, verdict_envelope BLOB NOT NULL, request_envelope BLOB NOT NULL, packet BLOB NOT NULL,
        standing TEXT NOT NULL, received_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
        held_up_by TEXT NOT NULL DEFAULT '', file BLOB, taken INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE reviewers (
        verdict BLOB NOT NULL, steward TEXT NOT NULL, PRIMARY KEY (verdict, steward)
    ) STRICT;
    CREATE TABLE decisions (
        verdict BLOB NOT NULL, steward TEXT NOT NULL, is_approval INTEGER NOT NULL, envelope BLOB NOT NULL,
        received_at INTEGER NOT NULL, PRIMARY KEY (verdict, steward, is_approval)
    ) STRICT;
    CREATE TABLE code_sets (
        evidence BLOB PRIMARY KEY, request BLOB NOT NULL, approvals BLOB NOT NULL
    ) STRICT;
    CREATE TABLE table_places (
        dataset TEXT NOT NULL, place INTEGER NOT NULL, verdict BLOB NOT NULL, PRIMARY KEY (dataset, place, verdict)
    ) STRICT;
    CREATE TABLE seen (one INTEGER PRIMARY KEY CHECK (one = 1), versions BLOB NOT NULL) STRICT;
";

/// The schema that this program knows.
const VERSION: i64 = 5;

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite says no.
    #[error("reviews.db cannot be opened")]
    Sql(#[from] rusqlite::Error),
    /// Another version of this program wrote it. Guessing at what its columns mean could lose a denial.
    #[error("reviews.db has schema version {found}, and this console knows version {VERSION} only")]
    Schema {
        /// The version that was found.
        found: i64,
    },
}

impl Store {
    /// Opens or makes the database.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What was acknowledged to a steward must survive a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction()?;
        match transaction.query_row("PRAGMA user_version", [], |row| row.get(0))? {
            VERSION => {}
            0 => {
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            found => return Err(OpenError::Schema { found }),
        }
        transaction.commit()?;
        Ok(Self(Mutex::new(connection)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        // A panic while the lock was held left a transaction that SQLite rolls back; the connection is sound.
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Takes a verdict in; a repeat changes nothing.
    pub fn add_review(&self, review: &NewReview<'_>) -> rusqlite::Result<()> {
        let standing = if review.passed { Standing::Open } else { Standing::Blocked };
        self.with(|connection| {
            let transaction = connection.transaction()?;
            let added = transaction.execute(
                "INSERT OR IGNORE INTO reviews (verdict, verdict_envelope, request_envelope, packet, standing,
                 received_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    review.verdict.as_bytes(), review.verdict_envelope, review.request_envelope,
                    review.packet.as_bytes(), standing.word(), review.received_at, review.expires_at
                ],
            )?;
            if added == 1 {
                for steward in &review.reviewers {
                    transaction.execute(
                        "INSERT INTO reviewers VALUES (?1, ?2)",
                        params![review.verdict.as_bytes(), steward],
                    )?;
                }
                if let Some(placed) = &review.placed {
                    places::insert(&transaction, &review.verdict, placed)?;
                }
            }
            transaction.commit()
        })
    }

    /// Reviews that are sealed to a steward, the newest first: at most `limit` after `skip`.
    pub fn reviews_of(&self, steward: &str, before: i64, limit: u32) -> rusqlite::Result<Vec<Review>> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "{REVIEW_COLUMNS} JOIN reviewers USING (verdict) WHERE steward = ?1 AND place < ?2
                 ORDER BY place DESC LIMIT ?3"
            ))?;
            let rows = statement.query_map(params![steward, before, limit], review_of_row)?;
            rows.collect()
        })
    }

    /// One review, if it is sealed to this steward.
    pub fn review_of(&self, verdict: &Digest, steward: &str) -> rusqlite::Result<Option<Review>> {
        self.with(|connection| {
            connection
                .query_row(
                    &format!(
                        "{REVIEW_COLUMNS} JOIN reviewers USING (verdict) WHERE verdict = ?1 AND steward = ?2"
                    ),
                    params![verdict.as_bytes(), steward],
                    review_of_row,
                )
                .optional()
        })
    }

    /// Where a review stands.
    pub fn standing_of(&self, verdict: &Digest) -> rusqlite::Result<Option<Standing>> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT standing FROM reviews WHERE verdict = ?1")?;
            let found =
                statement.query_row([verdict.as_bytes()], |row| row.get::<_, String>(0)).optional()?;
            found.map(|word| Standing::from_word(&word)).transpose()
        })
    }

    /// Every review that stands so.
    pub fn standing(&self, standing: Standing) -> rusqlite::Result<Vec<Review>> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("{REVIEW_COLUMNS} WHERE standing = ?1"))?;
            let rows = statement.query_map([standing.word()], review_of_row)?;
            rows.collect()
        })
    }

    /// The statements of a review.
    pub fn statements(&self, verdict: &Digest) -> rusqlite::Result<Option<Statements>> {
        self.with(|connection| {
            let found = connection
                .query_row(
                    "SELECT verdict_envelope, request_envelope, packet FROM reviews WHERE verdict = ?1",
                    [verdict.as_bytes()],
                    |row| Ok((row.get(0)?, row.get(1)?, digest(row, 2)?)),
                )
                .optional()?;
            let Some((verdict_envelope, request, packet)) = found else { return Ok(None) };
            let decisions = decisions(connection, verdict, None)?;
            Ok(Some(Statements { verdict: verdict_envelope, request, packet, decisions }))
        })
    }

    /// The approvals of a verdict, or its denials.
    pub fn decisions(&self, verdict: &Digest, approvals: bool) -> rusqlite::Result<Vec<Vec<u8>>> {
        self.with(|connection| decisions(connection, verdict, Some(approvals)))
    }

    /// Takes a decision in and moves the review on. A further one of the same steward takes the place of the first,
    /// which may have expired or been made under older roles: kept, it would have the signer refuse all.
    pub fn add_decision(
        &self,
        verdict: &Digest,
        steward: &str,
        is_approval: bool,
        envelope: &[u8],
        now: i64,
        then: Standing,
    ) -> rusqlite::Result<()> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO decisions VALUES (?1, ?2, ?3, ?4, ?5)",
                params![verdict.as_bytes(), steward, is_approval, envelope, now],
            )?;
            transaction.execute(
                &format!("UPDATE reviews SET standing = ?2, held_up_by = '' WHERE {MAY_MOVE}"),
                params![verdict.as_bytes(), then.word()],
            )?;
            transaction.commit()
        })
    }

    /// Moves a review that the log has not decided. Code that was approved can still be refused; nothing else follows an
    /// approval.
    pub fn set_standing(&self, verdict: &Digest, standing: Standing) -> rusqlite::Result<()> {
        self.with(|connection| {
            connection.execute(
                &format!("UPDATE reviews SET standing = ?2 WHERE {MAY_MOVE}"),
                params![verdict.as_bytes(), standing.word()],
            )?;
            Ok(())
        })
    }

    /// Keeps what holds a decision up, by name.
    pub fn set_held_up(&self, verdict: &Digest, by: &str) -> rusqlite::Result<()> {
        self.with(|connection| {
            connection.execute(
                "UPDATE reviews SET held_up_by = ?2 WHERE verdict = ?1 AND file IS NULL",
                params![verdict.as_bytes(), by],
            )?;
            Ok(())
        })
    }

    /// True if there is such a review and nothing can be decided about it any more.
    pub fn has_ended(&self, verdict: &Digest) -> rusqlite::Result<bool> {
        self.with(|connection| {
            let standing: Option<String> = connection
                .query_row("SELECT standing FROM reviews WHERE verdict = ?1", [verdict.as_bytes()], |row| {
                    row.get(0)
                })
                .optional()?;
            let ended = [
                Standing::Released,
                Standing::Denied,
                Standing::Expired,
                Standing::Withdrawn,
                Standing::Approved,
            ];
            Ok(standing.is_some_and(|word| ended.iter().any(|standing| standing.word() == word)))
        })
    }

    /// Withdraws a review whose job was called off. False if a decision is on its way to the log, or there: it wins.
    /// A review that is not known has nothing to withdraw.
    pub fn withdraw(&self, verdict: &Digest) -> rusqlite::Result<bool> {
        self.with(|connection| {
            connection.execute(
                "UPDATE reviews SET standing = 'withdrawn'
                 WHERE verdict = ?1 AND file IS NULL AND standing NOT IN ('signing', 'denying', 'approving', 'approved')",
                [verdict.as_bytes()],
            )?;
            let standing: Option<String> = connection
                .query_row("SELECT standing FROM reviews WHERE verdict = ?1", [verdict.as_bytes()], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(standing.is_none_or(|word| word == Standing::Withdrawn.word()))
        })
    }

    /// Keeps what the log says about a verdict. It is final.
    pub fn finish(&self, finished: &Finished) -> rusqlite::Result<()> {
        let standing = if finished.is_release { Standing::Released } else { Standing::Denied };
        self.with(|connection| {
            connection.execute(
                "UPDATE reviews SET standing = ?2, file = ?3, held_up_by = '' WHERE verdict = ?1 AND file IS NULL",
                params![finished.verdict.as_bytes(), standing.word(), finished.file],
            )?;
            Ok(())
        })
    }

    /// What the log says about a verdict, once it does.
    pub fn finished(&self, verdict: &Digest) -> rusqlite::Result<Option<Finished>> {
        self.with(|connection| {
            connection
                .query_row(
                    "SELECT verdict, standing, file, verdict_envelope FROM reviews
                     WHERE verdict = ?1 AND file IS NOT NULL",
                    [verdict.as_bytes()],
                    finished_of_row,
                )
                .optional()
        })
    }

    /// What the enclave has not acknowledged yet.
    pub fn not_taken(&self) -> rusqlite::Result<Vec<Finished>> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT verdict, standing, file, verdict_envelope FROM reviews WHERE file IS NOT NULL AND taken = 0",
            )?;
            let rows = statement.query_map([], finished_of_row)?;
            rows.collect()
        })
    }

    /// The enclave holds it.
    pub fn taken(&self, verdict: &Digest) -> rusqlite::Result<()> {
        self.with(|connection| {
            connection
                .execute("UPDATE reviews SET taken = 1 WHERE verdict = ?1", [verdict.as_bytes()])
                .map(drop)
        })
    }

    /// The highest versions of site statements ever seen, as bytes.
    pub fn seen(&self) -> rusqlite::Result<Option<Vec<u8>>> {
        self.with(|connection| {
            connection.query_row("SELECT versions FROM seen", [], |row| row.get(0)).optional()
        })
    }

    /// Keeps them.
    pub fn set_seen(&self, versions: &[u8]) -> rusqlite::Result<()> {
        self.with(|connection| {
            connection.execute("INSERT OR REPLACE INTO seen VALUES (1, ?1)", [versions]).map(drop)
        })
    }
}

/// True of a review `?1` that may come to stand as `?2`. Code can still be refused once it was approved, and once its job
/// has ended: the refusal is to become a leaf whoever acted on it first.
const MAY_MOVE: &str = "verdict = ?1 AND file IS NULL
    AND (standing NOT IN ('withdrawn', 'approved') OR (?2 = 'denying' AND verdict_envelope = x''))";

fn decisions(
    connection: &Connection,
    verdict: &Digest,
    approvals: Option<bool>,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = connection.prepare_cached(
        "SELECT envelope FROM decisions WHERE verdict = ?1 AND (?2 IS NULL OR is_approval = ?2)
         ORDER BY received_at, steward",
    )?;
    let rows = statement.query_map(params![verdict.as_bytes(), approvals], |row| row.get(0))?;
    rows.collect()
}

#[cfg(test)]
mod tests;
