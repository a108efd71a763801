//! Writes the views of canonical files as plain bytes, `/views/<output>.<view>`, for a scanner that parses nothing.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use egress::weights::{Dtype, HeaderLimits, Tensor, Tensors};
use release::report::OUTPUT_LIMIT;
use release::statement::{DeclaredOutput, OutputKind};
use scan::views::{self, View, ViewError};

use crate::directory::Directory;

/// Values that are expanded at a time.
const CHUNK: u64 = 8192;

/// The views that a process without data writes for a kind. The scanner expects them all.
pub(crate) fn of_kind(kind: OutputKind) -> &'static [View] {
    match kind {
        OutputKind::Weights => &View::OF_TENSORS,
        OutputKind::Metrics | OutputKind::Table | OutputKind::Figure => &[View::TextNumbers],
    }
}

/// Name of a view's file.
pub(crate) fn file_name(output: usize, view: View) -> String {
    format!("{output}.{}", view.name())
}

/// Writes all views of all canonical files that are there. A file that cannot be read as what it was declared to be
/// has empty views: the judge blocks it, and the scanner still searches its bytes.
pub(crate) fn write(outputs: &[DeclaredOutput], canonical: &Directory, views: &Directory) -> io::Result<()> {
    for (index, output) in outputs.iter().enumerate().take(OUTPUT_LIMIT) {
        let (file, bytes) = match canonical.file(output.path().as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut sinks = Vec::new();
        for view in of_kind(output.kind()) {
            let file = views.new_file(&file_name(index, *view))?;
            sinks.push((*view, BufWriter::with_capacity(1 << 16, file)));
        }
        match output.kind() {
            OutputKind::Weights => write_tensors(file, bytes, &mut sinks)?,
            OutputKind::Metrics | OutputKind::Table | OutputKind::Figure => {
                let mut text = Vec::new();
                file.take(bytes).read_to_end(&mut text)?;
                sinks.iter_mut().try_for_each(|(_, sink)| views::text_numbers(&text, sink))?;
            }
        }
        sinks.iter_mut().try_for_each(|(_, sink)| sink.flush())?;
    }
    Ok(())
}

fn write_tensors(file: File, bytes: u64, sinks: &mut [(View, BufWriter<File>)]) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let Ok(tensors) = Tensors::read(&mut reader, bytes, HeaderLimits::CANONICAL) else { return Ok(()) };
    for tensor in tensors.iter() {
        let Some(dtype) = viewed_dtype(tensor.dtype) else { continue };
        write_tensor(tensor, dtype, &mut reader, sinks)?;
    }
    Ok(())
}

fn write_tensor(
    tensor: &Tensor,
    dtype: views::Dtype,
    reader: &mut BufReader<File>,
    sinks: &mut [(View, BufWriter<File>)],
) -> io::Result<()> {
    let mut data = tensor.data(reader)?;
    let mut chunk = Vec::new();
    let size = CHUNK * tensor.dtype.bytes();
    loop {
        chunk.clear();
        (&mut data).take(size).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        for (view, sink) in sinks.iter_mut() {
            match views::tensor(*view, dtype, &chunk, sink) {
                Err(ViewError::Write(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
                Ok(()) => {}
            }
        }
    }
}

/// The type as the views know it; none for types that no canonical form has.
fn viewed_dtype(dtype: Dtype) -> Option<views::Dtype> {
    match dtype {
        Dtype::Bf16 => Some(views::Dtype::Bf16),
        Dtype::F16 => Some(views::Dtype::F16),
        Dtype::F32 => Some(views::Dtype::F32),
        Dtype::F64 => Some(views::Dtype::F64),
        Dtype::I8 => Some(views::Dtype::I8),
        Dtype::I16 => Some(views::Dtype::I16),
        Dtype::I32 => Some(views::Dtype::I32),
        Dtype::I64 => Some(views::Dtype::I64),
        Dtype::U8 => Some(views::Dtype::U8),
        Dtype::U16 | Dtype::U32 | Dtype::U64 => None,
    }
}
