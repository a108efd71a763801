//! Making a bundle: the same directory gives the same bytes, on every machine with the same version of the box.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::header::{BLOCK, Header};
use crate::names::check_path;
use crate::{BundleError, Limits, read};

/// Level 9 packs code about as well as higher ones, with a window of at most 4 MiB.
const LEVEL: i32 = 9;

/// Packs a directory with a `databox.toml` at its root into a bundle.
///
/// Entries are sorted by path; only bytes, names and the owner's execute bit count. What the box would refuse is
/// refused here, with the file's name: links, odd names, too many files. The bundle is read back before it is
/// returned.
pub fn pack(directory: &Path) -> Result<Vec<u8>, BundleError> {
    let limits = Limits::default();
    let mut archive = Vec::new();
    add_contents(directory, "", &limits, &mut archive)?;
    archive.extend([0; 2 * BLOCK]);
    let bundle = compress(&archive).map_err(BundleError::io(""))?;
    // A ratio that the box refuses is better said at the desk; so is a missing manifest.
    read(&bundle[..], &limits)?;
    Ok(bundle)
}

fn compress(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    std::io::Write::write_all(&mut encoder, archive)?;
    encoder.finish()
}

/// Adds what is in a directory; `path` is the directory's own, empty for the root.
fn add_contents(
    source: &Path,
    path: &str,
    limits: &Limits,
    archive: &mut Vec<u8>,
) -> Result<(), BundleError> {
    let shown = || source.display().to_string();
    let mut names = Vec::new();
    for entry in fs::read_dir(source).map_err(BundleError::io(shown()))? {
        let name = entry.map_err(BundleError::io(shown()))?.file_name();
        names.push(name.into_string().map_err(|name| BundleError::NameCharacter {
            path: Path::new(path).join(name).to_string_lossy().into_owned(),
        })?);
    }
    names.sort_unstable();
    for name in names {
        let inner = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        check_path(inner.as_bytes())?;
        add(&source.join(&name), &inner, limits, archive)?;
    }
    Ok(())
}

fn add(source: &Path, path: &str, limits: &Limits, archive: &mut Vec<u8>) -> Result<(), BundleError> {
    let found = fs::symlink_metadata(source).map_err(BundleError::io(path))?;
    if found.is_dir() {
        let header = Header { path: path.into(), directory: true, executable: false, bytes: 0 };
        archive.extend(header.to_block()?);
        return add_contents(source, path, limits, archive);
    }
    if !found.is_file() {
        return Err(BundleError::SourceKind { path: path.to_owned() });
    }
    add_file(source, path, limits, archive)
}

fn add_file(source: &Path, path: &str, limits: &Limits, archive: &mut Vec<u8>) -> Result<(), BundleError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(source, flags, Mode::empty())
        .map_err(|error| BundleError::io(path)(error.into()))?;
    let file = File::from(file);
    let found = file.metadata().map_err(BundleError::io(path))?;
    if !found.is_file() {
        return Err(BundleError::SourceKind { path: path.to_owned() });
    }
    let room = limits.bytes.saturating_sub(archive.len() as u64);
    let mut bytes = Vec::new();
    file.take(room + 1).read_to_end(&mut bytes).map_err(BundleError::io(path))?;
    if bytes.len() as u64 > room {
        return Err(BundleError::TooLarge { limit: limits.bytes });
    }
    let executable = found.permissions().mode() & 0o100 != 0;
    let header = Header { path: path.into(), directory: false, executable, bytes: bytes.len() as u64 };
    archive.extend(header.to_block()?);
    archive.extend(&bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}
