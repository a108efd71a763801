//! A directory, opened once; its entries are opened relative to it and never through a link.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use egress::{ENTRY_LIMIT, Entry, EntryKind, ReadSeek, Sink, Source};
use release::value::Name;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};

/// An open directory.
pub(crate) struct Directory {
    descriptor: OwnedFd,
    one_name_only: bool,
}

impl Directory {
    /// Opens a directory. Its path is the caller's own and may be a link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let descriptor = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { descriptor, one_name_only: false })
    }

    /// From here on a file with a second name (hard link) does not count as a file. The second name could lie where
    /// the job, or another one, still writes.
    pub(crate) fn with_one_name_only(self) -> Self {
        Self { one_name_only: true, ..self }
    }

    /// Opens a regular file of the directory for reading.
    pub(crate) fn file(&self, name: &str) -> io::Result<(File, u64)> {
        // Without NONBLOCK a pipe that takes the file's place would hold this process for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = fs::openat(&self.descriptor, name, flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        match self.kind(&stat) {
            EntryKind::File => Ok((File::from(file), stat.st_size as u64)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Makes a new file in the directory.
    pub(crate) fn new_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        Ok(File::from(fs::openat(&self.descriptor, name, flags, mode)?))
    }

    fn kind(&self, stat: &Stat) -> EntryKind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if self.one_name_only && stat.st_nlink != 1 => EntryKind::HardLink,
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::SymbolicLink,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Special,
        }
    }
}

impl Source for Directory {
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = self.kind(&stat);
            entries.push(Entry { name: name.to_bytes().into(), kind, bytes: stat.st_size as u64 });
            if entries.len() > ENTRY_LIMIT {
                break;
            }
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn open(&mut self, name: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)> {
        let (file, bytes) = self.file(name.as_str())?;
        Ok((Box::new(BufReader::with_capacity(1 << 16, file)), bytes))
    }
}

impl Sink for Directory {
    fn create(&mut self, name: &Name) -> io::Result<Box<dyn Write + '_>> {
        Ok(Box::new(BufWriter::with_capacity(1 << 16, self.new_file(name.as_str())?)))
    }

    fn discard(&mut self, name: &Name) -> io::Result<()> {
        match fs::unlinkat(&self.descriptor, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
