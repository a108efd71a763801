//! Tensors of which the signed request fixed the bytes before the run, by their digest: those of a public base model
//! that are not trained. Whatever the data are, the file holds these bytes or is blocked, so they carry nothing.
//!
//! Where a tensor stands follows from declaration and policy. So it is hashed without reading a header, and whoever
//! holds data or a key can do that, too.

use std::io::{self, Read, Seek, SeekFrom};

use blobs::{Digest, Hasher};
use release::statement::{DeclaredTensor, Precision};

use super::form::written_plan;
use super::layout::{header, layout};
use crate::files::ReadSeek;
use crate::policy::Policy;

/// Whether the header is that of the declaration, whole numbers are within the range that they are charged for, and each
/// fixed tensor has the bytes that the request fixed.
pub(crate) fn holds<R: Read + Seek + ?Sized>(
    precision: Precision,
    tensors: &[DeclaredTensor],
    file: &mut R,
) -> io::Result<bool> {
    let expected = header(precision, tensors);
    let mut found = vec![0; expected.len()];
    file.seek(SeekFrom::Start(0))?;
    match file.read_exact(&mut found) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let in_range = match precision.largest_whole() {
        None => true,
        Some(most) => whole_numbers_are_within(most, precision, tensors, file)?,
    };
    Ok(found == expected && in_range && first_that_is_not_as_fixed(precision, tensors, file)?.is_none())
}

/// Each whole number takes a byte and is charged with fewer bits: the others must say nothing.
fn whole_numbers_are_within<R: Read + Seek + ?Sized>(
    most: u8,
    precision: Precision,
    tensors: &[DeclaredTensor],
    file: &mut R,
) -> io::Result<bool> {
    // Scales stand before all whole numbers.
    let scales = layout(precision, tensors).into_iter().filter(|stretch| stretch.is_scale);
    let before: u64 = scales.map(|scale| scale.values * scale.dtype.bytes()).sum();
    file.seek(SeekFrom::Current(before as i64))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(read) => {
                if buffer[..read].iter().any(|byte| (*byte as i8).unsigned_abs() > most) {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn first_that_is_not_as_fixed<'a, R: Read + Seek + ?Sized>(
    precision: Precision,
    tensors: &'a [DeclaredTensor],
    file: &mut R,
) -> io::Result<Option<&'a DeclaredTensor>> {
    if tensors.iter().all(|tensor| tensor.sha256.is_none()) {
        return Ok(None);
    }
    let digests = digests(precision, tensors, |tensor| tensor.sha256.is_some(), file)?;
    let differs = |(tensor, digest): &(&DeclaredTensor, Option<Digest>)| *digest != tensor.sha256;
    Ok(tensors.iter().zip(digests).find(differs).map(|(tensor, _)| tensor))
}

/// The digest of each wanted tensor's data: of its scale, if the precision has one, and its values. None for what is not
/// wanted and for what the file is too short for.
fn digests<R: Read + Seek + ?Sized>(
    precision: Precision,
    tensors: &[DeclaredTensor],
    is_wanted: impl Fn(&DeclaredTensor) -> bool,
    file: &mut R,
) -> io::Result<Vec<Option<Digest>>> {
    let mut hashers: Vec<_> = tensors.iter().map(|tensor| is_wanted(tensor).then(Hasher::new)).collect();
    let mut offset = header(precision, tensors).len() as u64;
    for stretch in layout(precision, tensors) {
        let bytes = stretch.values.saturating_mul(stretch.dtype.bytes());
        let slot = &mut hashers[stretch.tensor];
        if let Some(mut hasher) = slot.take() {
            file.seek(SeekFrom::Start(offset))?;
            if hash(file, bytes, &mut hasher)? {
                *slot = Some(hasher);
            }
        }
        offset = offset.saturating_add(bytes);
    }
    Ok(hashers.into_iter().map(|hasher| Some(hasher?.finish().0)).collect())
}

/// False if there are not so many bytes left.
fn hash<R: Read + ?Sized>(file: &mut R, bytes: u64, hasher: &mut Hasher) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let wanted = left.min(buffer.len() as u64) as usize;
        match file.read(&mut buffer[..wanted]) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The tensors of a canonical file of which nothing was declared, as its header names them. The box never asks: there
/// everything is declared.
///
/// # Errors
/// If the file cannot be read, or is not canonical.
pub fn tensors_written(
    policy: &Policy,
    file: &mut dyn ReadSeek,
    bytes: u64,
) -> io::Result<Vec<DeclaredTensor>> {
    written_plan(&policy.weights, file, bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The tensors of a canonical file, each with the digest of its data: what a manifest names to fix them.
///
/// # Errors
/// If the file cannot be read, or is not canonical.
pub fn tensors_of_form(
    policy: &Policy,
    file: &mut dyn ReadSeek,
    bytes: u64,
) -> io::Result<Vec<DeclaredTensor>> {
    let plan = tensors_written(policy, file, bytes)?;
    let digests = digests(policy.weights.precision, &plan, |_| true, file)?;
    Ok(plan.into_iter().zip(digests).map(|(tensor, sha256)| DeclaredTensor { sha256, ..tensor }).collect())
}
