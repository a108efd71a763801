//! What was sent on one connection and is not acknowledged yet.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Remembers when each thing was sent last.
#[derive(Debug)]
pub struct Pending<K> {
    sent: HashMap<K, Instant>,
    again: Duration,
}

impl<K: Eq + Hash + Clone> Pending<K> {
    /// Nothing was sent on this connection yet. After `again` a thing is sent once more.
    pub fn new(again: Duration) -> Self {
        Self { sent: HashMap::new(), again }
    }

    /// Which of the things that are to be acknowledged are to be sent now. Things that are not among them any more
    /// are forgotten.
    pub fn due<T>(&mut self, open: Vec<T>, key: impl Fn(&T) -> K, now: Instant) -> Vec<T> {
        let before = std::mem::take(&mut self.sent);
        let mut to_send = Vec::new();
        for thing in open {
            let key = key(&thing);
            let last = before.get(&key).filter(|last| now.duration_since(**last) < self.again);
            self.sent.insert(key, last.copied().unwrap_or(now));
            if last.is_none() {
                to_send.push(thing);
            }
        }
        to_send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_sent_once_and_again_after_a_while_until_it_is_acknowledged() {
        let mut pending = Pending::new(Duration::from_secs(1));
        let start = Instant::now();
        let mut send = |open: &[u32], after: u64| {
            pending.due(open.to_vec(), |number| *number, start + Duration::from_millis(after))
        };
        assert_eq!(send(&[1, 2], 0), [1, 2]);
        assert_eq!(send(&[1, 2, 3], 500), [3]);
        assert_eq!(send(&[1, 2, 3], 1000), [1, 2]);
        assert_eq!(send(&[2], 1100), [0u32; 0]);
        assert_eq!(send(&[1], 1200), [1]);
    }
}
