//! What is public, and therefore no copy.

use std::collections::HashSet;

use crate::bits::Bits;
use crate::data::Source;
use crate::filter::Filter;
use crate::hash::HashKey;
use crate::lens::Lens;

/// Length of the pieces by which public strings are recognised.
pub(crate) const PUBLIC_WINDOW: usize = 16;

/// What the site published itself: names and categories of its signed catalogue, and files of which the catalogue says by
/// their digest that anybody may read them.
///
/// A byte of a view is public if it lies in 16 bytes that stand in one of the strings, or in a run that stands in one of
/// the files. Shorter strings make nothing public, or the categories `0` and `1` would excuse any table of numbers. Strings
/// are not joined: where a header line may be repeated as a whole, the caller gives that line as one string.
///
/// Nothing that a researcher wrote belongs here, or a bundle could bring guesses of the data and be excused for them.
#[derive(Default)]
pub struct Background {
    strings: Vec<Vec<u8>>,
    pub(crate) files: Vec<Box<dyn Source>>,
}

impl Background {
    /// The background of these strings.
    pub fn of(strings: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        Self {
            strings: strings.into_iter().map(|string| string.as_ref().to_vec()).collect(),
            files: Vec::new(),
        }
    }

    /// The same, and these files. They are read only once something was found.
    #[must_use]
    pub fn with_files<S: Source + 'static>(self, files: impl IntoIterator<Item = S>) -> Self {
        Self { files: files.into_iter().map(|file| Box::new(file) as Box<dyn Source>).collect(), ..self }
    }

    /// What is public where the data is read through these lenses.
    pub(crate) fn keyed(&self, key: &HashKey, lenses: &[Lens]) -> KeyedBackground {
        let mut windows = HashSet::new();
        for string in &self.strings {
            for lens in lenses {
                windows.extend(lens.of(string).array_windows().copied());
            }
        }
        let mut filter = Filter::for_keys(windows.len());
        windows.iter().for_each(|window| filter.insert(key.narrow(window)));
        KeyedBackground { windows, filter }
    }
}

/// The background, quick to ask.
pub(crate) struct KeyedBackground {
    windows: HashSet<[u8; PUBLIC_WINDOW]>,
    filter: Filter,
}

impl KeyedBackground {
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Which bytes lie in a public window.
    pub(crate) fn bytes(&self, bytes: &[u8], key: &HashKey) -> Bits {
        let mut public = Bits::zeros(bytes.len());
        if !self.is_empty() {
            for (at, window) in bytes.array_windows().enumerate() {
                if self.holds(key.narrow(window), window) {
                    public.set(at..at + PUBLIC_WINDOW);
                }
            }
        }
        public
    }

    /// Whether a window stands in a public string. `hash` is its hash.
    #[inline]
    pub(crate) fn holds(&self, hash: u64, window: &[u8; PUBLIC_WINDOW]) -> bool {
        self.filter.may_hold(hash) && self.windows.contains(window)
    }
}
