//! Where files are read from and written to. The implementations that touch a disk are elsewhere.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, Write};

use release::value::Name;

/// Most entries of a directory that a [`Source`] lists; one more says that there are more.
pub const ENTRY_LIMIT: usize = 1024;

/// A directory that is read. Its names and bytes may be anything.
pub trait Source {
    /// What stands directly inside: at most [`ENTRY_LIMIT`] + 1 entries.
    fn entries(&mut self) -> io::Result<Vec<Entry>>;

    /// Opens a file that [`Source::entries`] listed as one, and says how long it is.
    fn open(&mut self, name: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)>;
}

/// A directory that is written.
pub trait Sink {
    /// Makes a new file.
    fn create(&mut self, name: &Name) -> io::Result<Box<dyn Write + '_>>;

    /// Removes a file that was only begun.
    fn discard(&mut self, name: &Name) -> io::Result<()>;
}

/// Bytes that can be read from any place.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, which need not be text.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes, if it is a file.
    pub bytes: u64,
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with one name.
    File,
    /// A regular file with a second name, which may lie elsewhere.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A directory.
    Directory,
    /// A device, pipe or socket.
    Special,
}

/// Files in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InMemory(pub BTreeMap<Name, Vec<u8>>);

impl InMemory {
    /// These files.
    pub fn new(files: impl IntoIterator<Item = (Name, Vec<u8>)>) -> Self {
        Self(files.into_iter().collect())
    }
}

impl Source for InMemory {
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let entry = |(name, bytes): (&Name, &Vec<u8>)| Entry {
            name: name.as_str().into(),
            kind: EntryKind::File,
            bytes: bytes.len() as u64,
        };
        Ok(self.0.iter().take(ENTRY_LIMIT + 1).map(entry).collect())
    }

    fn open(&mut self, name: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)> {
        let bytes = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64))
    }
}

impl Sink for InMemory {
    fn create(&mut self, name: &Name) -> io::Result<Box<dyn Write + '_>> {
        match self.0.contains_key(name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(Box::new(self.0.entry(name.clone()).or_default())),
        }
    }

    fn discard(&mut self, name: &Name) -> io::Result<()> {
        self.0.remove(name);
        Ok(())
    }
}
