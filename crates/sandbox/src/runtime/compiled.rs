//! Python's compiled modules. Without them an interpreter compiles what it imports at each start, since a runtime is
//! read-only: most of the time of a small job.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// How an interpreter names and begins its compiled modules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    /// Such as `cpython-311`.
    tag: String,
    /// The first four bytes, as a little-endian number: another interpreter's are not read.
    magic: u32,
}

/// Bytes before the code.
const HEAD: usize = 16;

/// Says that the module is used without a look at its source (PEP 552, "unchecked hash-based").
const UNCHECKED: u32 = 1;

impl Form {
    /// Where the compiled form of a module lies.
    pub(super) fn place(&self, source: &Path) -> Option<PathBuf> {
        let name = format!("{}.{}.pyc", source.file_stem()?.to_str()?, self.tag);
        (source.extension()? == "py").then(|| source.with_file_name("__pycache__").join(name))
    }

    /// The compiled form of a module of the host, if there is one and it is of this source, made independent of when the
    /// source was written: a copy is written at another time, and its time is no part of a runtime's digest.
    pub(super) fn of(&self, source: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = self.place(source) else { return Ok(None) };
        // One that only another user may read is none: without it all works, and takes longer.
        let Ok(mut bytes) = fs::read(place) else { return Ok(None) };
        let about = fs::metadata(source)?;
        let Some((head, _)) = bytes.split_at_mut_checked(HEAD) else { return Ok(None) };
        let (words, _) = head.as_chunks_mut::<4>();
        // Both are cut to 32 bits.
        let expected = [self.magic, 0, about.mtime() as u32, about.len() as u32];
        if words.iter().map(|word| u32::from_le_bytes(*word)).ne(expected) {
            return Ok(None);
        }
        words[1] = UNCHECKED.to_le_bytes();
        // A hash of the source would stand here, which nobody compares.
        (words[2], words[3]) = ([0; 4], [0; 4]);
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_compiled_module_is_taken_only_if_it_is_of_its_source() {
        let directory = tempfile::tempdir().unwrap();
        let form = Form { tag: "cpython-311".to_owned(), magic: 7 };
        let source = directory.path().join("module.py");
        fs::write(&source, "x = 1\n").unwrap();
        assert_eq!(form.of(&source).unwrap(), None, "there is none");
        let place = form.place(&source).unwrap();
        assert!(place.ends_with("__pycache__/module.cpython-311.pyc"));
        fs::create_dir(place.parent().unwrap()).unwrap();
        let written = fs::metadata(&source).unwrap().mtime() as u32;
        let compiled = |words: [u32; 4]| [&words.map(u32::to_le_bytes).concat()[..], b"code"].concat();
        fs::write(&place, compiled([7, 0, written, 6])).unwrap();
        assert_eq!(form.of(&source).unwrap(), Some(compiled([7, UNCHECKED, 0, 0])));
        for other in [[8, 0, written, 6], [7, 3, written, 6], [7, 0, written + 1, 6], [7, 0, written, 7]] {
            fs::write(&place, compiled(other)).unwrap();
            assert_eq!(form.of(&source).unwrap(), None, "{other:?}");
        }
        fs::write(&place, b"short").unwrap();
        assert_eq!(form.of(&source).unwrap(), None);
        fs::write(&place, compiled([7, 0, written, 6])).unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert_eq!(form.of(&source).unwrap(), None, "the source was written since");
        assert_eq!(form.place(&directory.path().join("data.txt")), None);
    }
}
