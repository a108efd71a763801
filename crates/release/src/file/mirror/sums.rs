//! Adding up what left.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;

use super::GrantTotal;
use crate::differencing::{ComparedSet, is_placed};
use crate::file::LoggedRelease;
use crate::refusal::Refusal;
use crate::statement::{Evidence, Grant, Manifest, Verdict};
use crate::value::Name;

/// What left so far, and what was recalled.
#[derive(Default)]
pub(super) struct Sums {
    /// By dataset and grant.
    sums: BTreeMap<(Name, Name), GrantTotal>,
    /// Payload digests of manifests.
    pub(super) recalled: BTreeSet<Digest>,
    /// By dataset: the verdicts of releases with tables, by their places.
    pub(super) tables: BTreeMap<Name, BTreeMap<u64, Digest>>,
}

/// A release, as far as it is added up.
pub(super) struct Addend {
    manifest: Manifest,
    /// The place of its tables, if it has some.
    place: Option<u64>,
    differenced_against: Evidence,
}

impl From<&LoggedRelease> for Addend {
    fn from(release: &LoggedRelease) -> Self {
        let verdict: &Verdict = release.verdict().verdict();
        let manifest = release.manifest().clone();
        let differenced_against = manifest.differenced_against;
        let place = is_placed(verdict).then_some(verdict.table_place.0);
        Self { manifest, place, differenced_against }
    }
}

impl Sums {
    /// Goes on from what an earlier examination added up.
    pub(super) fn resume(
        totals: impl IntoIterator<Item = GrantTotal>,
        recalled: BTreeSet<Digest>,
        tables: impl IntoIterator<Item = (Name, u64, Digest)>,
    ) -> Self {
        let sums = totals.into_iter().map(|total| ((total.dataset.clone(), total.grant.clone()), total));
        let mut resumed = Self { sums: sums.collect(), recalled, tables: BTreeMap::new() };
        for (dataset, place, verdict) in tables {
            resumed.tables.entry(dataset).or_default().insert(place, verdict);
        }
        resumed
    }

    /// Remembers what a version of a grant allows.
    pub(super) fn know(&mut self, grant: &Grant) {
        for (dataset, bits) in &grant.datasets {
            self.limit(&grant.id, grant.version.0, dataset, bits.release_bits.0);
        }
    }

    /// Remembers what a release says that its grant allows.
    pub(super) fn know_of(&mut self, release: &Addend) {
        let manifest = &release.manifest;
        for account in &manifest.accounts {
            self.limit(&manifest.grant.id, manifest.grant.version.0, &account.dataset, account.limit.0);
        }
    }

    /// An earlier version may come into the log after a later one, and then changes nothing.
    fn limit(&mut self, grant: &Name, version: u64, dataset: &Name, limit: u64) {
        let total = self.total(grant, dataset);
        if version >= total.grant_version {
            (total.grant_version, total.limit) = (version, limit);
        }
    }

    fn total(&mut self, grant: &Name, dataset: &Name) -> &mut GrantTotal {
        self.sums.entry((dataset.clone(), grant.clone())).or_insert_with(|| GrantTotal {
            dataset: dataset.clone(),
            grant: grant.clone(),
            releases: 0,
            released_bits: 0,
            grant_version: 0,
            limit: 0,
        })
    }

    /// Adds a release. What the signer says was released before must be what the log adds up to, and the sum must
    /// fit into the version of the grant that the release was made under.
    pub(super) fn add(&mut self, release: &Addend) -> Result<String, Refusal> {
        let manifest = &release.manifest;
        let compared = self.add_tables(release);
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
        if fits { compared.map(|()| said.join("; ")) } else { Err(Refusal::ManifestAccount) }
    }

    /// What the signer says was compared must be all releases with tables of these datasets that came before, and no
    /// two of a dataset may have one place: of such two neither was compared with the other.
    fn add_tables(&mut self, release: &Addend) -> Result<(), Refusal> {
        let Some(place) = release.place else { return Ok(()) };
        let (mut before, mut twice) = (Vec::new(), false);
        for account in &release.manifest.accounts {
            let tables = self.tables.entry(account.dataset.clone()).or_default();
            before.extend(tables.values().copied());
            twice |= tables.insert(place, release.manifest.verdict.sha256).is_some();
        }
        let named = release.differenced_against == Evidence::Digest(ComparedSet::new(before).digest());
        if named && !twice { Ok(()) } else { Err(Refusal::Differencing) }
    }

    pub(super) fn totals(&self) -> Vec<GrantTotal> {
        self.sums.values().cloned().collect()
    }
}
