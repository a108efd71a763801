//! How often each key may do something.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Keys come from outside: when so many are known, those that have not been seen for long are forgotten.
const MANY: usize = 4096;

/// Counts by key: so many at once, and so many more each second.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    at_once: u32,
    a_second: u32,
    left: Mutex<HashMap<K, Left>>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    number: u32,
    since: Instant,
}

impl<K: Copy + Eq + Hash> Rates<K> {
    pub(crate) fn new(at_once: u32, a_second: u32) -> Self {
        Self { at_once, a_second, left: Mutex::default() }
    }

    /// True if the key may once more.
    pub(crate) fn take(&self, key: K, now: Instant) -> bool {
        let mut known = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            // Who has all that there is may as well not be known.
            known.retain(|_, left| self.now(*left, now).number < self.at_once);
        }
        let left = known.entry(key).or_insert(Left { number: self.at_once, since: now });
        *left = self.now(*left, now);
        let rest = left.number.checked_sub(1);
        left.number = rest.unwrap_or(0);
        rest.is_some()
    }

    fn now(&self, left: Left, now: Instant) -> Left {
        let seconds = now.saturating_duration_since(left.since).as_secs();
        if seconds == 0 {
            return left;
        }
        let more = u64::from(self.a_second).saturating_mul(seconds).min(u64::from(self.at_once)) as u32;
        Left { number: left.number.saturating_add(more).min(self.at_once), since: now }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_may_so_often_and_again_after_a_while_and_others_are_not_kept_from_it() {
        let (rates, begun) = (Rates::new(3, 2), Instant::now());
        let taken = |key: u32, seconds| {
            (0..10).filter(|_| rates.take(key, begun + Duration::from_secs(seconds))).count()
        };
        assert_eq!((taken(1, 0), taken(2, 0)), (3, 3));
        assert_eq!(taken(1, 0), 0);
        assert_eq!(taken(1, 1), 2);
        assert_eq!(taken(1, 1000), 3, "no more is saved up than at first");
    }

    #[test]
    fn keys_that_come_once_are_not_kept_for_ever() {
        let (rates, begun) = (Rates::new(2, 1), Instant::now());
        for number in 0..100_000_u32 {
            assert!(rates.take(number, begun + Duration::from_millis(u64::from(number))));
        }
        assert!(rates.left.lock().unwrap().len() <= MANY);
    }
}
