//! What is kept of a review, and how it stands in a row.

use blobs::Digest;
use rusqlite::Row;

use super::places::Placed;

/// Where a review stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Approvals are awaited.
    Open,
    /// The policy blocked it.
    Blocked,
    /// Enough approvals are in; the signer and the witnesses are at work.
    Signing,
    /// A denial is in; the signer and the witnesses are at work.
    Denying,
    /// The release is a witnessed leaf.
    Released,
    /// The denial is a witnessed leaf.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// The job was called off before enough stewards had decided. Final.
    Withdrawn,
    /// Of code: enough approvals are in; the enclave counts them.
    Approving,
    /// Of code: the enclave counted enough, and the job may run. Final.
    Approved,
}

impl Standing {
    const WORDS: [(Self, &'static str); 10] = [
        (Self::Open, "open"),
        (Self::Blocked, "blocked"),
        (Self::Signing, "signing"),
        (Self::Denying, "denying"),
        (Self::Released, "released"),
        (Self::Denied, "denied"),
        (Self::Expired, "expired"),
        (Self::Withdrawn, "withdrawn"),
        (Self::Approving, "approving"),
        (Self::Approved, "approved"),
    ];

    pub(super) fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(standing, _)| *standing == self).map_or("", |(_, word)| word)
    }

    pub(super) fn from_word(word: &str) -> rusqlite::Result<Self> {
        let found = Self::WORDS.iter().find(|(_, own)| *own == word).map(|(standing, _)| *standing);
        found.ok_or(rusqlite::Error::InvalidQuery)
    }
}

/// What is under review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// What a run wrote: there is a verdict.
    Outputs,
    /// The code of a job that has not run: there is a request only.
    Code,
}

impl Subject {
    pub(super) fn of_verdict(envelope: &[u8]) -> Self {
        if envelope.is_empty() { Self::Code } else { Self::Outputs }
    }
}

/// One review.
#[derive(Debug, Clone)]
pub struct Review {
    /// Its place in the list of all reviews, the newest the largest.
    pub place: i64,
    /// Payload digest of the verdict, or of the request whose code is reviewed.
    pub verdict: Digest,
    /// What is under review.
    pub subject: Subject,
    /// Where it stands.
    pub standing: Standing,
    /// When the verdict came in, in seconds since 1970.
    pub received_at: i64,
    /// When the verdict expires, in seconds since 1970.
    pub expires_at: i64,
    /// Approvals taken in.
    pub approvals: u32,
    /// What kept the last decision from the log, by name; empty if nothing did.
    pub held_up_by: String,
}

/// The statements of one review.
#[derive(Debug, Clone)]
pub struct Statements {
    /// The verdict's envelope; empty in a review of code.
    pub verdict: Vec<u8>,
    /// The request's envelope.
    pub request: Vec<u8>,
    /// Digest of the sealed packet.
    pub packet: Digest,
    /// Approvals and denials, in the order in which they came.
    pub decisions: Vec<Vec<u8>>,
}

/// A verdict that comes in.
#[derive(Debug, Clone)]
pub struct NewReview<'a> {
    /// Payload digest of the verdict, or of the request whose code is reviewed.
    pub verdict: Digest,
    /// The verdict's envelope; empty in a review of code.
    pub verdict_envelope: &'a [u8],
    /// The request's envelope.
    pub request_envelope: &'a [u8],
    /// Digest of the sealed packet.
    pub packet: Digest,
    /// False if the policy blocked it.
    pub passed: bool,
    /// The stewards whom the packet is sealed to.
    pub reviewers: Vec<String>,
    /// Now, in seconds since 1970.
    pub received_at: i64,
    /// When the verdict expires.
    pub expires_at: i64,
    /// The place of its tables, if it has some that may leave.
    pub placed: Option<Placed>,
}

/// What the log says about a verdict, for the enclave.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Payload digest of the verdict, or of the request whose code is refused.
    pub verdict: Digest,
    /// What was under review.
    pub subject: Subject,
    /// True for a release, false for a denial.
    pub is_release: bool,
    /// The release file or denial file.
    pub file: Vec<u8>,
}

/// The columns of a [`Review`], in the order in which it is read.
pub(super) const REVIEW_COLUMNS: &str = "SELECT verdict, standing, received_at, expires_at,
    (SELECT count(*) FROM decisions WHERE decisions.verdict = reviews.verdict AND is_approval = 1), held_up_by,
    verdict_envelope, place
    FROM reviews";

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Ok(Digest::from_bytes(row.get(column)?))
}

pub(super) fn review_of_row(row: &Row<'_>) -> rusqlite::Result<Review> {
    Ok(Review {
        place: row.get(7)?,
        verdict: digest(row, 0)?,
        standing: Standing::from_word(&row.get::<_, String>(1)?)?,
        received_at: row.get(2)?,
        expires_at: row.get(3)?,
        approvals: row.get(4)?,
        held_up_by: row.get(5)?,
        subject: Subject::of_verdict(&row.get::<_, Vec<u8>>(6)?),
    })
}

pub(super) fn finished_of_row(row: &Row<'_>) -> rusqlite::Result<Finished> {
    let standing = Standing::from_word(&row.get::<_, String>(1)?)?;
    let subject = Subject::of_verdict(&row.get::<_, Vec<u8>>(3)?);
    let is_release = standing == Standing::Released;
    Ok(Finished { verdict: digest(row, 0)?, subject, is_release, file: row.get(2)? })
}
