//! Two releases with tables of one dataset were compared with each other, or the second one is refused.

use super::mirror::log;
use super::together::{head_cosigned, together};
use super::*;

/// The verdict about this run, with this place and set.
fn placed(run: u64, place: u64, with: &[Digest]) -> Told {
    Story::default().compared(run, place, with, &[]).tell()
}

fn ask_for(signer: &mut Signer<FaultyDisk>, told: &Told, with: &[Digest]) -> Answer {
    ask(signer, &submit_compared(told, approvals(told), with))
}

const NOT_COMPARED: SignerRefusal = SignerRefusal::Rule(Refusal::Differencing);

#[test]
fn a_verdict_that_was_not_compared_with_a_release_that_came_in_between_is_refused_and_its_twin_is_signed() {
    let first = placed(1, 1, &[]);
    let (stale, twin) = (placed(2, 2, &[]), placed(3, 2, &[digest(&first)]));
    let site = Site::of(&first);
    let mut signer = site.open();
    release(&mut signer, &first);
    let size = signer.size();
    assert_eq!(refused(ask_for(&mut signer, &stale, &[])), NOT_COMPARED);
    // A list that the verdict does not have the digest of helps neither.
    assert_eq!(refused(ask_for(&mut signer, &stale, &[digest(&first)])), NOT_COMPARED);
    assert_eq!(refused(ask_for(&mut signer, &twin, &[])), NOT_COMPARED);
    assert_eq!(signer.size(), size, "nothing became a leaf");
    // What it knows it reads from its log.
    let mut signer = site.open();
    assert_eq!(refused(ask_for(&mut signer, &stale, &[])), NOT_COMPARED);
    let text = release_compared(&mut signer, &twin, &[digest(&first)]);
    let file = ReleaseFile::parse(text.as_bytes()).unwrap();
    let manifest: release::statement::Manifest = file.manifest.unverified().unwrap();
    let before = release::differencing::ComparedSet::new([digest(&first)]).digest();
    assert_eq!(manifest.differenced_against, release::statement::Evidence::Digest(before));
    assert_eq!(log(&site, &first, "check").0, 0);
}

#[test]
fn of_two_pending_verdicts_the_later_may_be_released_first() {
    let first = placed(1, 1, &[]);
    let second = placed(2, 2, &[digest(&first)]);
    let site = Site::of(&first);
    release_compared(&mut site.open(), &second, &[digest(&first)]);
    // The first knows nothing of the second; the second was compared with it. That is kept over a restart.
    release(&mut site.open(), &first);
    assert_eq!(log(&site, &first, "check").0, 0);
}

#[test]
fn a_second_branch_of_an_enclave_that_was_put_back_is_refused() {
    let first = placed(1, 1, &[]);
    let (one, other) = (placed(2, 2, &[digest(&first)]), placed(3, 2, &[digest(&first)]));
    let further = placed(4, 3, &[digest(&first), digest(&other)]);
    let site = Site::of(&first);
    let mut signer = site.open();
    release(&mut signer, &first);
    release_compared(&mut signer, &one, &[digest(&first)]);
    assert_eq!(refused(ask_for(&mut signer, &other, &[digest(&first)])), NOT_COMPARED);
    let with = [digest(&first), digest(&other)];
    assert_eq!(refused(ask_for(&mut signer, &further, &with)), NOT_COMPARED);
}

#[test]
fn verdicts_that_wait_together_are_compared_with_those_before_them() {
    let first = placed(1, 1, &[]);
    let (stale, twin) = (placed(2, 2, &[]), placed(3, 3, &[digest(&first)]));
    let site = Site::of(&first);
    let mut signer = site.open();
    let all = together([
        submit(&first, approvals(&first)),
        submit(&stale, approvals(&stale)),
        submit_compared(&twin, approvals(&twin), &[digest(&first)]),
    ]);
    let answer = ask(&mut signer, &all);
    ask(&mut signer, &head_cosigned(answer));
    assert_eq!(refused(ask_for(&mut signer, &stale, &[])), NOT_COMPARED);
    file(ask_for(&mut signer, &twin, &[digest(&first)]), Outcome::Release);
}

#[test]
fn a_release_without_tables_is_not_asked_what_it_was_compared_with() {
    let first = placed(1, 1, &[]);
    let site = Site::of(&first);
    let mut signer = site.open();
    release(&mut signer, &first);
    let without = Story::default().without_tables().verdict(|verdict| verdict.run = Count(2)).tell();
    release(&mut signer, &without);
}

#[test]
fn an_auditor_finds_releases_that_a_rigged_signer_let_out_without_comparison() {
    let first = placed(1, 1, &[]);
    let site = Site::of(&first);
    let mut signer = site.open();
    release(&mut signer, &first);
    signer.forget_tables();
    release(&mut signer, &placed(2, 1, &[]));
    let (code, text) = log(&site, &first, "check");
    assert_eq!(code, Refusal::Differencing.code(), "{text}");
}
