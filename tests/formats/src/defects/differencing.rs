//! Defects of the place and the set of a verdict's tables, and of what the manifest says was released before.

use blobs::Digest;
use release::differencing::{ComparedSet, PLACE_LIMIT};
use release::refusal::Refusal;
use release::rule::Rule;
use release::statement::*;
use release::value::Count;

use super::{Defect, story};

pub(super) fn all() -> Vec<Defect> {
    let differencing = |which, about, story| Defect::new(Refusal::Differencing, which, about, story);
    let some = || Evidence::Digest(ComparedSet::new([Digest::of(b"another verdict")]).digest());
    let placed = |place| story().verdict(move |verdict| verdict.table_place = Count(place));
    vec![
        Defect::innocent(
            "later-tables",
            "The second verdict with tables, compared with the first, which was released.",
            story().compared(1, 2, &[Digest::of(b"first")], &[Digest::of(b"first")]),
        ),
        Defect::innocent(
            "without-tables",
            "A release without tables has neither a place nor a set.",
            story().without_tables(),
        ),
        differencing("place-missing", "Tables that have no place in the order of all.", placed(0)),
        differencing("place-too-large", "A place that says more than a place.", placed(PLACE_LIMIT + 1)),
        differencing(
            "set-missing",
            "The verdict does not say what its tables were compared with.",
            story().verdict(|verdict| verdict.differenced_against = Evidence::NotChecked),
        ),
        differencing(
            "not-run",
            "The verdict names a set, and says that the rule did not run.",
            story().verdict(|verdict| {
                verdict.rules[Rule::TableDifferencing.index()].result = RuleResult::NotChecked;
            }),
        ),
        differencing(
            "set-without-tables",
            "A set where nothing was compared: room for 256 bits of anything.",
            story().without_tables().verdict(move |verdict| verdict.differenced_against = some()),
        ),
        differencing(
            "place-without-tables",
            "A place where nothing was compared.",
            story().without_tables().verdict(|verdict| verdict.table_place = Count(1)),
        ),
        differencing(
            "released-missing",
            "The manifest does not say which releases there were before.",
            story().manifest(|manifest| manifest.differenced_against = Evidence::NotChecked),
        ),
        differencing(
            "released-without-tables",
            "The manifest names releases of tables before one that has none.",
            story().without_tables().manifest(move |manifest| manifest.differenced_against = some()),
        ),
    ]
}
