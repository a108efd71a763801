//! The walk over a bundle's entries.

use std::io::Read;

use blobs::{Digest, Hasher};

use crate::frame::{Bounds, Unpacked};
use crate::header::{BLOCK, Header};
use crate::names::{Seen, check_path};
use crate::{BundleError, MANIFEST_NAME, Manifest, ManifestError};

/// Most bytes of a manifest.
const MANIFEST_LIMIT: u64 = 768 * 1024;
/// Zero bytes that may follow the two closing blocks: tar pads to records of 20 blocks.
const RECORD: usize = 20 * BLOCK;
const CHUNK: usize = 64 * 1024;

/// How large a bundle may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive once unpacked.
    pub bytes: u64,
    /// Files and directories.
    pub entries: usize,
    /// How many times larger the archive may be than the bundle. Real code stays below 20.
    pub ratio: u64,
    /// Up to so many bytes the ratio is not looked at: small files of one repeated line are harmless.
    pub ratio_floor: u64,
}

impl Default for Limits {
    /// 512 MiB, 10,000 entries, a ratio of 100 from 1 MiB on.
    fn default() -> Self {
        Self { bytes: 512 << 20, entries: 10_000, ratio: 100, ratio_floor: 1 << 20 }
    }
}

/// What a bundle holds, in the order of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its files and directories. Directories that only their contents name are not listed.
    pub entries: Vec<Entry>,
    /// The bytes of `databox.toml`, unparsed.
    pub manifest: Vec<u8>,
    /// Bytes of all files together.
    pub bytes: u64,
}

/// A file or directory of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from the bundle's root, parts separated by `/`.
    pub path: String,
    /// What it is.
    pub contents: Contents,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its size.
        bytes: u64,
        /// Its digest.
        sha256: Digest,
        /// True if its owner may execute it; no other permission bit counts.
        executable: bool,
    },
}

impl Listing {
    /// Parses the manifest.
    pub fn parse_manifest(&self) -> Result<Manifest, ManifestError> {
        Manifest::parse_bytes(&self.manifest)
    }
}

/// Reads a whole bundle, checks all of it and lists what it holds. Writes nothing.
pub fn read(bundle: impl Read, limits: &Limits) -> Result<Listing, BundleError> {
    walk(bundle, limits, &mut Discard)
}

/// Where the walk puts what it reads. Every path that it gets is checked; parents come before their contents.
pub(crate) trait Sink {
    fn directory(&mut self, path: &str) -> Result<(), BundleError>;
    fn begin_file(&mut self, path: &str, executable: bool) -> Result<(), BundleError>;
    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError>;
}

struct Discard;

impl Sink for Discard {
    fn directory(&mut self, _: &str) -> Result<(), BundleError> {
        Ok(())
    }
    fn begin_file(&mut self, _: &str, _: bool) -> Result<(), BundleError> {
        Ok(())
    }
    fn write(&mut self, _: &[u8]) -> Result<(), BundleError> {
        Ok(())
    }
}

pub(crate) fn walk(bundle: impl Read, limits: &Limits, sink: &mut impl Sink) -> Result<Listing, BundleError> {
    let bounds = Bounds { bytes: limits.bytes, ratio: limits.ratio, ratio_floor: limits.ratio_floor };
    let mut archive = Unpacked::new(bundle, bounds)?;
    let mut seen = Seen::new(limits.entries);
    let mut listing = Listing { entries: Vec::new(), manifest: Vec::new(), bytes: 0 };
    let mut manifest = None;
    while let Some(header) = next_header(&mut archive)? {
        let path = check_path(&header.path)?.to_owned();
        let new_directories = seen.add(&path, header.directory)?;
        new_directories.iter().try_for_each(|directory| sink.directory(directory))?;
        let contents = if header.directory {
            Contents::Directory
        } else {
            let keep = (path == MANIFEST_NAME).then(|| manifest.insert(Vec::new()));
            listing.bytes += header.bytes;
            read_file(&mut archive, &path, &header, keep, sink)?
        };
        listing.entries.push(Entry { path, contents });
    }
    check_rest_is_zero(&mut archive)?;
    archive.finish()?;
    listing.manifest = manifest.ok_or(BundleError::ManifestMissing)?;
    Ok(listing)
}

/// The next header, or nothing at the first of the two closing blocks.
fn next_header(archive: &mut Unpacked<'_, impl Read>) -> Result<Option<Header>, BundleError> {
    let block = read_block(archive)?;
    if block.iter().any(|byte| *byte != 0) {
        return Header::parse(&block).map(Some);
    }
    // One zero block alone ends the archive for some readers and not for others.
    match read_block(archive)?.iter().all(|byte| *byte == 0) {
        true => Ok(None),
        false => Err(BundleError::BytesAfterArchive),
    }
}

fn read_block(archive: &mut Unpacked<'_, impl Read>) -> Result<[u8; BLOCK], BundleError> {
    let mut block = [0; BLOCK];
    match archive.fill(&mut block)? {
        BLOCK => Ok(block),
        _ => Err(BundleError::Truncated),
    }
}

fn read_file(
    archive: &mut Unpacked<'_, impl Read>,
    path: &str,
    header: &Header,
    mut keep: Option<&mut Vec<u8>>,
    sink: &mut impl Sink,
) -> Result<Contents, BundleError> {
    if keep.is_some() && header.bytes > MANIFEST_LIMIT {
        return Err(BundleError::ManifestTooLarge { limit: MANIFEST_LIMIT });
    }
    sink.begin_file(path, header.executable)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut left = header.bytes;
    while left > 0 {
        let wanted = left.min(CHUNK as u64) as usize;
        let chunk = &mut buffer[..wanted];
        if archive.fill(chunk)? != wanted {
            return Err(BundleError::Truncated);
        }
        hasher.update(chunk);
        sink.write(chunk)?;
        keep.iter_mut().for_each(|kept| kept.extend_from_slice(chunk));
        left -= wanted as u64;
    }
    let padding = &mut buffer[..(header.bytes.next_multiple_of(BLOCK as u64) - header.bytes) as usize];
    if archive.fill(padding)? != padding.len() {
        return Err(BundleError::Truncated);
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(BundleError::HiddenPadding { path: path.to_owned() });
    }
    let (sha256, bytes) = hasher.finish();
    Ok(Contents::File { bytes, sha256, executable: header.executable })
}

fn check_rest_is_zero(archive: &mut Unpacked<'_, impl Read>) -> Result<(), BundleError> {
    let mut rest = [0; RECORD + 1];
    let read = archive.fill(&mut rest)?;
    match read <= RECORD && rest.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(BundleError::BytesAfterArchive),
    }
}
