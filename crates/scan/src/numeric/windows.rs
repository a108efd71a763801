//! Fields of a record that stand one after the other in an output.
//!
//! Three values in a row of the outputs are looked up by what they are as bfloat16; then the match is followed to both
//! sides, field by field. Fields may be left out, so that a choice of columns is found.

use super::evidence::LookedUp;
use super::sample::{Chances, Key, NO_NUMBER, key, near};

/// Fields of a record that may be left out between two that are looked up.
const SKIPPED: usize = 2;

/// Fields that may be left out where a match is followed.
const FOLLOWED: usize = 8;

/// Bits of the choice of so many fields that are left out: log2 of one more.
const CHOICE: [f32; FOLLOWED] = [0.0, 1.0, 1.585, 2.0, 2.322, 2.585, 2.807, 3.0];

/// Places of the same three values that are followed. A repeated pattern says nothing new.
const SAME: usize = 16;

/// Bits below which three fields are not looked up.
const LOOKED_UP_BITS: f32 = 9.0;

/// A number of a record.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) key: Key,
    pub(super) bits: f32,
}

/// The numbers of a record, whose first column has this number, with the bits of their chance.
pub(super) fn fields(first: usize, record: &[f64], chances: &Chances, into: &mut Vec<Field>) {
    into.clear();
    for (column, value) in (first..).zip(record) {
        let key = key(*value);
        if key != NO_NUMBER {
            into.push(Field { key, bits: chances.bits(column, key) });
        }
    }
}

/// Where a record was met.
#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) bits: f32,
}

/// The values of outputs in one order, indexed by three of them.
pub(super) struct Windows {
    keys: Vec<Key>,
    filter: Vec<u64>,
    entries: Vec<(u32, u32)>,
    /// Where the entries of each first bits of a hash begin.
    starts: Vec<u32>,
    shift: u32,
}

fn hash(a: Key, b: Key, c: Key) -> u32 {
    let three = u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32;
    let mixed = (three ^ three >> 23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

impl Windows {
    pub(super) fn new(keys: Vec<Key>) -> Self {
        let mut entries = Vec::new();
        for (at, three) in keys.windows(3).enumerate() {
            let different = three[0] != three[1] && three[1] != three[2] && three[0] != three[2];
            if different && !three.contains(&NO_NUMBER) {
                entries.push((hash(three[0], three[1], three[2]), at as u32));
            }
        }
        entries.sort_unstable();
        let mut seen = (0, 0);
        entries.retain(|(hash, _)| {
            seen = if seen.0 == *hash { (*hash, seen.1 + 1) } else { (*hash, 1) };
            seen.1 <= SAME
        });
        let bits = (entries.len().max(64) * 8).next_power_of_two();
        let mut filter = vec![0_u64; bits / 64];
        for (hash, _) in &entries {
            let bit = *hash as usize & (bits - 1);
            filter[bit / 64] |= 1 << (bit % 64);
        }
        let first_bits = entries.len().max(2).next_power_of_two().ilog2().min(24);
        let shift = 32 - first_bits;
        let mut starts = vec![0_u32; (1 << first_bits) + 1];
        for (hash, _) in &entries {
            starts[(*hash >> shift) as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self { keys, filter, entries, starts, shift }
    }

    /// Places that are compared with.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The values between two places, by name.
    pub(super) fn content(&self, found: &Match) -> u64 {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        self.keys[found.start..found.end].iter().fold(start, |hash, key| {
            (hash ^ u64::from(*key)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        })
    }

    /// Looks a record up, or one that nobody has. Matches that overlap in the output are one: the best.
    pub(super) fn look_up(
        &self,
        fields: &[Field],
        decoy: bool,
        counts: &mut LookedUp,
        into: &mut Vec<Match>,
    ) {
        into.clear();
        let bits = self.filter.len() * 64;
        let reach = SKIPPED + 1;
        for first in 0..fields.len().saturating_sub(2) {
            for second in first + 1..(first + 1 + reach).min(fields.len() - 1) {
                for third in second + 1..(second + 1 + reach).min(fields.len()) {
                    let [a, b, c] = [fields[first], fields[second], fields[third]];
                    let different = a.key != b.key && a.key != c.key && b.key != c.key;
                    let chance = a.bits + b.bits + c.bits;
                    if !different || chance < LOOKED_UP_BITS {
                        continue;
                    }
                    counts.add(decoy, chance);
                    let hash = hash(a.key, b.key, c.key);
                    let bit = hash as usize & (bits - 1);
                    if self.filter[bit / 64] >> (bit % 64) & 1 == 1 {
                        let met = self.follow_all(fields, [first, second, third], hash, into);
                        (0..met).for_each(|_| counts.meet(decoy, chance));
                    }
                }
            }
        }
        best_of_overlapping(into);
    }

    /// Follows three values wherever they stand, and returns how many places that are, but for those in a match that is known.
    fn follow_all(&self, fields: &[Field], three: [usize; 3], hash: u32, into: &mut Vec<Match>) -> usize {
        let before = into.len();
        let group = (hash >> self.shift) as usize;
        let entries = &self.entries[self.starts[group] as usize..self.starts[group + 1] as usize];
        for (other, at) in entries {
            let at = *at as usize;
            let same = |index: usize| self.keys[at + index] == fields[three[index]].key;
            let known = into.iter().any(|found| found.start <= at && at + 3 <= found.end);
            if *other == hash && !known && (0..3).all(same) {
                into.push(self.follow(fields, three, at));
            }
        }
        into.len() - before
    }

    fn follow(&self, fields: &[Field], three: [usize; 3], at: usize) -> Match {
        let choice = |left_out: usize| CHOICE[left_out];
        let mut seen = three.map(|index| fields[index].key).to_vec();
        let mut bits: f32 = three.iter().map(|index| fields[*index].bits).sum();
        bits -= choice(three[1] - three[0] - 1) + choice(three[2] - three[1] - 1);
        let (mut end, mut field) = (at + 3, three[2]);
        while end < self.keys.len() {
            let next = (field + 1..(field + 1 + FOLLOWED).min(fields.len()))
                .find(|index| near(fields[*index].key, self.keys[end]));
            let Some(next) = next else { break };
            bits += worth(&mut seen, fields[next], choice(next - field - 1));
            (field, end) = (next, end + 1);
        }
        let (mut start, mut field) = (at, three[0]);
        while start > 0 {
            let before = (field.saturating_sub(FOLLOWED)..field)
                .rev()
                .find(|index| near(fields[*index].key, self.keys[start - 1]));
            let Some(before) = before else { break };
            bits += worth(&mut seen, fields[before], choice(field - before - 1));
            (field, start) = (before, start - 1);
        }
        Match { start, end, bits }
    }
}

/// What one more field adds. A value that stands there already adds nothing: zeros, flags and codes come together, so
/// that the chances of each alone would say too much.
fn worth(seen: &mut Vec<Key>, field: Field, choice: f32) -> f32 {
    if seen.contains(&field.key) {
        return 0.0;
    }
    seen.push(field.key);
    (field.bits - choice).max(0.0)
}

fn best_of_overlapping(matches: &mut Vec<Match>) {
    if matches.len() < 2 {
        return;
    }
    matches.sort_by(|a, b| b.bits.total_cmp(&a.bits));
    let mut kept: Vec<Match> = Vec::new();
    for found in matches.drain(..) {
        if kept.iter().all(|other| found.end <= other.start || other.end <= found.start) {
            kept.push(found);
        }
    }
    *matches = kept;
}
