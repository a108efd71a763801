//! When matches are more than chance. See `docs/decisions/numeric-copies.md`.

use std::collections::{BTreeMap, HashMap};

/// An alarm is raised only where chance alone would raise it in one of 2^40 searches.
pub(super) const ALARM_BITS: f64 = 40.0;

/// Different matches that are remembered.
const REMEMBERED: usize = 1 << 20;

/// Most records that may share what was matched. What more of them have is nobody's own: the beds of a hospital, the price of a code.
const SHARED_BY: u32 = 32;

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

/// Bits of three values, at most 13 each.
const LOOKED_UP_LEVELS: usize = 40;

/// Three values are as rarely met as those of which the chance has so many bits less, and all rarer ones.
const ALIKE: usize = 6;

/// Bits of how rarely so few of nobody's values are met, between which nothing is tried.
const UNSEEN: usize = 4;

/// By how much more often values of a record may stand together than those of different ones, which share nothing.
const TOGETHER: f64 = 64.0;

/// How often three values were looked up, by the bits of their chance.
pub(super) struct LookedUp {
    records: [f64; LOOKED_UP_LEVELS],
    decoys: [f64; LOOKED_UP_LEVELS],
    /// How often those of records that nobody has stood in an output.
    met: [f64; LOOKED_UP_LEVELS],
}

impl Default for LookedUp {
    fn default() -> Self {
        let none = [0.0; LOOKED_UP_LEVELS];
        Self { records: none, decoys: none, met: none }
    }
}

impl LookedUp {
    pub(super) fn add(&mut self, decoy: bool, bits: f32) {
        let count = if decoy { &mut self.decoys } else { &mut self.records };
        count[level(bits)] += 1.0;
    }

    /// Counts a place where they stand.
    pub(super) fn meet(&mut self, decoy: bool, bits: f32) {
        self.met[level(bits)] += f64::from(decoy);
    }

    /// How many matches of at least so many bits chance gives at so many places: of each three values as many as their own
    /// chance says, and of those as many as the bits of what follows them say. In an output unlike the data it is far fewer: by
    /// the share of those of nobody that were met. As few would be met by chance once in 2^`unseen` if there were more.
    fn by_chance(&self, places: f64, bits: usize, unseen: f64) -> f64 {
        let expected =
            |count: &[f64; LOOKED_UP_LEVELS], level: usize| count[level] * places * (-(level as f64)).exp2();
        let at = |level: usize| {
            let alike = level.saturating_sub(ALIKE)..LOOKED_UP_LEVELS;
            let met: f64 = self.met[alike.clone()].iter().sum();
            let most = met + (2.0 * unseen * met).sqrt() + unseen * std::f64::consts::LN_2;
            let of_decoys: f64 = alike.map(|level| expected(&self.decoys, level)).sum();
            let share = TOGETHER * most / of_decoys;
            let first = expected(&self.records, level) * if share < 1.0 { share } else { 1.0 };
            first * (-(bits.saturating_sub(level) as f64)).exp2()
        };
        (0..LOOKED_UP_LEVELS).map(at).sum()
    }
}

fn level(bits: f32) -> usize {
    (bits as usize).min(LOOKED_UP_LEVELS - 1)
}

/// What became of one content: the most bits, and of how many records.
#[derive(Default)]
struct Matched {
    bits: f32,
    records: u32,
}

/// Matches of records, each different content once, with those of records that nobody has.
#[derive(Default)]
pub(super) struct Evidence {
    real: HashMap<u64, Matched>,
    decoys: HashMap<u64, Matched>,
    /// By table and reading: in an output records of one may be met far more often than those of another.
    pub(super) looked_up: BTreeMap<(usize, usize), LookedUp>,
}

impl Evidence {
    /// Counts a match with so many bits. `content` names what was matched.
    pub(super) fn add(&mut self, decoy: bool, content: u64, bits: f32) {
        let matches = if decoy { &mut self.decoys } else { &mut self.real };
        if matches.len() < REMEMBERED || matches.contains_key(&content) {
            let known = matches.entry(content).or_default();
            known.bits = known.bits.max(bits);
            known.records = known.records.saturating_add(1);
        }
    }

    /// The least bits of a match from which on there are so many that chance does not explain them; none if it does.
    ///
    /// Chance is the larger of two: what the chances of the single values say, were they independent, and what records
    /// of values of different people, which share nothing but the distribution, have in fact.
    ///
    /// `places` is the count of places of outputs that were compared with.
    pub(super) fn alarm(&self, places: usize) -> Option<f32> {
        let (real, decoys) = (at_least(&self.real), at_least(&self.decoys));
        let levels = COUNTED_BITS as usize..LEVELS;
        // The levels are tried one after the other, which is paid for with their number.
        let enough = ALARM_BITS + (LEVELS as f64).log2();
        let alarming = |level: &usize| {
            let count = real[*level];
            let by_decoys = decoys[*level] * super::DECOY_EACH as f64;
            // Whatever the share of what is met: either that is as rare, or so many matches are.
            count > 0.0
                && (0..enough as usize).step_by(UNSEEN).all(|unseen| {
                    let of = |looked_up: &LookedUp| {
                        looked_up.by_chance(places as f64, *level, (unseen + UNSEEN) as f64)
                    };
                    let chance: f64 = self.looked_up.values().map(of).sum();
                    rarity(count, chance.max(by_decoys)) + unseen as f64 >= enough
                })
        };
        levels.rev().find(alarming).map(|level| level as f32)
    }
}

/// How many matches have at least so many bits, but for those that too many records share.
fn at_least(matches: &HashMap<u64, Matched>) -> [f64; LEVELS] {
    let mut counts = [0.0; LEVELS];
    for Matched { bits, .. } in matches.values().filter(|matched| matched.records <= SHARED_BY) {
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

    const PLACES: usize = 1 << 20;

    fn evidence(decoys: f64) -> Evidence {
        let mut evidence = Evidence::default();
        let looked_up = evidence.looked_up.entry((0, 0)).or_default();
        looked_up.records[15] = 1024.0;
        looked_up.decoys[15] = decoys;
        evidence
    }

    #[test]
    fn one_match_counts_if_its_bits_outweigh_all_comparisons() {
        let mut evidence = evidence(0.0);
        evidence.add(false, 1, 70.0);
        assert_eq!(evidence.alarm(PLACES), None);
        evidence.add(false, 2, 90.0);
        assert!(evidence.alarm(PLACES).is_some());
    }

    #[test]
    fn many_matches_of_the_same_content_are_one_and_decoys_take_an_alarm_back() {
        let mut evidence = evidence(0.0);
        (0..SHARED_BY).for_each(|_| evidence.add(false, 1, 45.0));
        assert_eq!(evidence.alarm(PLACES), None);
        (0..100).for_each(|content| evidence.add(false, content, 45.0));
        assert!(evidence.alarm(PLACES).is_some());
        (0..25).for_each(|content| evidence.add(true, content, 45.0));
        assert_eq!(evidence.alarm(PLACES), None);
    }

    #[test]
    fn fewer_matches_count_in_an_output_in_which_values_of_nobody_hardly_stand() {
        let few = |decoys, met: u32| {
            let mut evidence = evidence(decoys);
            (0..12).for_each(|content| evidence.add(false, content, 29.0));
            (0..met).for_each(|_| evidence.looked_up.entry((0, 0)).or_default().meet(true, 15.5));
            evidence.alarm(PLACES).is_some()
        };
        assert!(few(256.0, 0) && !few(256.0, 256 << 5));
        // Nothing is known where no such record was looked up.
        assert!(!few(0.0, 0));
    }

    #[test]
    fn what_many_records_share_is_nobodys_own() {
        let alarm = |shared_by: u32| {
            let mut evidence = evidence(0.0);
            (0..100).for_each(|content| (0..shared_by).for_each(|_| evidence.add(false, content, 45.0)));
            evidence.alarm(PLACES).is_some()
        };
        assert!(alarm(1) && alarm(SHARED_BY) && !alarm(SHARED_BY + 1));
    }

    #[test]
    fn that_records_of_one_table_are_hardly_met_says_nothing_of_another() {
        let alarm = |of_decoys: (usize, usize)| {
            let mut evidence = evidence(0.0);
            evidence.looked_up.entry(of_decoys).or_default().decoys[15] = 65536.0;
            (0..12).for_each(|content| evidence.add(false, content, 29.0));
            evidence.alarm(PLACES).is_some()
        };
        assert!(alarm((0, 0)));
        assert!(!alarm((7, 0)) && !alarm((0, 1)));
    }
}
