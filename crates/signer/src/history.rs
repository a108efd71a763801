//! The log in memory: the tree, and what its leaves have decided.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use release::account::grants_within;
use release::envelope::Envelope;
use release::log::merkle::leaf_hash;
use release::log::tiles::{self, TILE_WIDTH, Tile};
use release::log::{Event, Leaf, Tree};
use release::site::Site;
use release::statement::{CatalogueEntry, DatasetGrant, Grant};
use release::value::{Count, Name};

use crate::ledger::Ledger;
use crate::places::Places;
use crate::state::{Content, Decision, Entry, Head, StateError, read_decision, read_file};

/// A log that cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file cannot be read.
    #[error("a file of the log is not accepted")]
    State(#[from] StateError),
    /// A bundle of entries is missing or cut short.
    #[error("entries of the log are missing or cut short")]
    Entries,
    /// The entries do not lead to the root that was signed.
    #[error("the entries of the log do not lead to the root that was signed")]
    Root,
    /// A leaf for which the statement is not kept.
    #[error("the log has a leaf whose statement is not kept")]
    Evidence,
}

/// The log as far as it is complete on disk.
#[derive(Debug, Default)]
pub struct History {
    tree: Tree,
    /// Leaves of the last bundle that is not full: the next one repeats them.
    last_bundle: Vec<String>,
    statements: BTreeSet<Digest>,
    ledger: Ledger,
    granted: Granted,
}

impl History {
    /// Reads a log of this head from disk and checks every entry against the root.
    pub fn load(places: &Places, head: &Head) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        let decisions = decisions_by_leaf(places)?;
        for bundle in tiles::bundles(head.size.0) {
            let bytes = read_file(&places.tile(&bundle))?.ok_or(HistoryError::Entries)?;
            for leaf in tiles::read_bundle(&bytes, bundle.width).map_err(|_| HistoryError::Entries)? {
                let text = String::from_utf8(leaf).map_err(|_| HistoryError::Entries)?;
                history.take_in(places, &decisions, text)?;
            }
        }
        if history.head() == *head { Ok(history) } else { Err(HistoryError::Root) }
    }

    fn take_in(
        &mut self,
        places: &Places,
        decisions: &BTreeMap<String, Decision>,
        text: String,
    ) -> Result<(), HistoryError> {
        let leaf = Leaf::parse(text.as_bytes()).map_err(|_| HistoryError::Entries)?;
        let content = match places.statement(leaf.event(), &leaf.payload()) {
            Some(path) => {
                let bytes = read_file(&path)?.ok_or(HistoryError::Evidence)?;
                let statement = Envelope::parse(&bytes).map_err(|_| HistoryError::Evidence)?;
                Content::Statement(crate::state::SiteStatement { statement, policy_file: String::new() })
            }
            None => Content::Decision(decisions.get(&text).cloned().ok_or(HistoryError::Evidence)?),
        };
        self.push(&Entry { leaf: text, content })
    }

    /// Takes in an entry that is complete on disk.
    pub fn push(&mut self, entry: &Entry) -> Result<(), HistoryError> {
        let leaf = entry.parsed_leaf()?;
        let index = self.tree.append(leaf_hash(entry.leaf.as_bytes()));
        if index.is_multiple_of(TILE_WIDTH) {
            self.last_bundle.clear();
        }
        self.last_bundle.push(entry.leaf.clone());
        match &entry.content {
            Content::Statement(statement) => self.push_statement(&leaf, &statement.statement),
            Content::Decision(decision) => self.ledger.add(&leaf, decision, index),
        }
    }

    fn push_statement(&mut self, leaf: &Leaf, statement: &Envelope) -> Result<(), HistoryError> {
        if statement.payload_digest() != leaf.payload() {
            return Err(HistoryError::Evidence);
        }
        self.statements.insert(leaf.payload());
        if leaf.event() == Event::Grant {
            let grant: Grant = statement.unverified().map_err(|_| HistoryError::Evidence)?;
            self.granted.add(&grant);
        }
        Ok(())
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The head.
    pub fn head(&self) -> Head {
        Head { size: Count(self.tree.size()), root: self.tree.root() }
    }

    /// The head after these leaves.
    pub fn head_with<'a>(&self, leaves: impl Iterator<Item = &'a String>) -> Head {
        let mut tree = self.tree.clone();
        for leaf in leaves {
            tree.append(leaf_hash(leaf.as_bytes()));
        }
        Head { size: Count(tree.size()), root: tree.root() }
    }

    /// The leaves of the last bundle, if it is not full: the next one repeats them.
    pub fn unfinished_bundle(&self) -> &[String] {
        if self.tree.size().is_multiple_of(TILE_WIDTH) { &[] } else { &self.last_bundle }
    }

    /// The files that the log has and did not have at size `old`. `leaves` are those from the beginning of the
    /// bundle in which that size lies.
    pub fn files_since(&self, old: u64, leaves: &[String]) -> Vec<(Tile, Vec<u8>)> {
        let first = old - old % TILE_WIDTH;
        let file = |tile: Tile| {
            let bytes = tile.hashes(&self.tree).unwrap_or_else(|| {
                let start = (tile.index * TILE_WIDTH - first) as usize;
                let entries = &leaves[start..start + tile.width as usize];
                tiles::write_bundle(entries.iter().map(|text| text.as_bytes()))
            });
            (tile, bytes)
        };
        tiles::new_tiles(old, self.tree.size()).into_iter().map(file).collect()
    }

    /// Its decisions.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// True if a statement of the site is a leaf.
    pub fn has(&self, payload: &Digest) -> bool {
        self.statements.contains(payload)
    }

    /// Forgets which releases have tables, as a rigged signer would.
    #[cfg(test)]
    pub fn forget_tables(&mut self) {
        self.ledger.forget_tables();
    }

    /// Forgets what was released, as a rigged signer would.
    #[cfg(test)]
    pub fn forget_released(&mut self) {
        self.ledger.forget_released();
    }

    /// What the logged grants allow.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }
}

/// For each grant and dataset, the largest bits of all its logged versions: bits may have been spent under each.
#[derive(Debug, Clone, Default)]
pub struct Granted(BTreeMap<Name, BTreeMap<Name, DatasetGrant>>);

impl Granted {
    /// Adds a version of a grant.
    pub fn add(&mut self, grant: &Grant) {
        let datasets = self.0.entry(grant.id.clone()).or_default();
        for (name, bits) in &grant.datasets {
            let before = datasets.entry(name.clone()).or_insert(NOTHING);
            *before = larger(*before, *bits);
        }
    }

    /// True if one more grant fits: for each of its datasets, all grants together stay within the catalogue's limit.
    pub fn has_room_for(&self, grant: &Grant, site: &Site) -> bool {
        let mut with = self.clone();
        with.add(grant);
        grant.datasets.keys().all(|dataset| {
            let entry = site.dataset(dataset).map(|entry| &entry.statement().entry);
            let Some(CatalogueEntry::Dataset { limits, .. }) = entry else { return false };
            grants_within(with.0.values().filter_map(|datasets| datasets.get(dataset).copied()), limits)
                .is_ok()
        })
    }
}

const NOTHING: DatasetGrant = DatasetGrant { release_bits: Count(0), answer_bits: Count(0) };

fn larger(left: DatasetGrant, right: DatasetGrant) -> DatasetGrant {
    DatasetGrant {
        release_bits: left.release_bits.max(right.release_bits),
        answer_bits: left.answer_bits.max(right.answer_bits),
    }
}

/// What is kept beside decisions, by the text of their leaf.
fn decisions_by_leaf(places: &Places) -> Result<BTreeMap<String, Decision>, HistoryError> {
    let directory = places.evidence(&Digest::of(b""));
    let directory = directory.parent().expect("evidence is in a directory");
    let mut decisions = BTreeMap::new();
    let files = match std::fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(decisions),
        Err(source) => return Err(StateError::Io { path: directory.to_owned(), source }.into()),
    };
    for file in files {
        let file = file.map_err(|source| StateError::Io { path: directory.to_owned(), source })?;
        // What a crash left half written has another ending.
        let name = file.file_name();
        let Some(verdict) = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok()) else {
            continue;
        };
        if let Some(Entry { leaf, content: Content::Decision(decision) }) = read_decision(places, &verdict)? {
            decisions.insert(leaf, decision);
        }
    }
    Ok(decisions)
}
