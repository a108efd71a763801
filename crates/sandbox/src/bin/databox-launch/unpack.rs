//! Reads the disk that came back from a machine, behind a wall of its own: it has that disk, an empty directory, and
//! nothing else. Whatever it is given, it can do no more than fill the directory.

use std::ffi::OsStr;
use std::fs::{File, create_dir};
use std::io::{self, BufReader, Read, Write, copy, stdout};
use std::path::Path;

use sandbox::machine::result::{Found, read};

/// Where the disk and the directory are.
const RESULT: &str = "/result";
const SPACE: &str = "/out";

/// Unpacks for an output space of so many bytes what a program left that may have printed so many. False if the disk is
/// not of the form.
pub fn run(bytes: u64, printed: u64) -> bool {
    let unpack = || read(BufReader::new(File::open(RESULT)?), printed, &mut Space { bytes });
    unpack().is_ok()
}

struct Space {
    bytes: u64,
}

impl Found for Space {
    fn printed(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Flushed: what stands behind the last line's end would else stay in this process.
        let mut out = stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    fn file(&mut self, name: &OsStr, content: &mut dyn Read) -> io::Result<()> {
        copy(content, &mut File::create_new(Path::new(SPACE).join(name))?).map(drop)
    }

    /// Whatever it was, a directory is no output either.
    fn other(&mut self, name: &OsStr) -> io::Result<()> {
        create_dir(Path::new(SPACE).join(name))
    }

    /// A file of holes that is too large here, too.
    fn too_large(&mut self, name: &OsStr) -> io::Result<()> {
        File::create_new(Path::new(SPACE).join(name))?.set_len(self.bytes.saturating_add(1))
    }
}
