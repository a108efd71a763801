//! Which verdicts the tables of a verdict were compared with, and whether two releases were compared with each other.
//! `docs/decisions/differencing.md` says why it is asked so.

use std::collections::BTreeSet;

use blobs::Digest;
use sha2::{Digest as _, Sha256};

use crate::refusal::Refusal;
use crate::rule::Rule;
use crate::statement::{DatasetSnapshot, Evidence, RuleResult, Verdict, VerdictResult};

/// Most verdicts in a set. A dataset that has more releases no further table.
pub const SET_LIMIT: usize = 4096;

/// The largest place in the order of verdicts with tables.
pub const PLACE_LIMIT: u64 = 1 << 20;

/// Verdicts by payload digest: those that a verdict's tables were compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComparedSet(BTreeSet<Digest>);

impl ComparedSet {
    /// These verdicts.
    pub fn new(verdicts: impl IntoIterator<Item = Digest>) -> Self {
        Self(verdicts.into_iter().collect())
    }

    /// True if this verdict is in it.
    pub fn contains(&self, verdict: &Digest) -> bool {
        self.0.contains(verdict)
    }

    /// True if every verdict of another set is in it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The verdicts, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter()
    }

    /// Its digest: SHA-256 of the line `databox-compared/v1` and then each verdict's digest in hexadecimal, sorted, a line
    /// each.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"databox-compared/v1\n");
        for verdict in &self.0 {
            hash.update(format!("{verdict}\n"));
        }
        Digest::from_bytes(hash.finalize().into())
    }
}

/// True if a verdict's tables may leave, so that others must be compared with them.
pub fn is_placed(verdict: &Verdict) -> bool {
    verdict.result == VerdictResult::Pass && verdict.files.iter().any(|file| file.kind.is_tabular())
}

/// Checks that a verdict has a place and a set if it has tables that may leave, and neither if not. A set that
/// nothing asks for would be room for whatever an enclave likes to say.
pub(crate) fn check_form(verdict: &Verdict) -> Result<(), Refusal> {
    let place = verdict.table_place.0;
    let sound = match (is_placed(verdict), verdict.differenced_against) {
        (true, Evidence::Digest(_)) => {
            let said = verdict.rules[Rule::TableDifferencing.index()].result;
            (1..=PLACE_LIMIT).contains(&place) && matches!(said, RuleResult::Passed | RuleResult::Noted)
        }
        (false, Evidence::Digest(set)) => place == 0 && set == ComparedSet::default().digest(),
        (_, Evidence::NotChecked) => false,
    };
    if sound { Ok(()) } else { Err(Refusal::Differencing) }
}

/// True if two runs saw a dataset in common, of whatever snapshot.
pub fn share_dataset(one: &[DatasetSnapshot], other: &[DatasetSnapshot]) -> bool {
    one.iter().any(|one| other.iter().any(|other| other.name == one.name))
}

/// A release whose tables others are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedTables {
    /// The verdict.
    pub verdict: Digest,
    /// Its place.
    pub place: u64,
    /// The datasets that its run saw.
    pub datasets: Vec<DatasetSnapshot>,
    /// Of the verdicts that it was compared with, those that were not released before it.
    pub waiting: ComparedSet,
}

/// Checks that a verdict was compared with each of these releases that shares a dataset with it, or that release with
/// the verdict, and gives the set of them: what the manifest names. `set` is what the verdict was compared with.
pub fn check_compared<'a>(
    verdict: &Verdict,
    digest: &Digest,
    set: &ComparedSet,
    released: impl IntoIterator<Item = &'a ReleasedTables>,
) -> Result<ComparedSet, Refusal> {
    if verdict.differenced_against != Evidence::Digest(set.digest()) || set.len() > SET_LIMIT {
        return Err(Refusal::Differencing);
    }
    if !is_placed(verdict) {
        return Ok(ComparedSet::default());
    }
    let mut before = Vec::new();
    for release in released {
        if !share_dataset(&verdict.datasets, &release.datasets) {
            continue;
        }
        // Without this line two jobs that differ by one person are released one after the other, neither of which was
        // compared with the other.
        let later = set.contains(&release.verdict) && release.place < verdict.table_place.0;
        let earlier = release.waiting.contains(digest) && release.place > verdict.table_place.0;
        if !later && !earlier {
            return Err(Refusal::Differencing);
        }
        before.push(release.verdict);
    }
    Ok(ComparedSet::new(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_digest_whatever_the_order_and_another_one_for_each_verdict_more() {
        let [one, two] = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        let of = |verdicts: &[Digest]| ComparedSet::new(verdicts.iter().copied()).digest();
        assert_eq!(of(&[one, two]), of(&[two, one, two]));
        assert_ne!(of(&[one, two]), of(&[one]));
        assert_ne!(of(&[]), of(&[one]));
        let text = format!("databox-compared/v1\n{}\n{}\n", one.min(two), one.max(two));
        assert_eq!(of(&[one, two]), Digest::of(text.as_bytes()));
    }
}
