//! Adding up what left.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;

use super::GrantTotal;
use crate::refusal::Refusal;
use crate::statement::{Grant, Manifest};
use crate::value::Name;

/// What left so far, and what was recalled.
#[derive(Default)]
pub(super) struct Sums {
    /// By dataset and grant.
    sums: BTreeMap<(Name, Name), GrantTotal>,
    /// Payload digests of manifests.
    pub(super) recalled: BTreeSet<Digest>,
}

impl Sums {
    /// Goes on from what an earlier examination added up.
    pub(super) fn resume(totals: impl IntoIterator<Item = GrantTotal>, recalled: BTreeSet<Digest>) -> Self {
        let sums = totals.into_iter().map(|total| ((total.dataset.clone(), total.grant.clone()), total));
        Self { sums: sums.collect(), recalled }
    }

    /// Remembers what a version of a grant allows.
    pub(super) fn know(&mut self, grant: &Grant) {
        for (dataset, bits) in &grant.datasets {
            self.total(&grant.id, dataset).limit = bits.release_bits.0;
        }
    }

    /// Remembers what a release says that its grant allows.
    pub(super) fn know_of(&mut self, manifest: &Manifest) {
        for account in &manifest.accounts {
            self.total(&manifest.grant.id, &account.dataset).limit = account.limit.0;
        }
    }

    fn total(&mut self, grant: &Name, dataset: &Name) -> &mut GrantTotal {
        self.sums.entry((dataset.clone(), grant.clone())).or_insert_with(|| GrantTotal {
            dataset: dataset.clone(),
            grant: grant.clone(),
            releases: 0,
            released_bits: 0,
            limit: 0,
        })
    }

    /// Adds a release. What the signer says was released before must be what the log adds up to, and the sum must
    /// fit into the version of the grant that the release was made under.
    pub(super) fn add(&mut self, manifest: &Manifest) -> Result<String, Refusal> {
        let mut fits = true;
        let mut said = Vec::new();
        for account in &manifest.accounts {
            let total = self.total(&manifest.grant.id, &account.dataset);
            let before = total.released_bits;
            total.released_bits = before.saturating_add(manifest.released_bits.0);
            total.releases += 1;
            fits &= account.released_before.0 == before && total.released_bits <= account.limit.0;
            said.push(format!("{}: {} of {} bits", account.dataset, total.released_bits, account.limit));
        }
        if fits { Ok(said.join("; ")) } else { Err(Refusal::ManifestAccount) }
    }

    pub(super) fn totals(&self) -> Vec<GrantTotal> {
        self.sums.values().cloned().collect()
    }
}
