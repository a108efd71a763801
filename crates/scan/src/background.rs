//! What is public, and therefore no copy.

use std::collections::HashSet;

use crate::filter::Filter;
use crate::hash::HashKey;

/// Length of the pieces by which public strings are recognised.
pub(crate) const PUBLIC_WINDOW: usize = 16;

/// Strings that the site published itself: names and categories of its signed catalogue.
///
/// A byte of a view is public if it lies in 16 bytes that stand in one of these strings. Shorter strings make nothing
/// public, or the categories `0` and `1` would excuse any table of numbers. Strings are not joined: where a header line
/// may be repeated as a whole, the caller gives that line as one string.
///
/// Nothing that a researcher wrote belongs here, or a bundle could bring guesses of the data and be excused for them.
#[derive(Default)]
pub struct Background {
    windows: HashSet<[u8; PUBLIC_WINDOW]>,
}

impl Background {
    /// The background of these strings.
    pub fn of(strings: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut windows = HashSet::new();
        for string in strings {
            windows.extend(string.as_ref().array_windows().copied());
        }
        Self { windows }
    }

    pub(crate) fn keyed(&self, key: &HashKey) -> KeyedBackground<'_> {
        let mut filter = Filter::for_keys(self.windows.len());
        self.windows.iter().for_each(|window| filter.insert(key.narrow(window)));
        KeyedBackground { windows: &self.windows, filter }
    }
}

/// The background, quick to ask.
pub(crate) struct KeyedBackground<'a> {
    windows: &'a HashSet<[u8; PUBLIC_WINDOW]>,
    filter: Filter,
}

impl KeyedBackground<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Whether a window stands in a public string. `hash` is its hash.
    #[inline]
    pub(crate) fn holds(&self, hash: u64, window: &[u8; PUBLIC_WINDOW]) -> bool {
        self.filter.may_hold(hash) && self.windows.contains(window)
    }
}
