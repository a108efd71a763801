//! Verdicts, and which of them the console holds.

use blobs::Digest;
use lifecycle::State;
use release::value::Timestamp;
use rusqlite::{Connection, Row, Transaction};

use super::{StoreError, columns};

/// A verdict that was signed.
#[derive(Debug, Clone)]
pub struct StoredVerdict {
    /// Its payload digest.
    pub verdict: Digest,
    /// The request that it is about.
    pub request: Digest,
    /// The run that it is about.
    pub run: u32,
    /// Its envelope.
    pub envelope: Vec<u8>,
    /// The sealed packet.
    pub packet: Digest,
    /// True for PASS, which reserved bits.
    pub passed: bool,
    /// After this it can be approved no more.
    pub expires: Timestamp,
    /// For so long the review may be open, in seconds in which the enclave runs. Then it counts as undecided, and its
    /// files are wiped.
    pub review_seconds: u64,
    /// The console holds it durably.
    pub taken: bool,
}

/// Stores a verdict.
pub fn insert(transaction: &Transaction<'_>, verdict: &StoredVerdict) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO verdicts (verdict, request, run, envelope, packet, passed, expires, review_seconds, taken)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        (
            verdict.verdict.as_bytes(),
            verdict.request.as_bytes(),
            verdict.run,
            &verdict.envelope,
            verdict.packet.as_bytes(),
            verdict.passed,
            verdict.expires.seconds(),
            columns::stored(verdict.review_seconds, "review_seconds")?,
            verdict.taken,
        ),
    )?;
    Ok(())
}

/// The verdict with this payload digest.
pub fn find(connection: &Connection, verdict: &Digest) -> Result<Option<StoredVerdict>, StoreError> {
    one(connection, "SELECT * FROM verdicts WHERE verdict = ?1", verdict)
}

/// The newest verdict about a request.
pub fn of_request(connection: &Connection, request: &Digest) -> Result<Option<StoredVerdict>, StoreError> {
    one(connection, "SELECT * FROM verdicts WHERE request = ?1 ORDER BY run DESC LIMIT 1", request)
}

/// A verdict with this packet.
pub fn of_packet(connection: &Connection, packet: &Digest) -> Result<Option<StoredVerdict>, StoreError> {
    one(connection, "SELECT * FROM verdicts WHERE packet = ?1 ORDER BY taken LIMIT 1", packet)
}

fn one(connection: &Connection, query: &str, digest: &Digest) -> Result<Option<StoredVerdict>, StoreError> {
    let mut query = connection.prepare_cached(query)?;
    let mut rows = query.query([digest.as_bytes()])?;
    rows.next()?.map(verdict_of).transpose()
}

/// Verdicts that the console does not hold yet.
pub fn not_taken(connection: &Connection) -> Result<Vec<StoredVerdict>, StoreError> {
    let mut query = connection.prepare_cached("SELECT * FROM verdicts WHERE taken = 0 LIMIT 1000")?;
    let mut rows = query.query([])?;
    let mut verdicts = Vec::new();
    while let Some(row) = rows.next()? {
        verdicts.push(verdict_of(row)?);
    }
    Ok(verdicts)
}

/// The console holds verdict and packet durably.
pub fn take(transaction: &Transaction<'_>, verdict: &Digest) -> Result<(), StoreError> {
    transaction.execute("UPDATE verdicts SET taken = 1 WHERE verdict = ?1", [verdict.as_bytes()])?;
    Ok(())
}

/// From now on the console is to withdraw the packet of this request's newest verdict.
pub fn withdraw(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    let Some(verdict) = of_request(transaction, request)? else { return Err(StoreError::Foreign("verdict")) };
    transaction
        .execute("UPDATE verdicts SET withdrawn = 1 WHERE verdict = ?1", [verdict.verdict.as_bytes()])?;
    Ok(())
}

/// The console has withdrawn the packet, or the log has decided about the verdict: there is nothing left to withdraw.
pub fn withdrawn(transaction: &Transaction<'_>, verdict: &Digest) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE verdicts SET withdrawn = 2 WHERE verdict = ?1 AND withdrawn = 1",
        [verdict.as_bytes()],
    )?;
    Ok(())
}

/// Verdicts whose packet the console is to withdraw: of jobs that were called off, while their review is open, and of
/// jobs that ended since their code was refused. One that the console has not taken
/// yet is handed over first: the console then knows what it withdraws.
pub fn to_withdraw(connection: &Connection) -> Result<Vec<Digest>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT verdict FROM verdicts JOIN jobs USING (request, run)
         WHERE withdrawn = 1 AND taken = 1 AND state IN (?1, ?2, ?3) LIMIT 1000",
    )?;
    let states = [State::InReview, State::Rejected, State::Returned].map(State::word);
    let mut rows = query.query(states)?;
    let mut verdicts = Vec::new();
    while let Some(row) = rows.next()? {
        verdicts.push(columns::digest(row, "verdict")?);
    }
    Ok(verdicts)
}

fn verdict_of(row: &Row<'_>) -> Result<StoredVerdict, StoreError> {
    Ok(StoredVerdict {
        verdict: columns::digest(row, "verdict")?,
        request: columns::digest(row, "request")?,
        run: columns::small(row, "run")?,
        envelope: row.get("envelope")?,
        packet: columns::digest(row, "packet")?,
        passed: row.get("passed")?,
        expires: columns::moment(row, "expires")?,
        review_seconds: columns::count(row, "review_seconds")?,
        taken: row.get("taken")?,
    })
}
