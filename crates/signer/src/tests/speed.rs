//! How many decisions become witnessed leaves in a second, one by one and together. It prints and asserts no time;
//! `cargo xtask bench append` runs it, optimised.

use std::time::Instant;

use release::log::socket::{CosignHead, TOGETHER_LIMIT, Together};

use super::*;

const ONE_BY_ONE: u64 = 48;
const ROUNDS: u64 = 3;

/// Verdicts about other runs of one job, under a grant that has room for all of them.
fn runs(first: u64, count: u64) -> Vec<Told> {
    let plenty = Count(1 << 40);
    let tell = |number| {
        Story::default()
            .without_tables()
            .dataset(move |entry| {
                if let CatalogueEntry::Dataset { limits, .. } = &mut entry.entry {
                    limits.release_bits = plenty;
                }
            })
            .grant(move |grant| {
                grant.datasets.get_mut(&name("hie")).expect("the dataset").release_bits = plenty;
            })
            .verdict(move |verdict| verdict.run = Count(number))
            .tell()
    };
    (first..first + count).map(tell).collect()
}

/// A box on a real disk.
fn site(told: &Told) -> Site {
    let mut site = Site::of(told);
    let real = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(site.site())
        .arg(real.path())
        .status()
        .expect("cp is installed");
    assert!(copied.success());
    site.directory = real;
    site
}

fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

/// The named thing: files of a release file's size, made durable one after the other.
fn durable_files(directory: &Path, bytes: &[u8], count: u64) -> f64 {
    let mut disk = FileSystem::new(0o644);
    let begun = Instant::now();
    for number in 0..count {
        disk.keep(&directory.join("files").join(number.to_string()), bytes).unwrap();
    }
    per_second(count, begun)
}

fn one_by_one(signer: &mut Signer<FileSystem>, told: &[Told]) -> f64 {
    let begun = Instant::now();
    for told in told {
        let appended = appended(ask(signer, &submit(told, approvals(told))));
        file(ask(signer, &cosigned(told, &appended, now())), Outcome::Release);
    }
    per_second(told.len() as u64, begun)
}

/// Submitted, witnessed and published with every release file.
fn together(signer: &mut Signer<FileSystem>, decisions: Vec<Message>) -> f64 {
    let count = decisions.len() as u64;
    let submits = decisions.into_iter().filter_map(|message| match message {
        Message::Submit(submit) => Some(submit),
        _ => None,
    });
    let message = Message::Together(Together { submits: submits.collect(), witnessed: Count(0) });
    let (begin, begun) = (signer.size(), Instant::now());
    let Answer::Unwitnessed(head) = ask(signer, &message) else { panic!("no head") };
    let cosignatures = cosignature(&head.add_checkpoint, WITNESS, now());
    let published = ask(signer, &Message::CosignHead(CosignHead { size: head.size, cosignatures }));
    assert!(matches!(published, Answer::Published(_)), "{published:?}");
    assert_eq!(signer.size(), begin + count);
    per_second(count, begun)
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[test]
#[ignore = "a measurement: cargo xtask bench append"]
fn appends_in_a_second_one_by_one_and_together() {
    let limit = TOGETHER_LIMIT as u64;
    let told = runs(1, ROUNDS * (ONE_BY_ONE + 2 * limit));
    let site = site(&told[0]);
    let mut signer = site.open_on(FileSystem::new(0o644), now()).unwrap();
    let (mut files, mut single, mut releases, mut denials) = (vec![], vec![], vec![], vec![]);
    for round in told.chunks((ONE_BY_ONE + 2 * limit) as usize) {
        let (alone, rest) = round.split_at(ONE_BY_ONE as usize);
        let (released, denied) = rest.split_at(TOGETHER_LIMIT);
        let directory = site.directory.path().join(files.len().to_string());
        files.push(durable_files(&directory, &round[0].bytes, ONE_BY_ONE));
        single.push(one_by_one(&mut signer, alone));
        let approved = released.iter().map(|told| submit(told, approvals(told)));
        releases.push(together(&mut signer, approved.collect()));
        let denied = denied.iter().map(|told| submit(told, Decision::Denial(denial(told, "steward-ana"))));
        denials.push(together(&mut signer, denied.collect()));
    }
    let [files, single, releases, denials] = [files, single, releases, denials].map(middle);
    println!("the signer, to witnessed and published leaves with their files; the middle of {ROUNDS} rounds");
    println!("files of a release's size made durable one after the other: {files:.0} a second");
    println!("releases one by one: {single:.1} a second, {:.1} ms each (bar: 2000)", 1000.0 / single);
    println!(
        "{limit} releases together: {releases:.0} a second (bar: 500), {:.1} times that",
        releases / single
    );
    println!("  and {:.2} times the files made durable one after the other", releases / files);
    println!("{limit} denials together: {denials:.0} a second, {:.1} times the files", denials / files);
}
