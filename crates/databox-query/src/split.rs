//! Where a CSV file can be cut, so that each piece is read by a thread of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Bytes that are looked at together.
const CHUNK: usize = 1 << 20;

/// Files below this are not worth a second thread.
const LEAST_BYTES: u64 = 4 << 20;

/// Cuts what follows `begin` into at most `pieces` pieces that begin and end between rows. A file with a quotation mark is
/// not cut: within one a line may end without its row doing so.
pub(crate) fn pieces(path: &Path, begin: u64, pieces: usize) -> io::Result<Vec<Range<u64>>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len().max(begin);
    let whole = || Ok(std::iter::once(begin..end).collect());
    if pieces < 2 || end - begin < LEAST_BYTES || has_quotation_mark(&mut file)? {
        return whole();
    }
    let mut cuts = vec![begin];
    for piece in 1..pieces as u64 {
        let wanted = begin + (end - begin) / pieces as u64 * piece;
        let cut = after_line(&mut file, wanted)?.unwrap_or(end);
        if cut > cuts[cuts.len() - 1] && cut < end {
            cuts.push(cut);
        }
    }
    cuts.push(end);
    Ok(cuts.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

fn has_quotation_mark(file: &mut File) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(false),
            read if memchr::memchr(b'"', &chunk[..read]).is_some() => return Ok(true),
            _ => {}
        }
    }
}

/// The first place after a line's end from here on. A line feed ends a row wherever there are no quotation marks, whatever
/// else does.
fn after_line(file: &mut File, from: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; CHUNK];
    let mut at = from;
    file.seek(SeekFrom::Start(from))?;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(place) = memchr::memchr(b'\n', &chunk[..read]) {
            return Ok(Some(at + place as u64 + 1));
        }
        at += read as u64;
    }
}
