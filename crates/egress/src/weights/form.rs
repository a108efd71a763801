//! Weights written anew from their values, and the check that a file is such a form.

use std::io::{self, Read, SeekFrom, Write};

use release::rule::Rule;
use release::statement::{DeclaredTensor, Precision};
use release::value::{Count, Name};

use super::fixed;
use super::header::{Dtype, HeaderLimits, Tensor, Tensors, WeightsError};
use super::layout::{Stretch, data_bytes, header, layout};
use super::number::{self, BF16, F16, F32, Format, Rounded};
use crate::files::ReadSeek;
use crate::finding::Notes;
use crate::policy::WeightsPolicy;

/// Values are converted so many at a time.
const CHUNK: u64 = 8192;

/// Weights that have no canonical form.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum FormError {
    #[error("{0}")]
    Written(#[from] WeightsError),
    #[error("no tensor is declared")]
    NothingDeclared,
    #[error("the tensor {0} is not declared")]
    Undeclared(Name),
    #[error("the tensor {0} is declared and missing")]
    Missing(Name),
    #[error("the tensor {name} has the shape {found:?}; {declared:?} is declared")]
    Shape { name: Name, found: Vec<u64>, declared: Vec<u64> },
    #[error("the tensor {0} holds a NaN or an infinity")]
    NotFinite(Name),
    #[error("the tensor {0} holds a value too large for the policy's precision")]
    TooLarge(Name),
    #[error("the canonical file cannot be written")]
    Sink(#[source] io::Error),
    #[error("the file is not as long as its declared tensors make it")]
    NotCanonicalLength,
    #[error("the header is not the one that follows from the declaration")]
    NotCanonicalHeader,
    #[error("the tensor {0} holds a value that no canonical form has: -0, a subnormal, an infinity or a NaN")]
    NotCanonicalValue(String),
    #[error(
        "the tensor {0} is not the one whose digest the request names: it was trained, or rounded otherwise"
    )]
    NotAsFixed(Name),
}

/// The declared tensors; where none is declared and what was written counts as declared, those of the file.
fn plan(declared: Option<&[DeclaredTensor]>, tensors: &Tensors) -> Result<Vec<DeclaredTensor>, FormError> {
    let written = |tensor: &Tensor| DeclaredTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.iter().copied().map(Count).collect(),
        sha256: None,
    };
    let plan = declared.map_or_else(|| tensors.iter().map(written).collect(), <[_]>::to_vec);
    if plan.is_empty() {
        return Err(FormError::NothingDeclared);
    }
    let undeclared = |tensor: &&Tensor| !plan.iter().any(|declared| declared.name == tensor.name);
    if let Some(tensor) = tensors.iter().find(undeclared) {
        return Err(FormError::Undeclared(tensor.name.clone()));
    }
    Ok(plan)
}

/// Writes the canonical form of a file of so many bytes. What was changed is noted.
pub(crate) fn canonicalise(
    policy: &WeightsPolicy,
    declared: Option<&[DeclaredTensor]>,
    reader: &mut dyn ReadSeek,
    bytes: u64,
    writer: &mut dyn Write,
) -> Result<Notes, FormError> {
    let tensors = Tensors::read(reader, bytes, policy.into())?;
    let plan = plan(declared, &tensors)?;
    let mut sources = Vec::new();
    for declared in &plan {
        let tensor = tensors.find(&declared.name).ok_or_else(|| FormError::Missing(declared.name.clone()))?;
        let shape: Vec<u64> = declared.shape.iter().map(|length| length.0).collect();
        if tensor.shape != shape {
            let (name, found) = (tensor.name.clone(), tensor.shape.clone());
            return Err(FormError::Shape { name, found, declared: shape });
        }
        sources.push(tensor);
    }
    writer.write_all(&header(policy.precision, &plan)).map_err(FormError::Sink)?;
    let mut changes = Changes { metadata: tensors.metadata, ..Changes::default() };
    match policy.precision {
        Precision::Bf16 => write_floats(&sources, BF16, reader, writer, &mut changes)?,
        Precision::F16 => write_floats(&sources, F16, reader, writer, &mut changes)?,
        Precision::F32 => write_floats(&sources, F32, reader, writer, &mut changes)?,
        Precision::Int8 | Precision::Int6 | Precision::Int5 | Precision::Int4 | Precision::Int3 => {
            write_integers(policy.precision, &sources, reader, writer, &mut changes)?;
        }
    }
    Ok(changes.notes(policy.precision))
}

#[derive(Default)]
struct Changes {
    metadata: u64,
    rounded: u64,
    zeroed: u64,
}

impl Changes {
    fn notes(&self, precision: Precision) -> Notes {
        let mut notes = Notes::default();
        let kept = match precision {
            Precision::Bf16 => "rounded to bfloat16",
            Precision::F16 => "rounded to binary16",
            Precision::F32 => "rounded to binary32",
            Precision::Int8 | Precision::Int6 | Precision::Int5 | Precision::Int4 | Precision::Int3 => {
                "rounded to a multiple of the tensor's scale"
            }
        };
        notes.changed(Rule::WeightsForm, self.rounded, kept);
        notes.changed(Rule::WeightsForm, self.zeroed, "-0 or subnormal, set to 0");
        notes.changed(Rule::WeightsForm, self.metadata, "of free metadata dropped");
        notes
    }
}

/// Calls `each` with the values of a tensor, some at a time.
fn for_values(
    tensor: &Tensor,
    reader: &mut dyn ReadSeek,
    mut each: impl FnMut(&[f64]) -> Result<(), FormError>,
) -> Result<(), FormError> {
    let size = tensor.dtype.bytes();
    let mut data = tensor.data(reader).map_err(WeightsError::File)?;
    let mut left = tensor.values;
    let mut buffer = vec![0; (CHUNK.min(left) * size) as usize];
    let mut values = Vec::with_capacity(CHUNK as usize);
    while left > 0 {
        let count = CHUNK.min(left);
        let chunk = &mut buffer[..(count * size) as usize];
        data.read_exact(chunk).map_err(WeightsError::File)?;
        values.clear();
        values.extend(chunk.chunks_exact(size as usize).map(|bytes| number::read(tensor.dtype, bytes)));
        if values.iter().any(|value| !value.is_finite()) {
            return Err(FormError::NotFinite(tensor.name.clone()));
        }
        each(&values)?;
        left -= count;
    }
    Ok(())
}

fn write_floats(
    tensors: &[&Tensor],
    format: Format,
    reader: &mut dyn ReadSeek,
    writer: &mut dyn Write,
    changes: &mut Changes,
) -> Result<(), FormError> {
    let bytes = ((1 + format.exponent + format.fraction) / 8) as usize;
    let mut out = Vec::with_capacity(CHUNK as usize * bytes);
    for tensor in tensors {
        for_values(tensor, reader, |values| {
            out.clear();
            for value in values {
                let bits = match number::round(*value, format) {
                    Rounded::Bits { bits, inexact } => {
                        changes.rounded += u64::from(inexact);
                        bits
                    }
                    Rounded::Zeroed => {
                        changes.zeroed += 1;
                        0
                    }
                    Rounded::TooLarge => return Err(FormError::TooLarge(tensor.name.clone())),
                };
                out.extend_from_slice(&bits.to_le_bytes()[..bytes]);
            }
            writer.write_all(&out).map_err(FormError::Sink)
        })?;
    }
    Ok(())
}

/// Symmetric quantisation: value ≈ scale × whole number, with the scale that the largest value fits.
fn write_integers(
    precision: Precision,
    tensors: &[&Tensor],
    reader: &mut dyn ReadSeek,
    writer: &mut dyn Write,
    changes: &mut Changes,
) -> Result<(), FormError> {
    let most = f64::from(precision.largest_whole().unwrap_or(0));
    let mut scales = Vec::new();
    for tensor in tensors {
        let mut largest = 0f64;
        for_values(tensor, reader, |values| {
            largest = values.iter().fold(largest, |largest, value| largest.max(value.abs()));
            Ok(())
        })?;
        let bits = match number::round(largest / most, F32) {
            Rounded::Bits { bits, .. } => bits,
            Rounded::Zeroed => 0,
            Rounded::TooLarge => return Err(FormError::TooLarge(tensor.name.clone())),
        };
        writer.write_all(&bits.to_le_bytes()).map_err(FormError::Sink)?;
        scales.push(f64::from(f32::from_bits(bits)));
    }
    let mut out = Vec::with_capacity(CHUNK as usize);
    for (tensor, scale) in tensors.iter().zip(scales) {
        for_values(tensor, reader, |values| {
            out.clear();
            for value in values {
                let whole =
                    if scale == 0.0 { 0.0 } else { (value / scale).round_ties_even().clamp(-most, most) };
                changes.rounded += u64::from(whole * scale != *value);
                out.push(whole as i8 as u8);
            }
            writer.write_all(&out).map_err(FormError::Sink)
        })?;
    }
    Ok(())
}

/// Checks that a file of so many bytes is a canonical form of the declared tensors.
pub(crate) fn check(
    policy: &WeightsPolicy,
    declared: Option<&[DeclaredTensor]>,
    reader: &mut dyn ReadSeek,
    bytes: u64,
) -> Result<(), FormError> {
    let plan = match declared {
        Some([]) => return Err(FormError::NothingDeclared),
        Some(declared) => declared.to_vec(),
        None => written_plan(policy, reader, bytes)?,
    };
    let header = header(policy.precision, &plan);
    let stretches = layout(policy.precision, &plan);
    let data = data_bytes(policy.precision, &plan);
    if data.checked_add(header.len() as u64) != Some(bytes) {
        return Err(FormError::NotCanonicalLength);
    }
    reader.seek(SeekFrom::Start(0)).map_err(WeightsError::File)?;
    let mut found = vec![0; header.len()];
    reader.read_exact(&mut found).map_err(WeightsError::File)?;
    if found != header {
        return Err(FormError::NotCanonicalHeader);
    }
    let most = policy.precision.largest_whole().unwrap_or(0);
    {
        let mut reader = io::BufReader::with_capacity(1 << 16, &mut *reader);
        stretches.iter().try_for_each(|stretch| check_stretch(stretch, most, &mut reader))?;
    }
    match fixed::first_that_is_not_as_fixed(policy.precision, &plan, reader).map_err(WeightsError::File)? {
        Some(tensor) => Err(FormError::NotAsFixed(tensor.name.clone())),
        None => Ok(()),
    }
}

/// The tensors of a canonical file of which nothing was declared.
pub(super) fn written_plan(
    policy: &WeightsPolicy,
    reader: &mut dyn ReadSeek,
    bytes: u64,
) -> Result<Vec<DeclaredTensor>, FormError> {
    let tensors = Tensors::read(reader, bytes, HeaderLimits::CANONICAL)?;
    let mut plan = plan(None, &tensors)?;
    if policy.precision.largest_whole().is_some() {
        plan.drain(..plan.len() / 2);
    }
    Ok(plan)
}

fn stretch_bytes(stretch: &Stretch) -> u64 {
    stretch.values.saturating_mul(stretch.dtype.bytes())
}

/// Whole numbers beyond `most` would carry more than each is charged with.
fn check_stretch(stretch: &Stretch, most: u8, reader: &mut impl Read) -> Result<(), FormError> {
    let mut buffer = [0; CHUNK as usize];
    let size = stretch.dtype.bytes() as usize;
    let mut left = stretch_bytes(stretch);
    while left > 0 {
        let chunk = &mut buffer[..left.min(CHUNK) as usize];
        reader.read_exact(chunk).map_err(WeightsError::File)?;
        let canonical = |bytes: &[u8]| {
            let mut wide = [0; 4];
            wide[..size].copy_from_slice(bytes);
            let bits = u32::from_le_bytes(wide);
            match stretch.dtype {
                Dtype::Bf16 => number::is_canonical(bits, BF16),
                Dtype::F16 => number::is_canonical(bits, F16),
                // A negative scale would give each tensor a second form.
                _ if stretch.is_scale => number::is_canonical(bits, F32) && bits >> 31 == 0,
                Dtype::F32 => number::is_canonical(bits, F32),
                _ => (bits as u8 as i8).unsigned_abs() <= most,
            }
        };
        if !chunk.chunks_exact(size).all(canonical) {
            return Err(FormError::NotCanonicalValue(stretch.name.clone()));
        }
        left -= chunk.len() as u64;
    }
    Ok(())
}
