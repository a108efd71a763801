//! What the search promises to find, and what it must leave alone.

mod material;

use material::{Random, SMALL, SMALL_INDEXED, both_ways, cut_out, places, raw, search, search_with};
use release::report::PLACE_LIMIT;
use release::rule::Rule;
use release::statement::RuleResult;
use scan::{Background, Limits, PLAIN_RUN, RUN, ScanError};

const PLANTED: usize = 100_000;

/// A view with runs of `length` at random places, each between random bytes, and where they stand.
fn planted(data: &[u8], length: usize, random: &mut Random) -> (Vec<u8>, Vec<(u16, u64, u64)>) {
    let mut view = Vec::new();
    let mut places = Vec::new();
    for _ in 0..PLANTED {
        let filler = random.below(24);
        view.extend(random.bytes(filler));
        let from = random.below(data.len() - length + 1);
        places.push((0, view.len() as u64 + 1, length as u64));
        view.extend(cut_out(data, from, length));
    }
    (view, places)
}

#[test]
fn each_of_a_hundred_thousand_runs_of_31_bytes_is_found() {
    let mut random = Random(31);
    let data = random.bytes(3_000_001);
    let (view, planted) = planted(&data, RUN, &mut random);
    for limits in both_ways() {
        let report = search_with(vec![raw(0, &view)], &[&data], &Background::default(), limits);
        assert_eq!(report.runs, PLANTED as u64);
        assert_eq!(places(&report), planted[..PLACE_LIMIT]);
        assert_eq!(report.rules[Rule::CopyExact.index()], RuleResult::Blocked);
        assert_eq!((report.exempt_millionths, report.data_bytes), (0, 3_000_001));
    }
}

#[test]
#[ignore = "longer: a million runs, both ways"]
fn none_of_a_million_runs_of_31_bytes_is_missed() {
    let (mut planted_runs, mut missed) = (0, 0);
    for round in 0..10 {
        let mut random = Random(1000 + round);
        let data = random.bytes(3_000_001);
        let (view, planted) = planted(&data, RUN, &mut random);
        for limits in both_ways() {
            let report = search_with(vec![raw(0, &view)], &[&data], &Background::default(), limits);
            planted_runs += PLANTED as u64;
            missed += PLANTED as u64 - report.runs;
            assert_eq!(places(&report), planted[..PLACE_LIMIT]);
        }
    }
    println!("{planted_runs} runs of {RUN} bytes planted, {missed} missed");
    assert_eq!(missed, 0);
}

#[test]
fn none_of_a_hundred_thousand_runs_of_30_bytes_is_reported() {
    let mut random = Random(30);
    let data = random.bytes(3_000_001);
    let (view, _) = planted(&data, RUN - 1, &mut random);
    let report = search(&view, &[&data]);
    assert_eq!((report.runs, report.places), (0, Vec::new()));
    assert_eq!(report.rules[Rule::CopyExact.index()], RuleResult::Passed);
}

#[test]
fn runs_are_found_across_chunks_of_data_and_passes_of_views() {
    let mut random = Random(7);
    let data = random.bytes(300_001);
    let mut view = Vec::new();
    for _ in 0..4000 {
        view.extend(cut_out(&data, random.below(data.len() - RUN), RUN));
    }
    for limits in [SMALL, SMALL_INDEXED] {
        let small = search_with(vec![raw(0, &view)], &[&data], &Background::default(), limits);
        assert_eq!(small, search(&view, &[&data]));
        assert_eq!(small.runs, 4000);
    }
}

#[test]
fn a_run_is_found_at_the_very_ends_of_data_and_view() {
    let mut random = Random(8);
    for length in [RUN, 40, 4000, 64 * 200] {
        let data = random.bytes(length);
        for run in [&data[..RUN], &data[length - RUN..]] {
            assert_eq!(places(&search(run, &[&data])), [(0, 0, RUN as u64)]);
        }
    }
}

#[test]
fn a_file_copied_whole_is_one_place_at_any_size() {
    let mut random = Random(9);
    let data = random.bytes(200_000);
    for limits in [SMALL, SMALL_INDEXED, Limits::default()] {
        let view = [&random.bytes(77), &data[..], &random.bytes(5)].concat();
        let report = search_with(vec![raw(3, &view)], &[&data], &Background::default(), limits);
        assert_eq!((report.runs, places(&report)), (1, vec![(3, 77, 200_000)]));
    }
}

#[test]
fn a_run_does_not_go_on_from_one_file_to_the_next() {
    let mut random = Random(10);
    let data = random.bytes(60);
    assert_eq!(search(&data, &[&data[..30], &data[30..]]).runs, 0);
    assert_eq!(places(&search(&data, &[&data[..29], &data[29..]])), [(0, 29, 31)]);
}

#[test]
fn runs_of_four_letters_are_found_from_127_bytes_and_not_reported_below() {
    let mut random = Random(11);
    let genome = random.letters(b"ACGT", 1_000_003);
    let mut cut = |length: usize| {
        let mut view = Vec::new();
        for _ in 0..2000 {
            view.extend(cut_out(&genome, random.below(genome.len() - length), length));
        }
        search(&view, &[&genome])
    };
    assert_eq!(cut(PLAIN_RUN).runs, 2000);
    assert_eq!(cut(PLAIN_RUN - 1).runs, 0);
    assert_eq!(cut(500).runs, 2000);
}

#[test]
fn another_genome_of_the_same_letters_is_no_copy() {
    let mut random = Random(12);
    let genome = random.letters(b"ACGT", 1_000_003);
    assert_eq!(search(&random.letters(b"ACGT", 300_000), &[&genome]).runs, 0);
}

#[test]
fn one_window_of_five_distinct_bytes_makes_a_plain_run_found_from_31() {
    let mut data = vec![b'0'; 640];
    data[320..336].copy_from_slice(b"0102030400000000");
    assert_eq!(search(&cut_out(&data, 320, RUN), &[&data]).runs, 1);
    assert_eq!(search(&cut_out(&data, 305, RUN), &[&data]).runs, 1);
    // The run holds only a part of that window.
    assert_eq!(search(&cut_out(&data, 321, RUN), &[&data]).runs, 0);
}

#[test]
fn zeros_are_exempt_and_the_report_says_how_many_there_are() {
    let mut random = Random(13);
    let data = [vec![0; 64 * 10], random.bytes(64 * 30)].concat();
    let report = search(&vec![0; 100_000], &[&data]);
    assert_eq!((report.runs, report.exempt_millionths), (0, 250_000));
    let one_value: Vec<u8> = 0.1_f32.to_le_bytes().repeat(1000);
    assert_eq!(search(&one_value, &[&one_value]).exempt_millionths, 992_000);
}

#[test]
fn a_period_of_eight_is_not_exempt() {
    let data = 1_i64.to_le_bytes().repeat(100);
    let report = search(&data, &[&data]);
    assert_eq!((report.runs, report.exempt_millionths), (1, 0));
    assert_eq!(search(&data[..PLAIN_RUN - 1], &[&data]).runs, 0);
}

#[test]
fn many_equal_windows_do_not_make_the_search_slow() {
    let pattern = b"abcdefghijklmnop";
    let repeated = pattern.repeat(100_000);
    assert_eq!(search(&repeated, &[&repeated]).runs, 1);
    // The same window a hundred thousand times on both sides, never with the same neighbours: compared pair by pair,
    // this would take ten thousand million comparisons.
    let mut random = Random(14);
    let mut surrounded = |low: u8| -> Vec<u8> {
        let around =
            |random: &mut Random| random.bytes(8).iter().map(|byte| byte >> 1 | low).collect::<Vec<_>>();
        (0..100_000)
            .flat_map(|_| [around(&mut random), pattern.to_vec(), around(&mut random)].concat())
            .collect()
    };
    assert_eq!(search(&surrounded(0x80), &[&surrounded(0)]).runs, 0);
}

#[test]
fn a_search_without_data_or_views_says_so() {
    let nothing: &[&[u8]] = &[];
    for data in [nothing, &[b""]] {
        let outcome = scan::search(vec![raw(0, b"x")], data, &Background::default(), Limits::default());
        assert!(matches!(outcome, Err(ScanError::NoData)));
    }
    let report = search_with(Vec::new(), &[&[0; 64]], &Background::default(), Limits::default());
    assert_eq!(report.rules[Rule::CopyExact.index()], RuleResult::NotChecked);
    assert_eq!(report.exempt_millionths, 1_000_000);
}
