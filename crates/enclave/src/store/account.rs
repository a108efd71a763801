//! The account: what each grant has spent of each dataset.
//!
//! Every run is charged `answer_bits` before it starts, lost runs included, and never gets them back. A PASS verdict
//! reserves `release_bits`; a logged release spends the reservation, a denial or the verdict's expiry frees it. Two
//! limits count: the grant's for the dataset, and the dataset's own, over all grants, of its catalogue entry.
//!
//! A run whose question asks for noise is charged that noise's ρ in the same transaction, and never gets it back either: a
//! run that was lost has drawn its noise, and the next one draws anew. Its limit is the dataset's own alone, over all
//! snapshots, grants and requesters.

use std::collections::BTreeMap;

use blobs::Digest;
use release::account::Balance;
use release::statement::DatasetGrant;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, Row, Transaction};

use super::{StoreError, columns, head};

/// Why an account does not allow something.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Too few answer bits are left.
    #[error("the account has too few answer bits left")]
    AnswerBits,
    /// Too few release bits are left.
    #[error("the account has too few release bits left")]
    ReleaseBits,
    /// Too little is left of the privacy of the dataset's units.
    #[error("too little of the dataset's privacy budget is left")]
    Privacy,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an entry of the account does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Spends answer bits before a run.
    Answer,
    /// Sets release bits aside for a PASS verdict.
    Reserve,
    /// A logged release spends what was set aside.
    Spend,
    /// A denial or expiry gives back what was set aside.
    Free,
    /// Spends of the privacy of a dataset's units before a run: its bits are millionths of ρ.
    Privacy,
}

impl Entry {
    const ALL: [Self; 5] = [Self::Answer, Self::Reserve, Self::Spend, Self::Free, Self::Privacy];

    fn word(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Reserve => "reserve",
            Self::Spend => "spend",
            Self::Free => "free",
            Self::Privacy => "privacy",
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEntry {
    /// What it does.
    pub kind: Entry,
    /// Of which dataset.
    pub dataset: Name,
    /// Under which grant.
    pub grant: Name,
    /// How many bits.
    pub bits: u64,
    /// For which request.
    pub request: Digest,
    /// For which of its runs.
    pub run: u32,
    /// When.
    pub at: Timestamp,
}

impl AccountEntry {
    /// The text that is hashed into the head.
    pub fn text(&self) -> String {
        let Self { kind, dataset, grant, bits, request, run, at } = self;
        format!("{} {dataset} {grant} {bits} {request} {run} {at}", kind.word())
    }
}

/// What a run is charged to: the grant, and for each dataset the grant's limits and the dataset's own.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The grant.
    pub grant: Name,
    /// For each dataset of the job the two limits.
    pub datasets: BTreeMap<Name, DatasetLimits>,
    /// What the noise of a run costs, in millionths of ρ; none if the request asks for none.
    pub rho: Option<u64>,
}

/// The two limits of one dataset.
#[derive(Debug, Clone, Copy)]
pub struct DatasetLimits {
    /// What the grant allows.
    pub grant: DatasetGrant,
    /// What the catalogue allows all grants together.
    pub dataset: DatasetGrant,
    /// What the catalogue allows all answers with noise together, in millionths of ρ.
    pub privacy: u64,
}

/// Which run of which request an entry is about, and when it is made.
#[derive(Debug, Clone, Copy)]
pub struct Occasion {
    /// The request.
    pub request: Digest,
    /// Its run.
    pub run: u32,
    /// The moment.
    pub at: Timestamp,
}

/// Charges what a run costs before it begins: answer bits of every dataset, in full for each, and the ρ of its noise.
pub fn charge_run(
    transaction: &Transaction<'_>,
    limits: &Limits,
    bits: u64,
    occasion: Occasion,
) -> Result<(), AccountError> {
    // All is asked before anything is charged, so that a refusal leaves the transaction usable.
    if let Some(rho) = limits.rho {
        ask_privacy(transaction, limits, rho)?;
    }
    for (sums, limit) in sums_and_limits(transaction, limits)? {
        let balance = Balance::new(limit.answer_bits.0, sums.answered, 0);
        balance.charge_answer(bits).map_err(|_| AccountError::AnswerBits)?;
    }
    append_each(transaction, limits, Entry::Answer, bits, occasion)?;
    match limits.rho {
        Some(rho) => append_each(transaction, limits, Entry::Privacy, rho, occasion),
        None => Ok(()),
    }
}

fn ask_privacy(transaction: &Transaction<'_>, limits: &Limits, rho: u64) -> Result<(), AccountError> {
    for (dataset, limit) in &limits.datasets {
        let spent = privacy_spent(transaction, dataset)?;
        Balance::new(limit.privacy, spent, 0).charge_answer(rho).map_err(|_| AccountError::Privacy)?;
    }
    Ok(())
}

/// What all runs so far were charged of the privacy of a dataset's units, in millionths of ρ.
pub fn privacy_spent(connection: &Connection, dataset: &Name) -> Result<u64, StoreError> {
    sum_of(connection, dataset, None, Entry::Privacy)
}

/// Sets release bits of every dataset aside, in full for each.
pub fn reserve_release(
    transaction: &Transaction<'_>,
    limits: &Limits,
    bits: u64,
    occasion: Occasion,
) -> Result<(), AccountError> {
    for (sums, limit) in sums_and_limits(transaction, limits)? {
        let balance = Balance::new(limit.release_bits.0, sums.released, sums.reserved);
        balance.reserve_release(bits).map_err(|_| AccountError::ReleaseBits)?;
    }
    append_each(transaction, limits, Entry::Reserve, bits, occasion)
}

/// Of each dataset what was spent and set aside, beside what is allowed: under the grant, then under all of them.
fn sums_and_limits(
    connection: &Connection,
    limits: &Limits,
) -> Result<Vec<(Sums, DatasetGrant)>, StoreError> {
    let mut all = Vec::new();
    for (dataset, limit) in &limits.datasets {
        all.push((sums(connection, dataset, Some(&limits.grant))?, limit.grant));
        all.push((sums(connection, dataset, None)?, limit.dataset));
    }
    Ok(all)
}

fn append_each(
    transaction: &Transaction<'_>,
    limits: &Limits,
    kind: Entry,
    bits: u64,
    occasion: Occasion,
) -> Result<(), AccountError> {
    for dataset in limits.datasets.keys() {
        let (dataset, grant) = (dataset.clone(), limits.grant.clone());
        let Occasion { request, run, at } = occasion;
        append(transaction, &AccountEntry { kind, dataset, grant, bits, request, run, at })?;
    }
    Ok(())
}

/// Turns what is set aside for a run into what is spent, for good. True if something was set aside.
pub fn spend(transaction: &Transaction<'_>, occasion: Occasion) -> Result<bool, StoreError> {
    settle(transaction, occasion, Entry::Spend)
}

/// Gives back what is set aside for a run. True if something was set aside.
pub fn free(transaction: &Transaction<'_>, occasion: Occasion) -> Result<bool, StoreError> {
    settle(transaction, occasion, Entry::Free)
}

fn settle(transaction: &Transaction<'_>, occasion: Occasion, kind: Entry) -> Result<bool, StoreError> {
    let mut open = open_reservations(transaction, occasion)?;
    open.retain(|entry| entry.bits > 0);
    for entry in &open {
        append(transaction, &AccountEntry { kind, at: occasion.at, ..entry.clone() })?;
    }
    Ok(!open.is_empty())
}

/// Records a release whose reservation was freed before it arrived. What has left is spent, whatever the limit says.
pub fn spend_late(transaction: &Transaction<'_>, occasion: Occasion) -> Result<(), StoreError> {
    for reserved in entries_of_run(transaction, occasion, Entry::Reserve)? {
        for kind in [Entry::Reserve, Entry::Spend] {
            append(transaction, &AccountEntry { kind, at: occasion.at, ..reserved.clone() })?;
        }
    }
    Ok(())
}

/// True if a release of this run was spent.
pub fn is_spent(connection: &Connection, occasion: Occasion) -> Result<bool, StoreError> {
    Ok(!entries_of_run(connection, occasion, Entry::Spend)?.is_empty())
}

fn open_reservations(connection: &Connection, occasion: Occasion) -> Result<Vec<AccountEntry>, StoreError> {
    let mut open = entries_of_run(connection, occasion, Entry::Reserve)?;
    for settled in [Entry::Spend, Entry::Free] {
        for entry in entries_of_run(connection, occasion, settled)? {
            if let Some(reserved) = open.iter_mut().find(|open| open.dataset == entry.dataset) {
                reserved.bits = reserved.bits.saturating_sub(entry.bits);
            }
        }
    }
    Ok(open)
}

fn entries_of_run(
    connection: &Connection,
    occasion: Occasion,
    kind: Entry,
) -> Result<Vec<AccountEntry>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT * FROM account WHERE request = ?1 AND run = ?2 AND kind = ?3 ORDER BY number",
    )?;
    let mut rows = query.query((occasion.request.as_bytes(), occasion.run, kind.word()))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry_of(row)?);
    }
    Ok(entries)
}

/// What was spent and set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Answer bits spent.
    pub answered: u64,
    /// Release bits set aside, not yet spent or freed.
    pub reserved: u64,
    /// Release bits spent.
    pub released: u64,
}

/// The sums of a dataset, under one grant or under all.
pub fn sums(connection: &Connection, dataset: &Name, grant: Option<&Name>) -> Result<Sums, StoreError> {
    let of = |kind: Entry| sum_of(connection, dataset, grant, kind);
    let released = of(Entry::Spend)?;
    let settled = released.checked_add(of(Entry::Free)?).ok_or(StoreError::Foreign("bits"))?;
    let reserved = of(Entry::Reserve)?.checked_sub(settled).ok_or(StoreError::Foreign("bits"))?;
    Ok(Sums { answered: of(Entry::Answer)?, reserved, released })
}

fn sum_of(
    connection: &Connection,
    dataset: &Name,
    grant: Option<&Name>,
    kind: Entry,
) -> Result<u64, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT coalesce(sum(bits), 0) FROM account
         WHERE dataset = ?1 AND (?2 IS NULL OR grant_id = ?2) AND kind = ?3",
    )?;
    let sum: i64 =
        query.query_row((dataset.as_str(), grant.map(Name::as_str), kind.word()), |row| row.get(0))?;
    u64::try_from(sum).map_err(|_| StoreError::Foreign("bits"))
}

fn append(transaction: &Transaction<'_>, entry: &AccountEntry) -> Result<(), StoreError> {
    let head = head::of(transaction)?.after(&entry.text());
    transaction
        .prepare_cached(
            "INSERT INTO account (number, kind, dataset, grant_id, bits, request, run, at, head)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            columns::stored(head.entries, "number")?,
            entry.kind.word(),
            entry.dataset.as_str(),
            entry.grant.as_str(),
            columns::stored(entry.bits, "bits")?,
            entry.request.as_bytes(),
            entry.run,
            entry.at.seconds(),
            head.hash.as_bytes(),
        ))?;
    Ok(())
}

/// An entry as a row holds it.
pub fn entry_of(row: &Row<'_>) -> Result<AccountEntry, StoreError> {
    let name = |column: &'static str| -> Result<Name, StoreError> {
        row.get::<_, String>(column)?.parse().map_err(|_| StoreError::Foreign(column))
    };
    let word: String = row.get("kind")?;
    let kind = Entry::ALL.into_iter().find(|kind| kind.word() == word);
    Ok(AccountEntry {
        kind: kind.ok_or(StoreError::Foreign("kind"))?,
        dataset: name("dataset")?,
        grant: name("grant_id")?,
        bits: columns::count(row, "bits")?,
        request: columns::digest(row, "request")?,
        run: columns::small(row, "run")?,
        at: columns::moment(row, "at")?,
    })
}

#[cfg(test)]
mod tests;
