//! What decisions add up to: those of the log, and those that are taken together and not in it yet.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use release::differencing::{ComparedSet, ReleasedTables, is_placed};
use release::file::ReleaseFile;
use release::log::Leaf;
use release::log::socket::Outcome;
use release::statement::{Manifest, Verdict};
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

/// What one release adds to the sums, and to the tables that others are compared with.
#[derive(Debug)]
pub struct Released {
    request: Digest,
    grant: Name,
    datasets: Vec<Name>,
    bits: u64,
    tables: Option<ReleasedTables>,
}

/// What a manifest about a verdict on a run of this request adds. `waiting` as in [`ReleasedTables`].
pub fn released(manifest: &Manifest, verdict: &Verdict, request: Digest, waiting: ComparedSet) -> Released {
    let datasets = manifest.accounts.iter().map(|account| account.dataset.clone()).collect();
    let tables = is_placed(verdict).then(|| ReleasedTables {
        verdict: manifest.verdict.sha256,
        place: verdict.table_place.0,
        datasets: verdict.datasets.clone(),
        waiting,
    });
    Released { request, grant: manifest.grant.id.clone(), datasets, bits: manifest.released_bits.0, tables }
}

fn read_released(leaf: &Leaf, decision: &Decision) -> Result<Released, HistoryError> {
    let file = ReleaseFile::parse(decision.file.as_bytes()).map_err(|_| HistoryError::Evidence)?;
    let manifest: Manifest = file.manifest.unverified().map_err(|_| HistoryError::Evidence)?;
    if file.manifest.payload_digest() != leaf.payload() {
        return Err(HistoryError::Evidence);
    }
    let verdict: Verdict = file.verdict.unverified().map_err(|_| HistoryError::Evidence)?;
    let waiting = ComparedSet::new(decision.compared.iter().copied());
    Ok(released(&manifest, &verdict, file.request.payload_digest(), waiting))
}

/// Decisions and their sums.
#[derive(Debug, Default)]
pub struct Ledger {
    decisions: BTreeMap<Digest, Decided>,
    /// Requests of which a run was released.
    released_requests: BTreeSet<Digest>,
    /// For each grant and dataset, the bits of its releases.
    released: BTreeMap<Name, Bits>,
    /// Releases with tables.
    tables: Vec<ReleasedTables>,
}

impl Ledger {
    /// Adds a decision, and reads from its file what a release adds up to.
    ///
    /// # Errors
    /// If its file is not the leaf's, or its verdict is decided already.
    pub fn add(&mut self, leaf: &Leaf, decision: &Decision, index: u64) -> Result<(), HistoryError> {
        let released = match decision.outcome {
            Outcome::Release => Some(read_released(leaf, decision)?),
            Outcome::Denial | Outcome::CodeDenial => None,
        };
        self.insert(leaf, decision, index, released)
    }

    fn insert(
        &mut self,
        leaf: &Leaf,
        decision: &Decision,
        index: u64,
        released: Option<Released>,
    ) -> Result<(), HistoryError> {
        if let Some(new) = released {
            self.released_requests.insert(new.request);
            self.tables.extend(new.tables);
            let released = self.released.entry(new.grant).or_default();
            for dataset in new.datasets {
                let bits = released.entry(dataset).or_default();
                // At the largest number nothing is left, so stopping there gives nothing away.
                *bits = bits.saturating_add(new.bits);
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

    /// Releases with tables.
    pub fn tables(&self) -> &[ReleasedTables] {
        &self.tables
    }

    /// Forgets which releases have tables, as a rigged signer would.
    #[cfg(test)]
    pub fn forget_tables(&mut self) {
        self.tables.clear();
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

    /// Adds a decision; with a release, what it adds to the sums.
    ///
    /// # Errors
    /// If its verdict is decided already.
    pub fn add(
        &mut self,
        leaf: &Leaf,
        decision: Decision,
        released: Option<Released>,
    ) -> Result<(), HistoryError> {
        let index = self.begin + self.entries.len() as u64;
        self.ledger.insert(leaf, &decision, index, released)?;
        self.bytes += decision.file.len();
        self.entries.push(Entry { leaf: leaf.to_text(), content: Content::Decision(decision) });
        Ok(())
    }

    /// Bytes of its files.
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
