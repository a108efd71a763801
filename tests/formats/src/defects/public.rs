//! Files that anybody may read, by the catalogue, and what the verdict says of them.

use blobs::Digest;
use release::refusal::Refusal;
use release::statement::{CatalogueEntry, PublicFile};
use release::value::Count;

use super::{Defect, story};
use crate::story::{Story, name};

pub(super) fn all() -> Vec<Defect> {
    let rules = |which, about, story| Defect::new(Refusal::VerdictRules, which, about, story);
    let content = |which, about, story| Defect::new(Refusal::CatalogueContent, which, about, story);
    vec![
        Defect::innocent(
            "public-files",
            "A dataset that quotes two files that anybody may read: what stands in them did not count as copied.",
            with_files(),
        ),
        rules(
            "public-files-out-of-order",
            "The files that did not count as copied stand in another order than that of their digests.",
            with_files().verdict(|verdict| verdict.guarantee.public.reverse()),
        ),
        rules(
            "public-files-one-twice",
            "One of them stands there twice.",
            with_files().verdict(|verdict| {
                let again = verdict.guarantee.public[1];
                verdict.guarantee.public.push(again);
            }),
        ),
        content(
            "public-files-out-of-order",
            "The catalogue names them in another order than that of their names.",
            catalogued(|files| files.reverse()),
        ),
        content(
            "public-files-one-twice",
            "It names two files by one name.",
            catalogued(|files| files[1].name = files[0].name.clone()),
        ),
    ]
}

/// A search that took what stands in two files for no copy.
fn with_files() -> Story {
    catalogued(|_| {}).verdict(|verdict| {
        let mut public: Vec<Digest> = files().iter().map(|file| file.file.sha256).collect();
        public.sort();
        verdict.guarantee.public = public.into_iter().map(Into::into).collect();
    })
}

fn catalogued(edit: impl Fn(&mut Vec<PublicFile>) + 'static) -> Story {
    story().dataset(move |entry| {
        if let CatalogueEntry::Dataset { public, .. } = &mut entry.entry {
            *public = files();
            edit(public);
        }
    })
}

fn files() -> Vec<PublicFile> {
    let file = |file: &str| PublicFile {
        name: name(file),
        file: Digest::of(file.as_bytes()).into(),
        bytes: Count(2_048),
    };
    vec![file("licence.txt"), file("manual.txt")]
}
