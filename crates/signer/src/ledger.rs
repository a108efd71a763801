//! What decisions add up to: those of the log, and those that are taken together and not in it yet.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use release::file::ReleaseFile;
use release::json;
use release::log::Leaf;
use release::log::socket::Outcome;
use release::statement::Manifest;
use release::value::Name;

use crate::history::HistoryError;
use crate::state::{Content, Decision, Entry};

/// A decision that is a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Which.
    pub outcome: Outcome,
    /// Index of the leaf.
    pub index: u64,
    /// Payload digest of the manifest or the denial.
    pub payload: Digest,
}

/// Bits by dataset.
pub type Bits = BTreeMap<Name, u64>;

/// Decisions and their sums.
#[derive(Debug, Default)]
pub struct Ledger {
    decisions: BTreeMap<Digest, Decided>,
    /// Requests of which a run was released.
    released_requests: BTreeSet<Digest>,
    /// For each grant and dataset, the bits of its releases.
    released: BTreeMap<Name, Bits>,
}

impl Ledger {
    /// Adds a decision.
    ///
    /// # Errors
    /// If its file is not the leaf's, or its verdict is decided already.
    pub fn add(&mut self, leaf: &Leaf, decision: &Decision, index: u64) -> Result<(), HistoryError> {
        if decision.outcome == Outcome::Release {
            let file = ReleaseFile::parse(decision.file.as_bytes()).map_err(|_| HistoryError::Evidence)?;
            let manifest: Manifest = file.manifest.unverified().map_err(|_| HistoryError::Evidence)?;
            if file.manifest.payload_digest() != leaf.payload() {
                return Err(HistoryError::Evidence);
            }
            self.released_requests.insert(file.request.payload_digest());
            let released = self.released.entry(manifest.grant.id).or_default();
            for account in manifest.accounts {
                let bits = released.entry(account.dataset).or_default();
                // At the largest number nothing is left, so stopping there gives nothing away.
                *bits = bits.saturating_add(manifest.released_bits.0);
            }
        }
        let decided = Decided { outcome: decision.outcome, index, payload: leaf.payload() };
        match self.decisions.insert(decision.verdict, decided) {
            None => Ok(()),
            // One decision for each verdict, ever.
            Some(_) => Err(HistoryError::Evidence),
        }
    }

    /// The decision about a verdict, or about a request's code.
    pub fn decided(&self, verdict: &Digest) -> Option<&Decided> {
        self.decisions.get(verdict)
    }

    /// Every decision.
    pub fn decisions(&self) -> impl Iterator<Item = (&Digest, &Decided)> {
        self.decisions.iter()
    }

    /// True if a run of this request was released.
    pub fn is_released(&self, request: &Digest) -> bool {
        self.released_requests.contains(request)
    }

    /// Bits that releases under a grant have spent of each dataset.
    pub fn released(&self, grant: &Name) -> Bits {
        self.released.get(grant).cloned().unwrap_or_default()
    }

    /// Forgets what was released, as a rigged signer would.
    #[cfg(test)]
    pub fn forget_released(&mut self) {
        self.released.clear();
    }
}

/// Decisions that are taken together: each is weighed with those before it, and all become leaves in one step.
#[derive(Debug)]
pub struct Batch {
    /// Size of the log before it.
    begin: u64,
    ledger: Ledger,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    /// An empty one, behind a log of this size.
    pub fn behind(begin: u64) -> Self {
        Self { begin, ledger: Ledger::default(), entries: Vec::new(), bytes: 0 }
    }

    /// Adds a decision.
    ///
    /// # Errors
    /// As [`Ledger::add`].
    pub fn add(&mut self, leaf: String, decision: Decision) -> Result<(), HistoryError> {
        let entry = Entry { leaf, content: Content::Decision(decision) };
        if let Content::Decision(decision) = &entry.content {
            let index = self.begin + self.entries.len() as u64;
            self.ledger.add(&entry.parsed_leaf()?, decision, index)?;
        }
        self.bytes += json::to_bytes(&entry).len();
        self.entries.push(entry);
        Ok(())
    }

    /// Bytes of its entries as they are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is in it.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Its entries, in their order.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

/// The sum by dataset.
pub fn sum(mut left: Bits, right: Bits) -> Bits {
    for (dataset, more) in right {
        let bits = left.entry(dataset).or_default();
        *bits = bits.saturating_add(more);
    }
    left
}
