//! When matches are more than chance. See `docs/decisions/numeric-copies.md`.

use std::collections::HashMap;

/// An alarm is raised only where chance alone would raise it in one of 2^40 searches.
pub(super) const ALARM_BITS: f64 = 40.0;

/// Different matches that are remembered.
const REMEMBERED: usize = 1 << 20;

/// Least bits of a match that is counted.
pub(super) const COUNTED_BITS: f32 = 20.0;

const LEVELS: usize = 256;

/// Bits by which `count` events are rarer than chance, which gives `expected` of them: a Poisson variable is as large
/// with a chance of at most `exp(-expected) (e expected / count)^count` (Chernoff). Negative where chance gives more.
pub(super) fn rarity(count: f64, expected: f64) -> f64 {
    if count <= expected {
        return 0.0;
    }
    let expected = expected.max(f64::MIN_POSITIVE);
    count * (count / expected).log2() - (count - expected) * std::f64::consts::LOG2_E
}

/// Matches of records, each different content once, with those of records that nobody has.
#[derive(Default)]
pub(super) struct Evidence {
    real: HashMap<u64, f32>,
    decoys: HashMap<u64, f32>,
    /// Pairs of a place of the outputs and a place of the data that were compared.
    pub(super) comparisons: f64,
}

impl Evidence {
    /// Counts a match with so many bits. `content` names what was matched.
    pub(super) fn add(&mut self, decoy: bool, content: u64, bits: f32) {
        let matches = if decoy { &mut self.decoys } else { &mut self.real };
        if matches.len() < REMEMBERED || matches.contains_key(&content) {
            let known = matches.entry(content).or_insert(bits);
            *known = known.max(bits);
        }
    }

    /// The least bits of a match from which on there are so many that chance does not explain them; none if it does.
    ///
    /// Chance is the larger of two: what the chances of the single values say, were they independent, and what records
    /// of values of different people, which share nothing but the distribution, have in fact.
    pub(super) fn alarm(&self) -> Option<f32> {
        let (real, decoys) = (at_least(&self.real), at_least(&self.decoys));
        let levels = COUNTED_BITS as usize..LEVELS;
        let alarming = |level: &usize| {
            let by_values = self.comparisons * (-(*level as f64)).exp2();
            // The levels are tried one after the other, which is paid for with their number.
            let tries = (LEVELS as f64).log2();
            rarity(real[*level], by_values.max(decoys[*level] * super::DECOY_EACH as f64))
                >= ALARM_BITS + tries
        };
        levels.rev().find(alarming).map(|level| level as f32)
    }
}

/// How many matches have at least so many bits.
fn at_least(matches: &HashMap<u64, f32>) -> [f64; LEVELS] {
    let mut counts = [0.0; LEVELS];
    for bits in matches.values() {
        counts[(*bits as usize).min(LEVELS - 1)] += 1.0;
    }
    for level in (0..LEVELS - 1).rev() {
        counts[level] += counts[level + 1];
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_match_counts_if_its_bits_outweigh_all_comparisons() {
        let mut evidence = Evidence { comparisons: 2.0_f64.powi(30), ..Evidence::default() };
        evidence.add(false, 1, 70.0);
        assert_eq!(evidence.alarm(), None);
        evidence.add(false, 2, 90.0);
        assert!(evidence.alarm().is_some());
    }

    #[test]
    fn many_matches_of_the_same_content_are_one_and_decoys_take_an_alarm_back() {
        let mut evidence = Evidence { comparisons: 2.0_f64.powi(30), ..Evidence::default() };
        (0..100).for_each(|_| evidence.add(false, 1, 45.0));
        assert_eq!(evidence.alarm(), None);
        (0..100).for_each(|content| evidence.add(false, content, 45.0));
        assert!(evidence.alarm().is_some());
        (0..25).for_each(|content| evidence.add(true, content, 45.0));
        assert_eq!(evidence.alarm(), None);
    }
}
