//! Reviews of code before a run: which the console holds, on which approvals a job came into the queue, and which
//! reviews the console is to close.

use api::v1::Reason;
use blobs::Digest;
use lifecycle::State;
use release::envelope::Envelope;
use release::path::ReviewedCode;
use release::value::Name;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::jobs::Move;
use super::{StoreError, columns};

/// Most reviews of code that may be open. Nothing is charged for a job under review, so nothing else bounds them.
const OPEN_LIMIT: i64 = 256;

/// Most of them under one grant: no project takes all.
const OPEN_OF_GRANT: i64 = 64;

/// A review that the console does not hold yet.
#[derive(Debug, Clone)]
pub struct NotTaken {
    /// Payload digest of the request.
    pub request: Digest,
    /// The request's envelope.
    pub envelope: Vec<u8>,
    /// The sealed packet.
    pub packet: Digest,
}

/// A review that the console is to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToClose {
    /// Payload digest of the request.
    pub request: Digest,
    /// True if enough approvals counted; else the job ended without.
    pub approved: bool,
}

/// True if one more may be opened under this grant.
pub fn has_room(connection: &Connection, grant: &Name) -> Result<bool, StoreError> {
    let query = "SELECT count(*), total(grant_id = ?2) FROM jobs WHERE state = ?1";
    let mut query = connection.prepare_cached(query)?;
    let (open, of_grant) = query.query_row((State::InCodeReview.word(), grant.as_str()), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)? as i64))
    })?;
    Ok(open < OPEN_LIMIT && of_grant < OPEN_OF_GRANT)
}

/// Opens the review of a job that was just stored.
pub fn insert(transaction: &Transaction<'_>, request: &Digest, packet: &Digest) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO code_reviews (request, packet) VALUES (?1, ?2)",
        (request.as_bytes(), packet.as_bytes()),
    )?;
    Ok(())
}

/// True if the code of this job was, or is, under review.
pub fn is_there(connection: &Connection, request: &Digest) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM code_reviews WHERE request = ?1")?;
    Ok(query.query_row([request.as_bytes()], |_| Ok(())).optional()?.is_some())
}

/// True if this packet is still to be taken by the console.
pub fn needs_packet(connection: &Connection, packet: &Digest) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT 1 FROM code_reviews JOIN jobs USING (request) WHERE packet = ?1 AND taken = 0 AND state = ?2",
    )?;
    let row = (packet.as_bytes(), State::InCodeReview.word());
    Ok(query.query_row(row, |_| Ok(())).optional()?.is_some())
}

/// Open reviews that the console does not hold yet.
pub fn not_taken(connection: &Connection) -> Result<Vec<NotTaken>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT request, envelope, packet FROM code_reviews JOIN jobs USING (request)
         WHERE taken = 0 AND state = ?1 LIMIT 1000",
    )?;
    let mut rows = query.query([State::InCodeReview.word()])?;
    let mut reviews = Vec::new();
    while let Some(row) = rows.next()? {
        reviews.push(NotTaken {
            request: columns::digest(row, "request")?,
            envelope: row.get("envelope")?,
            packet: columns::digest(row, "packet")?,
        });
    }
    Ok(reviews)
}

/// The console holds request and packet durably.
pub fn take(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    transaction.execute("UPDATE code_reviews SET taken = 1 WHERE request = ?1", [request.as_bytes()])?;
    Ok(())
}

/// Reviews that are over and that the console has not closed. One that it may hold without this room's knowing is
/// among them: it closes what it does not know, too.
pub fn to_close(connection: &Connection) -> Result<Vec<ToClose>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT request, EXISTS (SELECT 1 FROM code_approvals WHERE code_approvals.request = code_reviews.request)
             AS approved
         FROM code_reviews JOIN jobs USING (request) WHERE closed = 0 AND state != ?1 LIMIT 1000",
    )?;
    let mut rows = query.query([State::InCodeReview.word()])?;
    let mut reviews = Vec::new();
    while let Some(row) = rows.next()? {
        reviews.push(ToClose { request: columns::digest(row, "request")?, approved: row.get("approved")? });
    }
    Ok(reviews)
}

/// The console has closed a review. It cannot close one that is open.
pub fn close(transaction: &Transaction<'_>, request: &Digest) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE code_reviews SET closed = 1
         WHERE request = ?1 AND request IN (SELECT request FROM jobs WHERE state != ?2)",
        (request.as_bytes(), State::InCodeReview.word()),
    )?;
    Ok(())
}

/// Keeps the approvals on which a job comes into the queue.
pub fn keep_approvals(
    transaction: &Transaction<'_>,
    request: &Digest,
    reviewed: &ReviewedCode,
) -> Result<(), StoreError> {
    for approval in reviewed.approvals() {
        transaction.execute(
            "INSERT INTO code_approvals (request, steward, envelope) VALUES (?1, ?2, ?3)",
            (request.as_bytes(), approval.statement().steward.as_str(), approval.envelope().to_bytes()),
        )?;
    }
    Ok(())
}

/// Keeps the end that a refusal of its code gives a run which goes on. The first refusal counts.
pub fn keep_refusal(transaction: &Transaction<'_>, request: &Digest, end: &Move) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT OR IGNORE INTO code_refusals (request, state, denial_reasons) VALUES (?1, ?2, ?3)",
        (request.as_bytes(), end.to.word(), api::denial_reasons::to_bits(&end.denial_reasons)),
    )?;
    Ok(())
}

/// The end that a refusal of its code gave a run while it went on.
pub fn refusal(connection: &Connection, request: &Digest) -> Result<Option<Move>, StoreError> {
    let mut query = connection.prepare_cached("SELECT * FROM code_refusals WHERE request = ?1")?;
    let mut rows = query.query([request.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let denial_reasons = api::denial_reasons::from_bits(columns::small(row, "denial_reasons")?);
    let denial_reasons = denial_reasons.map_err(|_| StoreError::Foreign("denial_reasons"))?;
    let to = columns::state(row, "state")?;
    Ok(Some(Move { denial_reasons, ..Move::new(to, Reason::Steward) }))
}

/// The approvals on which a job came into the queue, by steward; none if its grant demands none.
pub fn approvals(connection: &Connection, request: &Digest) -> Result<Vec<Envelope>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT envelope FROM code_approvals WHERE request = ?1 ORDER BY steward")?;
    let mut rows = query.query([request.as_bytes()])?;
    let mut approvals = Vec::new();
    while let Some(row) = rows.next()? {
        let envelope = Envelope::parse(&row.get::<_, Vec<u8>>("envelope")?);
        approvals.push(envelope.map_err(|_| StoreError::Foreign("code_approvals"))?);
    }
    Ok(approvals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::jobs::{Submission, insert_admitted, testing};
    use crate::store::testing::store;

    #[test]
    fn one_grant_takes_no_more_than_its_share_of_the_reviews_and_another_one_has_room() {
        let (_directory, store) = store();
        let room = |grant: &'static str| {
            let grant = grant.parse().unwrap();
            store.read(move |connection| has_room(connection, &grant)).unwrap()
        };
        let open = |grant: &'static str, number: i64| {
            let opened = store.change(move |transaction| {
                let request = Digest::of(format!("{grant} {number}").as_bytes());
                let (purpose, purpose_salt) = (String::new(), [0; 32]);
                let submission = Submission { request, envelope: vec![], purpose, purpose_salt };
                let asked = testing::asked(grant, request);
                insert_admitted(transaction, &submission, &asked, State::InCodeReview, testing::at(0))
            });
            opened.unwrap();
        };
        for number in 0..OPEN_OF_GRANT {
            assert!(room("many"), "{number}");
            open("many", number);
        }
        assert!(!room("many") && room("few"));
        for (grant, number) in
            ["second", "third"].into_iter().flat_map(|grant| (0..64).map(move |at| (grant, at)))
        {
            open(grant, number);
        }
        (0..63).for_each(|number| open("fourth", number));
        assert!(room("few"));
        open("fourth", 63);
        assert!(!room("few"), "the whole has a limit, too");
    }
}
