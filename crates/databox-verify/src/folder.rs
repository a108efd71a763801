//! Released files in a directory. They may be larger than memory: each is hashed piece by piece, and the judge reads it
//! piece by piece again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use blobs::{Digest, Hasher};
use egress::{Entry, EntryKind, ReadSeek, Source};
use release::value::Name;

/// Most files of a directory that are opened. A release has at most 32.
const FILE_COUNT_LIMIT: usize = 256;

/// Largest file that is read, in bytes: 1 TiB, which is the largest that a policy can allow.
const FILE_LIMIT: u64 = 1 << 40;

/// Bytes of a file that are in memory at once.
const PIECE: usize = 1 << 20;

/// A directory that does not hold released files.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that no release holds: a directory, a link, or a name that no output has.
    #[error("{0} is not a released file")]
    Stray(PathBuf),
}

/// The files of a directory, opened and hashed.
#[derive(Debug)]
pub struct Folder(BTreeMap<Name, Hashed>);

/// A file and what it held when it was hashed.
#[derive(Debug)]
struct Hashed {
    file: File,
    bytes: u64,
    whole: Digest,
    pieces: Vec<Digest>,
}

impl Folder {
    /// Opens and hashes the files of a directory. The release file itself may lie among them and is passed over.
    ///
    /// # Errors
    /// If something cannot be read, or is nothing that a release holds.
    pub fn open(directory: &Path, release: &Path) -> Result<Self, FolderError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { path, source }
        };
        let release = fs::canonicalize(release).map_err(failed(release))?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            // A link is refused, not followed: what lies behind it is not what was handed over.
            let metadata = fs::symlink_metadata(&path).map_err(failed(&path))?;
            if metadata.is_file() && fs::canonicalize(&path).map_err(failed(&path))? == release {
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.and_then(|name| name.parse::<Name>().ok());
            let name = name.filter(|_| {
                metadata.is_file() && metadata.len() <= FILE_LIMIT && files.len() < FILE_COUNT_LIMIT
            });
            let name = name.ok_or_else(|| FolderError::Stray(path.clone()))?;
            let file = File::open(&path).map_err(failed(&path))?;
            files.insert(name, Hashed::of(file).map_err(failed(&path))?);
        }
        Ok(Self(files))
    }

    /// Size and digest of each file.
    pub fn measured(&self) -> BTreeMap<Name, (u64, Digest)> {
        self.0.iter().map(|(name, file)| (name.clone(), (file.bytes, file.whole))).collect()
    }
}

impl Hashed {
    fn of(file: File) -> io::Result<Self> {
        let (mut whole, mut pieces) = (Hasher::new(), Vec::new());
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < FILE_LIMIT {
            let length = fill(&file, at, &mut piece)?;
            if length == 0 {
                break;
            }
            whole.update(&piece[..length]);
            pieces.push(Digest::of(&piece[..length]));
            at += length as u64;
        }
        let (whole, bytes) = whole.finish();
        Ok(Self { file, bytes, whole, pieces })
    }
}

/// Reads from this place until the buffer is full or the file ends.
fn fill(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], at + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl Source for &Folder {
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let entry = |(name, file): (&Name, &Hashed)| Entry {
            name: name.as_str().into(),
            kind: EntryKind::File,
            bytes: file.bytes,
        };
        Ok(self.0.iter().map(entry).collect())
    }

    fn open(&mut self, name: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)> {
        let hashed = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok((Box::new(Reader { hashed, at: 0, piece: Vec::new(), number: None }), hashed.bytes))
    }
}

/// Reads a hashed file again. What it gives is what was hashed: were it read unlooked at, whoever can write the directory
/// could show the judge other bytes than those whose digest was compared.
struct Reader<'a> {
    hashed: &'a Hashed,
    at: u64,
    piece: Vec<u8>,
    /// Which piece that is.
    number: Option<u64>,
}

impl Reader<'_> {
    fn load(&mut self, number: u64) -> io::Result<()> {
        if self.number == Some(number) {
            return Ok(());
        }
        self.number = None;
        let begin = number * PIECE as u64;
        self.piece.resize((self.hashed.bytes - begin).min(PIECE as u64) as usize, 0);
        let length = fill(&self.hashed.file, begin, &mut self.piece)?;
        if length < self.piece.len() || Digest::of(&self.piece) != self.hashed.pieces[number as usize] {
            return Err(io::Error::other("a released file was changed while it was read"));
        }
        self.number = Some(number);
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.hashed.bytes {
            return Ok(0);
        }
        self.load(self.at / PIECE as u64)?;
        let rest = &self.piece[(self.at % PIECE as u64) as usize..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.hashed.bytes, by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(directory: &Path) -> Folder {
        let release = directory.join("x.release.json");
        fs::write(&release, b"{}").unwrap();
        Folder::open(directory, &release).unwrap()
    }

    /// Two pieces and a bit of a third.
    fn bytes() -> Vec<u8> {
        (0..2 * PIECE + 7).map(|number| (number / 5) as u8).collect()
    }

    #[test]
    fn a_file_of_several_pieces_is_hashed_whole_and_read_from_any_place() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("large"), bytes()).unwrap();
        let folder = folder(directory.path());
        let name: Name = "large".parse().unwrap();
        let measured = folder.measured();
        assert_eq!(measured[&name], (bytes().len() as u64, Digest::of(&bytes())));
        let mut source = &folder;
        let (mut reader, length) = source.open(&name).unwrap();
        assert_eq!(length, bytes().len() as u64);
        let mut found = Vec::new();
        reader.read_to_end(&mut found).unwrap();
        assert!(found == bytes());
        for at in [0, 1, PIECE - 1, PIECE, 2 * PIECE + 6, 2 * PIECE + 7, 3 * PIECE] {
            reader.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert!(rest == bytes()[at.min(bytes().len())..], "from {at}");
        }
    }

    #[test]
    fn bytes_that_were_changed_or_cut_off_after_they_were_hashed_reach_no_judge() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        let name: Name = "large".parse().unwrap();
        let read = |change: &dyn Fn(&File)| {
            fs::write(&path, bytes()).unwrap();
            let folder = folder(directory.path());
            change(&File::options().write(true).open(&path).unwrap());
            let mut found = Vec::new();
            let mut source = &folder;
            source.open(&name).unwrap().0.read_to_end(&mut found).map(|_| found)
        };
        assert!(read(&|_| ()).unwrap() == bytes());
        assert!(read(&|file| assert_eq!(file.write_at(b"!", PIECE as u64 + 1).unwrap(), 1)).is_err());
        assert!(read(&|file| file.set_len(PIECE as u64 + 1).unwrap()).is_err());
    }
}
