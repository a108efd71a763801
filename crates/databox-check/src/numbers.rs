//! Lays out the numbers of canonical files, `/views/<output>.numbers`, for a scanner that parses nothing a job shaped: those of
//! the file, then those of what its decoders wrote.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use egress::weights::{Dtype, HeaderLimits, Tensors};
use release::report::OUTPUT_LIMIT;
use release::statement::{DeclaredOutput, OutputKind};
use scan::View;
use scan::numeric::{self, Block, Characters, Element};

use crate::directory::Directory;
use crate::views;

/// Bytes of a tensor that are read at a time; whole values of each type.
const CHUNK: u64 = 1 << 16;

/// Bytes of what one decoder wrote of an output whose numbers are laid out.
const DECODED: u64 = 16 << 20;

/// Most values of what all decoders wrote of an output: lines of any length, packed well, would be more than there is room to
/// write, and take as many passes over the data.
const DECODED_VALUES: usize = 1 << 21;

/// Name of the file of an output's numbers.
pub(crate) fn file_name(output: usize) -> String {
    format!("{output}.numbers")
}

/// Lays out the numbers of all canonical files that are there, whose views were written before. A file that cannot be read as what it was declared to be
/// has none: the judge blocks it.
pub(crate) fn write(outputs: &[DeclaredOutput], canonical: &Directory, views: &Directory) -> io::Result<()> {
    for (index, output) in outputs.iter().enumerate().take(OUTPUT_LIMIT) {
        let (mut file, bytes) = match canonical.file(output.path().as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut sink = BufWriter::with_capacity(1 << 16, views.new_file(&file_name(index))?);
        match output.kind() {
            OutputKind::Weights => write_tensors(file, bytes, &mut sink)?,
            OutputKind::Metrics | OutputKind::Table | OutputKind::Figure => {
                let text = views::text_of(output.kind(), &mut file, bytes)?;
                numeric::write_text(&text, &mut sink)?;
            }
        }
        write_decoded(index, views, &mut sink)?;
        sink.flush()?;
    }
    Ok(())
}

fn write_decoded(output: usize, views: &Directory, sink: &mut dyn Write) -> io::Result<()> {
    let mut left = DECODED_VALUES;
    // The numbers of words were given here.
    for view in View::DECODED.into_iter().filter(|view| *view != View::WordSubstitution) {
        let (file, _) = views.file(&views::file_name(output, view))?;
        let mut decoded = Vec::new();
        file.take(DECODED).read_to_end(&mut decoded)?;
        numeric::write_decoded(&decoded, &mut left, sink)?;
    }
    Ok(())
}

fn write_tensors(file: File, bytes: u64, sink: &mut dyn Write) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let Ok(tensors) = Tensors::read(&mut reader, bytes, HeaderLimits::CANONICAL) else { return Ok(()) };
    for tensor in tensors.iter() {
        let Some(element) = element(tensor.dtype) else { continue };
        let columns = tensor.shape.last().copied().unwrap_or(1);
        let count = tensor.shape.iter().product::<u64>();
        Block { rows: count / columns.max(1), columns, element }.write(sink)?;
        let mut data = tensor.data(&mut reader)?;
        let (mut chunk, mut characters) = (Vec::new(), Characters::default());
        loop {
            chunk.clear();
            (&mut data).take(CHUNK).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            sink.write_all(&chunk)?;
            characters.add(element, &chunk);
        }
        characters.write(sink)?;
    }
    Ok(())
}

/// The types that a canonical form has.
fn element(dtype: Dtype) -> Option<Element> {
    match dtype {
        Dtype::F64 => Some(Element::F64),
        Dtype::F32 => Some(Element::F32),
        Dtype::Bf16 => Some(Element::Bf16),
        Dtype::F16 => Some(Element::F16),
        Dtype::I8 => Some(Element::I8),
        _ => None,
    }
}
