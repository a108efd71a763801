//! What is known of the data before it is read, so that less of the views is searched for, in less of the data.

use std::ops::Range;

use crate::ScanError;
use crate::background::KeyedBackground;
use crate::bits::Bits;
use crate::data_index::DataIndex;
use crate::hash::HashKey;
use crate::snapshot_index::{Asked, Marks, SnapshotIndex};

/// What tells which windows of views may stand in the data.
pub(crate) enum Hints<'a> {
    /// Nothing does.
    None,
    /// The windows of the data, in filters that were made for this search.
    Windows(&'a DataIndex),
    /// Indexes of all files of the data, in their order.
    Snapshots(&'a [SnapshotIndex], &'a KeyedBackground),
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
    /// Which windows of these pieces of `bytes` may stand in the data.
    pub(crate) fn near(
        &self,
        bytes: &[u8],
        pieces: &[Range<usize>],
        key: &HashKey,
    ) -> Result<Option<Near>, ScanError> {
        let mut starts = Bits::zeros(bytes.len());
        match self {
            Self::None => Ok(None),
            Self::Windows(index) => {
                pieces.iter().for_each(|piece| index.mark(bytes, piece.clone(), key, &mut starts));
                Ok(Some(Near { starts, stretches: None }))
            }
            Self::Snapshots(indexes, background) => {
                let is_public = |window: &[u8; 16]| background.holds(key.narrow(window), window);
                let asked = Asked { bytes, pieces, is_public: &is_public };
                let (mut stretches, mut files) = (Vec::new(), 0);
                for index in *indexes {
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
