//! The disk that comes back from a machine: what the program printed and what it left in its output space, one after the
//! other, in a form that holds nothing but names, lengths and bytes.
//!
//! The machine's init writes it when the program is dead, and may be the program itself, should that have taken its kernel
//! over. So it is read by a program of ours behind the wall that has nothing but this disk and an empty directory
//! (`databox-launch unpack`), and whatever is not of the form ends the reading.
//!
//! ```text
//! "databox result 1", length of what was printed (u32), what was printed, entries, 0
//! entry: kind (1 byte), length of the name (1 byte, not 0), name, and for a file its length (u64) and its bytes
//! kind:  1 a plain file with one name, 2 anything else, 3 a plain file larger than the output space (of holes)
//! ```
//!
//! Numbers are little-endian. Only the names at the top of the output space are told: no output lies deeper.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use crate::specification::Specification;

const BEGIN: &[u8; 16] = b"databox result 1";
const END: u8 = 0;
const FILE: u8 = 1;
const OTHER: u8 = 2;
const TOO_LARGE: u8 = 3;

/// Kind, length of the name, the longest name, length of the bytes.
const ENTRY: u64 = 1 + 1 + 255 + 8;

/// Bytes of the disk that holds whatever a program may leave, in whole sectors.
pub fn disk_bytes(specification: &Specification) -> u64 {
    let output = specification.output.as_ref();
    let entries = output.map_or(0, |output| output.entries).saturating_mul(ENTRY);
    let bytes = output.map_or(0, |output| output.bytes).saturating_add(entries);
    let fixed = BEGIN.len() as u64 + 4 + specification.limits.stdout_bytes + 1;
    // A size that no disk can have is refused where it is made.
    bytes.saturating_add(fixed).checked_next_multiple_of(1 << 16).unwrap_or(u64::MAX)
}

/// Writes one.
pub struct Writer<W> {
    to: W,
    left: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with what the program printed. Files may have `most` bytes together.
    pub fn new(mut to: W, printed: &[u8], most: u64) -> io::Result<Self> {
        to.write_all(BEGIN)?;
        let length = u32::try_from(printed.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(printed)?;
        Ok(Self { to, left: most })
    }

    /// A plain file with one name. If it is larger than all that may be, only that is told.
    pub fn file(&mut self, name: &OsStr, bytes: u64, content: impl Read) -> io::Result<()> {
        let Some(left) = self.left.checked_sub(bytes) else { return self.begin(TOO_LARGE, name) };
        self.left = left;
        self.begin(FILE, name)?;
        self.to.write_all(&bytes.to_le_bytes())?;
        let copied = io::copy(&mut content.take(bytes), &mut self.to)?;
        if copied == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Anything else.
    pub fn other(&mut self, name: &OsStr) -> io::Result<()> {
        self.begin(OTHER, name)
    }

    fn begin(&mut self, kind: u8, name: &OsStr) -> io::Result<()> {
        let length = u8::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidFilename)?;
        self.to.write_all(&[kind, length])?;
        self.to.write_all(name.as_bytes())
    }

    /// Ends it.
    pub fn end(mut self) -> io::Result<W> {
        self.to.write_all(&[END])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// What a reader finds, piece by piece.
pub trait Found {
    /// A part of what the program printed.
    fn printed(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// A plain file, all of which must be read.
    fn file(&mut self, name: &OsStr, content: &mut dyn Read) -> io::Result<()>;
    /// Anything that is no plain file.
    fn other(&mut self, name: &OsStr) -> io::Result<()>;
    /// A plain file that is larger than the output space.
    fn too_large(&mut self, name: &OsStr) -> io::Result<()>;
}

/// Reads one of a program that may have printed so many bytes.
///
/// # Errors
/// It is not of the form, or what was found cannot be written. What was found before stays.
pub fn read(mut from: impl Read, printed_most: u64, found: &mut impl Found) -> io::Result<()> {
    if number::<16>(&mut from)? != *BEGIN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut left = u64::from(u32::from_le_bytes(number(&mut from)?));
    if left > printed_most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut chunk = [0; 1 << 12];
    while left > 0 {
        let part = &mut chunk[..left.min(1 << 12) as usize];
        from.read_exact(part)?;
        found.printed(part)?;
        left -= part.len() as u64;
    }
    let mut names = BTreeSet::new();
    loop {
        let [kind] = number(&mut from)?;
        if kind == END {
            return Ok(());
        }
        let name = read_name(&mut from)?;
        if !names.insert(name.clone()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let name = OsStr::from_bytes(&name);
        match kind {
            FILE => {
                let bytes = u64::from_le_bytes(number(&mut from)?);
                let mut content = (&mut from).take(bytes);
                found.file(name, &mut content)?;
                if content.limit() > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            OTHER => found.other(name)?,
            TOO_LARGE => found.too_large(name)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn number<const N: usize>(mut from: impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A name that lies in a directory and nowhere else.
fn read_name(mut from: impl Read) -> io::Result<Vec<u8>> {
    let [length] = number(&mut from)?;
    let mut name = vec![0; usize::from(length)];
    from.read_exact(&mut name)?;
    let is_one =
        !name.iter().any(|byte| matches!(byte, b'/' | 0)) && !matches!(&name[..], b"" | b"." | b"..");
    if is_one { Ok(name) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, PartialEq, Eq)]
    struct Kept {
        printed: Vec<u8>,
        found: Vec<(String, Option<Vec<u8>>, bool)>,
    }

    impl Found for Kept {
        fn printed(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.printed.extend_from_slice(bytes);
            Ok(())
        }
        fn file(&mut self, name: &OsStr, content: &mut dyn Read) -> io::Result<()> {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            self.found.push((name.to_string_lossy().into_owned(), Some(bytes), false));
            Ok(())
        }
        fn other(&mut self, name: &OsStr) -> io::Result<()> {
            self.found.push((name.to_string_lossy().into_owned(), None, false));
            Ok(())
        }
        fn too_large(&mut self, name: &OsStr) -> io::Result<()> {
            self.found.push((name.to_string_lossy().into_owned(), None, true));
            Ok(())
        }
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), b"hello", 100).unwrap();
        writer.file("metrics.json".as_ref(), 2, &b"{}"[..]).unwrap();
        writer.file("holes".as_ref(), 1 << 50, io::empty()).unwrap();
        writer.other("directory".as_ref()).unwrap();
        writer.file("rest".as_ref(), 98, &[7; 98][..]).unwrap();
        writer.end().unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_a_file_beyond_the_space_is_told_as_such() {
        let mut kept = Kept::default();
        let mut disk = written();
        disk.resize(1 << 16, 0);
        read(&disk[..], 5, &mut kept).unwrap();
        assert_eq!(kept.printed, b"hello");
        let expected = [
            ("metrics.json".to_owned(), Some(b"{}".to_vec()), false),
            ("holes".to_owned(), None, true),
            ("directory".to_owned(), None, false),
            ("rest".to_owned(), Some(vec![7; 98]), false),
        ];
        assert_eq!(kept.found, expected);
    }

    #[test]
    fn a_disk_that_is_cut_anywhere_or_not_of_the_form_is_refused() {
        let whole = written();
        for length in 0..whole.len() {
            assert!(read(&whole[..length], 5, &mut Kept::default()).is_err(), "{length} bytes");
        }
        assert!(read(&whole[..], 4, &mut Kept::default()).is_err(), "more than may be printed");
        let disk = |entry: &[u8]| [&BEGIN[..], &[0; 4], entry, &[END]].concat();
        read(&disk(&[OTHER, 1, b'a'])[..], 0, &mut Kept::default()).unwrap();
        let refused: [&[u8]; 8] = [
            &[4, 1, b'a'],
            &[OTHER, 0],
            &[OTHER, 1, b'.'],
            &[OTHER, 2, b'.', b'.'],
            &[OTHER, 3, b'a', b'/', b'b'],
            &[OTHER, 2, b'a', 0],
            &[OTHER, 1, b'a', OTHER, 1, b'a'],
            &[FILE, 1, b'a', 255, 255, 255, 255, 255, 255, 255, 255, b'x'],
        ];
        for entry in refused {
            assert!(read(&disk(entry)[..], 0, &mut Kept::default()).is_err(), "{entry:?}");
        }
    }
}
