//! What is known of the data before it is read, so that less of the views is searched for, in less of the data.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ScanError;
use crate::background::KeyedBackground;
use crate::bits::Bits;
use crate::data_index::{self, DataIndex};
use crate::hash::HashKey;
use crate::pairs::Pairs;
use crate::snapshot_index::{Asked, Marks, SnapshotIndex};

/// What tells which windows of views may stand in the data.
#[derive(Clone, Copy)]
pub(crate) struct Hints<'a> {
    /// Which bytes follow which in the data; `None` if that is not known.
    pub(crate) pairs: Option<&'a Pairs>,
    /// What is asked for the windows of what those leave.
    pub(crate) windows: Windows<'a>,
}

/// What knows the windows of the data.
#[derive(Clone, Copy)]
pub(crate) enum Windows<'a> {
    /// Nothing does.
    Unknown,
    /// Filters that are made in this search once there is enough to ask for.
    Made(&'a MadeIndex<'a>),
    /// Indexes of all files of the data, in their order.
    Snapshots(&'a [SnapshotIndex], &'a KeyedBackground),
}

/// An index of the data that is made for one search, if there is enough to ask for.
pub(crate) struct MadeIndex<'a> {
    make: Box<dyn Fn() -> Result<DataIndex, ScanError> + Sync + 'a>,
    data_bytes: u64,
    /// Bytes of views that there were to ask for.
    asked: AtomicU64,
    made: Mutex<Option<Arc<DataIndex>>>,
}

impl<'a> MadeIndex<'a> {
    /// An index of so many bytes of data.
    pub(crate) fn new(data_bytes: u64, make: impl Fn() -> Result<DataIndex, ScanError> + Sync + 'a) -> Self {
        Self { make: Box::new(make), data_bytes, asked: AtomicU64::default(), made: Mutex::default() }
    }

    /// The index, for so many bytes of views more. `None` while reading the data for them is quicker than making it.
    pub(crate) fn for_bytes(&self, bytes: u64) -> Result<Option<Arc<DataIndex>>, ScanError> {
        let asked = self.asked.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if !data_index::is_worth(self.data_bytes, asked) {
            return Ok(None);
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            *made = Some(Arc::new((self.make)()?));
        }
        Ok(made.clone())
    }
}

/// A file by its number, and what of it is read: ranges of bytes.
pub(crate) type FileStretches = (usize, Vec<Range<u64>>);

/// The windows that may stand in the data.
pub(crate) struct Near {
    /// Where they begin.
    pub(crate) starts: Bits,
    /// The files that they may stand in, in order, and the stretches of each; `None` if it may be any.
    pub(crate) stretches: Option<Vec<FileStretches>>,
}

impl Hints<'_> {
    /// That nothing is known.
    pub(crate) const NONE: Hints<'static> = Hints { pairs: None, windows: Windows::Unknown };

    /// Which windows of these pieces of `bytes` may stand in the data.
    pub(crate) fn near(
        &self,
        bytes: &[u8],
        pieces: &[Range<usize>],
        key: &HashKey,
    ) -> Result<Option<Near>, ScanError> {
        let mut left = Vec::new();
        let Some(pairs) = self.pairs else { return self.near_of(bytes, pieces, key) };
        for piece in pieces {
            pairs.stretches(bytes, piece.clone(), |stretch| left.push(stretch));
        }
        let near = if left.is_empty() { None } else { self.near_of(bytes, &left, key)? };
        Ok(Some(near.unwrap_or_else(|| {
            let mut starts = Bits::zeros(bytes.len());
            left.into_iter().for_each(|stretch| starts.set(stretch));
            Near { starts, stretches: None }
        })))
    }

    /// Which windows of these stretches may, as far as the windows of the data are known.
    fn near_of(
        &self,
        bytes: &[u8],
        stretches: &[Range<usize>],
        key: &HashKey,
    ) -> Result<Option<Near>, ScanError> {
        match self.windows {
            Windows::Unknown => Ok(None),
            Windows::Made(index) => {
                let count = stretches.iter().map(|stretch| stretch.len() as u64).sum();
                let Some(index) = index.for_bytes(count)? else { return Ok(None) };
                let mut starts = Bits::zeros(bytes.len());
                stretches.iter().for_each(|stretch| index.mark(bytes, stretch.clone(), key, &mut starts));
                Ok(Some(Near { starts, stretches: None }))
            }
            Windows::Snapshots(indexes, background) => {
                let mut starts = Bits::zeros(bytes.len());
                let is_public = |window: &[u8; 16]| background.holds(key.narrow(window), window);
                let asked = Asked { bytes, pieces: stretches, is_public: &is_public };
                let (mut stretches, mut files) = (Vec::new(), 0);
                for index in indexes {
                    let mut chunks = index.no_chunks();
                    index.mark(&asked, &mut Marks { near: &mut starts, chunks: &mut chunks })?;
                    let of_index = index.stretches(&chunks).into_iter();
                    stretches.extend(of_index.map(|(file, of_file)| (files + file, of_file)));
                    files += index.files();
                }
                Ok(Some(Near { starts, stretches: Some(stretches) }))
            }
        }
    }
}
