//! The search against the plainest possible one: every pair of positions, byte by byte.

mod material;

use std::collections::BTreeSet;

use material::{Random, SMALL, SMALL_INDEXED, both_ways, raw, search_with};
use scan::{Background, Limits, PLAIN_RUN, RUN};

fn distinct(bytes: &[u8]) -> usize {
    bytes.iter().collect::<BTreeSet<_>>().len()
}

fn has_period_up_to_4(bytes: &[u8]) -> bool {
    (1..=4).any(|period| (period..bytes.len()).all(|index| bytes[index] == bytes[index - period]))
}

/// Whole windows of `size` bytes, aligned to it, within a run of `data`.
fn whole_windows(data: &[u8], from: usize, length: usize, size: usize) -> impl Iterator<Item = &[u8]> {
    let first = from.next_multiple_of(size);
    (first..)
        .step_by(size)
        .take_while(move |at| at + size <= from + length)
        .map(move |at| &data[at..at + size])
}

fn is_reported(data: &[u8], from: usize, length: usize, private: usize, background: &[Vec<u8>]) -> bool {
    let narrow = private >= RUN
        && whole_windows(data, from, length, 16)
            .any(|window| distinct(window) >= 5 && !is_public(window, background));
    let wide = private >= PLAIN_RUN
        && whole_windows(data, from, length, 64)
            .any(|block| block.chunks(16).all(|window| distinct(window) < 5) && !has_period_up_to_4(block));
    narrow || wide
}

fn is_public(window: &[u8], background: &[Vec<u8>]) -> bool {
    background.iter().any(|string| string.windows(16).any(|public| public == window))
}

/// Which bytes of `view` stand in 16 bytes of a public string.
fn public_bytes(view: &[u8], background: &[Vec<u8>]) -> Vec<bool> {
    let mut public = vec![false; view.len()];
    for at in 0..(view.len() + 1).saturating_sub(16) {
        if is_public(&view[at..at + 16], background) {
            public[at..at + 16].fill(true);
        }
    }
    public
}

/// Offset and length of each place.
fn reference(view: &[u8], data: &[u8], background: &[Vec<u8>]) -> Vec<(u64, u64)> {
    let public = public_bytes(view, background);
    let mut found = vec![false; view.len()];
    for diagonal in 1..view.len() + data.len() {
        let (mut position, mut from) =
            (diagonal.saturating_sub(data.len()), data.len().saturating_sub(diagonal));
        while position < view.len() && from < data.len() {
            let pairs = view[position..].iter().zip(&data[from..]);
            let length = pairs.take_while(|(a, b)| a == b).count();
            let private = public[position..position + length].iter().filter(|public| !**public).count();
            if is_reported(data, from, length, private, background) {
                found[position..position + length].fill(true);
            }
            position += length + 1;
            from += length + 1;
        }
    }
    let mut places = Vec::new();
    for (at, _) in found.iter().enumerate().filter(|(_, found)| **found) {
        match places.last_mut() {
            Some((offset, length)) if *offset + *length == at as u64 => *length += 1,
            _ => places.push((at as u64, 1)),
        }
    }
    places
}

/// Letters, plain stretches and repetitions, with pieces of `from` between them.
fn patchwork(random: &mut Random, from: &[&[u8]], length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let size = 1 + random.below(160);
        match random.below(6) {
            0 => bytes.extend(vec![random.below(3) as u8; size]),
            1 => bytes.extend(random.letters(b"ACGT", size / 4)),
            2 => {
                let period = 1 + random.below(9);
                bytes.extend(random.letters(b"0123", period).repeat(size / period));
            }
            3 => bytes.extend(random.letters(b"abcdefgh,;", size / 4)),
            _ if from.is_empty() => bytes.extend(random.letters(b"01ab", size)),
            _ => {
                let source = from[random.below(from.len())];
                let start = random.below(source.len());
                bytes.extend(&source[start..(start + size).min(source.len())]);
            }
        }
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn what_is_reported_is_what_every_pair_of_positions_shows() {
    let mut random = Random(1);
    let mut runs = 0;
    for round in 0..300 {
        let length = 200 + random.below(1500);
        let data = patchwork(&mut random, &[], length);
        let view = patchwork(&mut random, &[&data], length);
        let expected = reference(&view, &data, &[]);
        for limits in both_ways() {
            let report = search_with(vec![raw(0, &view)], &[&data], &Background::default(), limits);
            assert_eq!(report.runs, expected.len() as u64, "round {round}");
            for (place, expected) in report.places.iter().zip(&expected) {
                assert_eq!((place.offset, place.length), *expected, "round {round}");
            }
        }
        runs += expected.len();
    }
    assert!(runs > 500, "{runs} runs are too few to show anything");
}

#[test]
fn public_strings_are_excused_as_every_pair_of_positions_shows() {
    let mut random = Random(2);
    let (mut counted, mut excused) = (0, 0);
    for round in 0..200 {
        let background: Vec<Vec<u8>> = (0..4)
            .map(|_| {
                let length = 10 + random.below(60);
                random.letters(b"abcdefgh ", length)
            })
            .collect();
        let names: Vec<&[u8]> = background.iter().map(Vec::as_slice).collect();
        let data = patchwork(&mut random, &names, 1200);
        let pieces = [&[&data[..]][..], &names].concat();
        let view = patchwork(&mut random, &pieces, 1200);
        let background_of = Background::of(&background);
        let expected = reference(&view, &data, &background);
        for limits in both_ways() {
            let report = search_with(vec![raw(0, &view)], &[&data], &background_of, limits);
            assert_eq!(report.runs, expected.len() as u64, "round {round}");
        }
        counted += expected.len();
        excused += u64::from(reference(&view, &data, &[]) != expected);
    }
    assert!(counted > 100 && excused > 100, "{counted} and {excused} are too few to show anything");
}

#[test]
fn chunks_and_passes_change_nothing() {
    let mut random = Random(3);
    for round in 0..6 {
        let data = patchwork(&mut random, &[], 30_000 + round);
        let views: Vec<Vec<u8>> = (0..3).map(|_| patchwork(&mut random, &[&data], 12_345)).collect();
        let name = patchwork(&mut random, &[&data], 90);
        let background = Background::of([&name]);
        let searched = |limits| {
            let views = views.iter().enumerate().map(|(output, view)| raw(output as u16, view)).collect();
            search_with(views, &[&data], &background, limits)
        };
        let expected = searched(Limits::default());
        assert!(expected.runs > 0, "round {round}");
        for limits in [SMALL, SMALL_INDEXED].into_iter().chain(both_ways()) {
            assert_eq!(searched(limits), expected, "round {round}");
        }
    }
}
