//! The 512-byte header of an entry, as POSIX.1-1988 (ustar) has it and in no other form.
//!
//! Readers of tar disagree about extensions, about numbers that are not octal and about bytes after a name's end.
//! Each disagreement lets one archive be two. So a header here is either the plain form or refused.

use crate::{BundleError, EntryKind};

/// Size of a block.
pub(crate) const BLOCK: usize = 512;

/// What a header says, once it is known to be in the plain form.
pub(crate) struct Header {
    /// The path, still unchecked, without a directory's final slash.
    pub path: Vec<u8>,
    pub directory: bool,
    pub executable: bool,
    pub bytes: u64,
}

struct Field {
    name: &'static str,
    at: std::ops::Range<usize>,
}

const fn field(name: &'static str, start: usize, end: usize) -> Field {
    Field { name, at: start..end }
}

const NAME: Field = field("name", 0, 100);
const MODE: Field = field("mode", 100, 108);
const UID: Field = field("uid", 108, 116);
const GID: Field = field("gid", 116, 124);
const SIZE: Field = field("size", 124, 136);
const MTIME: Field = field("mtime", 136, 148);
const CHECKSUM: Field = field("checksum", 148, 156);
const TYPE: usize = 156;
const LINK: Field = field("linkname", 157, 257);
const MAGIC: Field = field("magic", 257, 265);
const USER: Field = field("uname", 265, 297);
const GROUP: Field = field("gname", 297, 329);
const DEVICE_MAJOR: Field = field("devmajor", 329, 337);
const DEVICE_MINOR: Field = field("devminor", 337, 345);
const PREFIX: Field = field("prefix", 345, 500);
const PADDING: Field = field("padding", 500, 512);

const USTAR: &[u8] = b"ustar\x0000";

impl Header {
    /// Reads a header block that is not all zeros.
    pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Self, BundleError> {
        if &block[MAGIC.at] != USTAR {
            return Err(BundleError::HeaderFormat);
        }
        if number(block, &CHECKSUM)? != checksum(block) {
            return Err(BundleError::HeaderChecksum);
        }
        let path = full_path(block)?;
        let lossy = String::from_utf8_lossy(&path).into_owned();
        let directory = match block[TYPE] {
            b'0' => false,
            b'5' => true,
            other => return Err(BundleError::EntryKind { path: lossy, kind: EntryKind::of(other) }),
        };
        if !text(block, &LINK)?.is_empty() {
            return Err(BundleError::LinkTarget { path: lossy });
        }
        let mode = number(block, &MODE)?;
        let bytes = number(block, &SIZE)?;
        check_unused_fields(block)?;
        if directory && bytes != 0 {
            return Err(BundleError::DirectoryWithContents { path: lossy });
        }
        let path = match path.strip_suffix(b"/") {
            Some(stripped) if directory => stripped.to_vec(),
            _ => path,
        };
        Ok(Self { path, directory, executable: !directory && mode & 0o100 != 0, bytes })
    }

    /// Writes the header of a checked path, with everything fixed that could differ between two machines.
    pub(crate) fn to_block(&self) -> Result<[u8; BLOCK], BundleError> {
        let mut block = [0; BLOCK];
        let mut path = self.path.clone();
        path.extend(self.directory.then_some(b'/'));
        let (prefix, name) = split(&path)
            .ok_or_else(|| BundleError::NameTooLong { path: String::from_utf8_lossy(&path).into_owned() })?;
        put(&mut block, &PREFIX, prefix);
        put(&mut block, &NAME, name);
        let mode = if self.directory || self.executable { 0o755 } else { 0o644 };
        put_number(&mut block, &MODE, mode);
        for zero in [&UID, &GID, &MTIME, &DEVICE_MAJOR, &DEVICE_MINOR] {
            put_number(&mut block, zero, 0);
        }
        put_number(&mut block, &SIZE, self.bytes);
        block[TYPE] = if self.directory { b'5' } else { b'0' };
        put(&mut block, &MAGIC, USTAR);
        let sum = format!("{:06o}\0 ", checksum(&block));
        put(&mut block, &CHECKSUM, sum.as_bytes());
        Ok(block)
    }
}

/// Fields that a bundle does not use are still parsed, so that nothing hides in them.
fn check_unused_fields(block: &[u8; BLOCK]) -> Result<(), BundleError> {
    for unused in [&UID, &GID, &MTIME] {
        number(block, unused)?;
    }
    for device in [&DEVICE_MAJOR, &DEVICE_MINOR] {
        if block[device.at.clone()].iter().any(|byte| *byte != 0) && number(block, device)? != 0 {
            return Err(BundleError::HeaderHiddenBytes { field: device.name });
        }
    }
    for owner in [&USER, &GROUP] {
        text(block, owner)?;
    }
    match block[PADDING.at].iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(BundleError::HeaderHiddenBytes { field: PADDING.name }),
    }
}

fn full_path(block: &[u8; BLOCK]) -> Result<Vec<u8>, BundleError> {
    let (prefix, name) = (text(block, &PREFIX)?, text(block, &NAME)?);
    match prefix {
        [] => Ok(name.to_vec()),
        _ => Ok([prefix, b"/", name].concat()),
    }
}

/// The bytes before the first zero byte; all after it must be zero too.
fn text<'a>(block: &'a [u8; BLOCK], field: &Field) -> Result<&'a [u8], BundleError> {
    let bytes = &block[field.at.clone()];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    match rest.iter().all(|byte| *byte == 0) {
        true => Ok(text),
        false => Err(BundleError::HeaderHiddenBytes { field: field.name }),
    }
}

/// Octal digits, at least one, up to a zero byte or a space; then only those two.
fn number(block: &[u8; BLOCK], field: &Field) -> Result<u64, BundleError> {
    let refused = || BundleError::HeaderNumber { field: field.name };
    let bytes = &block[field.at.clone()];
    let end = bytes.iter().position(|byte| matches!(byte, 0 | b' ')).ok_or_else(refused)?;
    let (digits, rest) = bytes.split_at(end);
    let octal = digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
    if digits.is_empty() || !octal || !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Err(refused());
    }
    Ok(digits.iter().fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}

/// The sum of all bytes, those of the checksum itself counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = block[CHECKSUM.at].iter().map(|byte| u64::from(*byte)).sum();
    sum - own + 8 * u64::from(b' ')
}

/// Splits a path at a slash so that both halves fit; the name as long as possible, so that there is one way.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME.at.len() {
        return Some((b"", path));
    }
    let first = path.len() - NAME.at.len() - 1;
    let at = (first..path.len() - 1).find(|at| path[*at] == b'/')?;
    (at <= PREFIX.at.len()).then(|| (&path[..at], &path[at + 1..]))
}

fn put(block: &mut [u8; BLOCK], field: &Field, bytes: &[u8]) {
    block[field.at.start..field.at.start + bytes.len()].copy_from_slice(bytes);
}

fn put_number(block: &mut [u8; BLOCK], field: &Field, number: u64) {
    let width = field.at.len() - 1;
    put(block, field, format!("{number:0width$o}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_split_in_one_way_and_read_back() {
        let path = [vec![b'a'; 90], b"/".to_vec(), vec![b'b'; 90]].concat();
        let header = Header { path: path.clone(), directory: false, executable: true, bytes: 8 };
        let back = Header::parse(&header.to_block().unwrap()).unwrap();
        assert_eq!((back.path, back.executable, back.bytes), (path, true, 8));
    }

    #[test]
    fn a_last_name_that_fits_no_header_is_refused() {
        let header = Header { path: vec![b'a'; 101], directory: false, executable: false, bytes: 0 };
        assert!(matches!(header.to_block(), Err(BundleError::NameTooLong { .. })));
    }
}
