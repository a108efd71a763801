//! Which site directory counts, and what grants and releases add up to.

use super::*;

#[test]
fn an_older_site_directory_is_refused() {
    let newer = Story::default().revocation(|revocation| revocation.version = Count(10)).tell();
    let told = Story::default().tell();
    let site = Site::of(&newer);
    let mut signer = site.open();
    fs::remove_file(site.site().join("revocations/10.json")).unwrap();
    site.install(&told.release.revocation);
    let message = submit(&told, approvals(&told));
    assert_eq!(refused(ask(&mut signer, &message)), SignerRefusal::Rule(Refusal::Rollback));
    // The memory survives a restart.
    assert_eq!(refused(ask(&mut site.open(), &message)), SignerRefusal::Rule(Refusal::Rollback));
    fs::remove_file(site.site().join("revocations/9.json")).unwrap();
    assert_eq!(refused(ask(&mut signer, &message)), SignerRefusal::SiteUnreadable);
    site.install(&newer.release.revocation);
    assert!(matches!(ask(&mut signer, &message), Answer::Appended(_)));
}

#[test]
fn a_grant_past_the_datasets_limit_is_no_leaf_and_nothing_is_released_under_it() {
    let over = Story::default().grant(|grant| {
        let bits = DatasetGrant { release_bits: Count(1_000_001), answer_bits: Count(1_000) };
        grant.datasets.insert(name("hie"), bits);
    });
    let told = over.tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    assert_eq!(signer.size(), 6);
    let refusal = refused(ask(&mut signer, &submit(&told, approvals(&told))));
    assert_eq!(refusal, SignerRefusal::GrantsExceedDataset);
}

#[test]
fn grants_are_added_up_and_the_one_too_many_counts_as_absent() {
    let told = Story::default().dataset(|dataset| {
        if let CatalogueEntry::Dataset { limits, .. } = &mut dataset.entry {
            limits.release_bits = Count(60_000);
        }
    });
    let told = told.tell();
    let site = Site::of(&told);
    let other = Story::default().grant(|grant| grant.id = name("another-study")).tell();
    site.install(&other.release.grant);
    // `another-study` comes first by name and takes 40,000 of 60,000 bits.
    let mut signer = site.open();
    assert_eq!(signer.size(), 7);
    let refusal = refused(ask(&mut signer, &submit(&told, approvals(&told))));
    assert_eq!(refusal, SignerRefusal::GrantsExceedDataset);
    // A denial needs no grant in the log.
    let denial = Decision::Denial(denial(&told, "steward-ana"));
    assert!(matches!(ask(&mut signer, &submit(&told, denial)), Answer::Appended(_)));
}

#[test]
fn bits_of_all_releases_stay_within_the_grant() {
    let first = Story::default().without_tables().tell();
    let site = Site::of(&first);
    let mut signer = site.open();
    let verdict: Verdict = first.release.verdict.unverified().unwrap();
    let each = verdict.released_bits.0 + verdict.verdict_bits.0;
    let fits = 40_000 / each;
    for run in 1..=fits {
        let told = Story::default().without_tables().verdict(move |verdict| verdict.run = Count(run)).tell();
        let text = release(&mut signer, &told);
        let file = ReleaseFile::parse(text.as_bytes()).unwrap();
        let manifest: release::statement::Manifest = file.manifest.unverified().unwrap();
        assert_eq!(manifest.accounts[0].released_before, Count((run - 1) * each));
    }
    // The sum is taken from the log, so a restart changes nothing.
    let mut signer = site.open();
    let told = Story::default().without_tables().verdict(move |verdict| verdict.run = Count(fits + 1)).tell();
    let refusal = refused(ask(&mut signer, &submit(&told, approvals(&told))));
    assert_eq!(refusal, SignerRefusal::Rule(Refusal::ManifestAccount));
}
