//! Writes the views of canonical files as plain bytes, `/views/<output>.<view>`, for a scanner that parses nothing.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use egress::weights::{Dtype, HeaderLimits, Tensor, Tensors};
use release::report::{OUTPUT_LIMIT, OutputReport};
use release::rule::Rule;
use release::statement::{DeclaredOutput, OutputKind, RuleResult};
use scan::{Allowance, DecodeError, PLANE_BLOCK, PLANE_OVERLAP, Values, View, ViewError};

use crate::directory::Directory;

/// Values that are expanded at a time.
const CHUNK: u64 = 8192;

/// Elements of a tensor that are held to be read in another order.
const TRANSPOSED_AT_ONCE: u64 = 1 << 22;

/// Bytes of a view that are decoded at a time, and those of them that are read again with the next ones.
const DECODED_AT_ONCE: u64 = 32 << 20;
const DECODED_AGAIN: u64 = 1 << 20;

/// Bytes of results of decoders that are handed on together, and how many such batches wait to be taken further.
const BATCH: usize = 1 << 20;
const WAITING: usize = 4;

/// Bytes of each decoder that are searched if the decoders were ended.
const SEARCHED_OF_REFUSED: u64 = 1 << 16;

/// Most beginnings of tensors that decoders without a mark are tried at.
const STARTS: usize = 4096;

/// The views that a process without data writes for a kind. The scanner expects them all.
pub(crate) fn of_kind(kind: OutputKind) -> impl Iterator<Item = View> {
    let first: &[View] = match kind {
        OutputKind::Weights => &View::OF_TENSORS,
        OutputKind::Metrics | OutputKind::Table | OutputKind::Figure => &View::OF_TEXTS,
    };
    first.iter().chain(&View::DECODED).copied()
}

/// Name of a view's file.
pub(crate) fn file_name(output: usize, view: View) -> String {
    format!("{output}.{}", view.name())
}

/// Writes all views of all canonical files that are there, and reports whether all could be made. A file that cannot
/// be read as what it was declared to be has fewer: the judge blocks it, and the scanner still searches its bytes.
pub(crate) fn write(
    outputs: &[DeclaredOutput],
    canonical: &Directory,
    views: &Directory,
) -> io::Result<OutputReport> {
    let mut allowance = Allowance::default();
    let mut made = RuleResult::Passed;
    for (index, output) in outputs.iter().enumerate().take(OUTPUT_LIMIT) {
        let (mut file, bytes) = match canonical.file(output.path().as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut sinks = Sinks::new(index, output.kind(), views)?;
        match output.kind() {
            OutputKind::Weights => {
                let (beside, _) = canonical.file(output.path().as_str())?;
                write_tensors([&mut file, &mut { beside }], bytes, &mut sinks)?;
            }
            OutputKind::Metrics | OutputKind::Table | OutputKind::Figure => {
                let text = text_of(output.kind(), &mut file, bytes)?;
                if output.kind() == OutputKind::Figure {
                    sinks.of(View::Strings).write_all(&text)?;
                }
                write_text(&text, &mut sinks)?;
            }
        }
        match sinks.decode(file, views, &mut allowance) {
            Ok(()) => {}
            Err(DecodeError::TooMuch) => made = RuleResult::Blocked,
            Err(DecodeError::Write(error)) => return Err(error),
        }
    }
    let mut report = OutputReport::unchecked();
    report.rules[Rule::CopyViews.index()] = made;
    Ok(report)
}

/// The views of one output.
struct Sinks {
    output: usize,
    kind: OutputKind,
    open: Vec<Sink>,
}

/// The file of a view.
struct Sink {
    view: View,
    file: BufWriter<File>,
    written: u64,
    /// Where tensors begin in it.
    starts: Vec<u64>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sinks {
    fn new(output: usize, kind: OutputKind, views: &Directory) -> io::Result<Self> {
        let mut open = Vec::new();
        for view in of_kind(kind) {
            let file = BufWriter::with_capacity(1 << 16, views.new_file(&file_name(output, view))?);
            open.push(Sink { view, file, written: 0, starts: Vec::new() });
        }
        Ok(Self { output, kind, open })
    }

    /// The sink of a view that the kind has.
    fn of(&mut self, view: View) -> &mut Sink {
        self.open.iter_mut().find(|sink| sink.view == view).expect("the kind has this view")
    }

    /// Decodes the canonical file and every view of it in which something may be encoded. One thread decodes them once; this
    /// one takes what comes of it further, in the same order as one alone.
    fn decode(
        mut self,
        canonical: File,
        views: &Directory,
        allowance: &mut Allowance,
    ) -> Result<(), DecodeError> {
        self.open.iter_mut().try_for_each(Sink::flush)?;
        let decoded = self.open.split_off(self.open.len() - View::DECODED.len());
        let mut sinks = Self { output: self.output, kind: self.kind, open: decoded };
        let (output, sources) = (self.output, &self.open);
        let outcome = thread::scope(|scope| {
            let (sender, receiver) = sync_channel(WAITING);
            let mut batches = Batches { sender, batch: Vec::new(), bytes: 0 };
            let first = move || decode_all_once(output, canonical, sources, views, &mut batches);
            let first = scope.spawn(first);
            let outcome = sinks.decode_further(receiver, allowance);
            // If this thread ended early, the other one only met that.
            outcome.and(first.join().expect("a decoder does not panic"))
        });
        sinks.open.iter_mut().try_for_each(Sink::flush)?;
        if matches!(outcome, Err(DecodeError::TooMuch)) {
            // It is blocked already, so that searching all of it would only take long.
            for sink in &sinks.open {
                sink.file.get_ref().set_len(sink.written.min(SEARCHED_OF_REFUSED))?;
            }
        }
        outcome
    }

    fn decode_further(
        &mut self,
        receiver: Receiver<Vec<Decoded>>,
        allowance: &mut Allowance,
    ) -> Result<(), DecodeError> {
        for decoded in receiver.into_iter().flatten() {
            match decoded {
                Decoded::Begun(bytes) => allowance.add(bytes),
                Decoded::Once(view, result) => {
                    scan::decode_further(view, &result, allowance, &mut |view, result| {
                        Ok(self.of(view).write_all(result)?)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// What comes of decoding once.
enum Decoded {
    /// So many bytes are decoded next.
    Begun(u64),
    /// A result, with the view of its decoder.
    Once(View, Vec<u8>),
}

/// Hands on what was decoded once, many results together: most are short.
struct Batches {
    sender: SyncSender<Vec<Decoded>>,
    batch: Vec<Decoded>,
    bytes: usize,
}

impl Batches {
    fn add(&mut self, view: View, result: &[u8]) -> Result<(), DecodeError> {
        self.batch.push(Decoded::Once(view, result.to_vec()));
        self.bytes += result.len() + size_of::<Decoded>();
        if self.bytes < BATCH { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), DecodeError> {
        self.bytes = 0;
        // Nobody receives any more where more came out than may.
        self.sender.send(std::mem::take(&mut self.batch)).map_err(|_| DecodeError::TooMuch)
    }
}

fn decode_all_once(
    output: usize,
    canonical: File,
    sources: &[Sink],
    views: &Directory,
    batches: &mut Batches,
) -> Result<(), DecodeError> {
    decode_file_once(canonical, &[], batches)?;
    for sink in sources.iter().filter(|sink| is_decoded(sink.view)) {
        let (file, _) = views.file(&file_name(output, sink.view))?;
        decode_file_once(file, &sink.starts, batches)?;
    }
    batches.send()
}

fn decode_file_once(mut file: File, starts: &[u64], batches: &mut Batches) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    let mut begin = 0;
    loop {
        bytes.clear();
        file.seek(SeekFrom::Start(begin))?;
        (&mut file).take(DECODED_AT_ONCE).read_to_end(&mut bytes)?;
        let end = begin + bytes.len() as u64;
        let within = starts.iter().filter(|start| (begin..end).contains(start));
        let within: Vec<usize> = within.map(|start| (start - begin) as usize).collect();
        batches.batch.push(Decoded::Begun(bytes.len() as u64));
        scan::decode_once(&bytes, &within, &mut |view, result| batches.add(view, result))?;
        if (bytes.len() as u64) < DECODED_AT_ONCE {
            return Ok(());
        }
        begin = end - DECODED_AGAIN;
    }
}

/// Whether a view is decoded. The others hold the values of one that is, in other types.
fn is_decoded(view: View) -> bool {
    !matches!(
        view,
        View::F32
            | View::F16
            | View::Bf16
            | View::I16
            | View::I32
            | View::I64
            | View::ValueSubstitution
            | View::F16HighBytes
            | View::I16HighBytes
    )
}

/// The text of a canonical file; of a figure its table, whose lines are told apart by an escape in the file itself.
pub(crate) fn text_of(kind: OutputKind, file: &mut dyn Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    match kind {
        OutputKind::Figure => Ok(egress::figure_table(&text).unwrap_or(text)),
        OutputKind::Weights | OutputKind::Metrics | OutputKind::Table => Ok(text),
    }
}

fn write_text(text: &[u8], sinks: &mut Sinks) -> io::Result<()> {
    scan::text_numbers(text, sinks.of(View::TextNumbers))?;
    scan::text_numbers_scaled(text, sinks.of(View::TextNumbersScaled))?;
    scan::text_digits(text, sinks.of(View::TextDigits))?;
    scan::text_strings(text, sinks.of(View::Strings))?;
    let (mut big, mut little) = (Vec::new(), Vec::new());
    scan::text_integers(text, &mut big, &mut little)?;
    sinks.of(View::IntegersBig).write_all(&big)?;
    sinks.of(View::IntegersLittle).write_all(&little)
}

/// Some of an output's views.
struct Part<'a>(Vec<&'a mut Sink>);

impl Part<'_> {
    /// The sink of a view that the part has.
    fn of(&mut self, view: View) -> &mut Sink {
        self.0.iter_mut().find(|sink| sink.view == view).expect("the part has this view")
    }

    fn begin_tensor(&mut self) {
        for sink in self.0.iter_mut().filter(|sink| sink.starts.len() < STARTS) {
            sink.starts.push(sink.written);
        }
    }
}

/// Writes the views of tensors, a part of them in each of two threads. `files` are the same, opened for each.
fn write_tensors(files: [&mut File; 2], bytes: u64, sinks: &mut Sinks) -> io::Result<()> {
    let [file, beside] = files.map(|file| BufReader::with_capacity(1 << 16, file));
    let (mut file, mut beside) = (file, beside);
    let Ok(tensors) = Tensors::read(&mut file, bytes, HeaderLimits::CANONICAL) else { return Ok(()) };
    for tensor in tensors.iter() {
        sinks.of(View::Strings).write_all(tensor.name.as_str().as_bytes())?;
    }
    let (others, of_values) = sinks.open.iter_mut().partition(|sink| is_of_bits(sink.view));
    let (mut others, mut of_values) = (Part(others), Part(of_values));
    let viewed = || tensors.iter().filter_map(|tensor| Some((tensor, viewed_dtype(tensor.dtype)?)));
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            viewed().try_for_each(|(tensor, dtype)| {
                others.begin_tensor();
                write_planes(tensor, dtype, &mut beside, &mut others)
            })
        });
        let here = viewed().try_for_each(|(tensor, dtype)| {
            of_values.begin_tensor();
            write_values(tensor, dtype, &mut file, &mut of_values)?;
            write_transposed(tensor, dtype, &mut file, &mut of_values)
        });
        beside.join().expect("writing does not panic").and(here)
    })
}

/// Whether a view shows single bits.
fn is_of_bits(view: View) -> bool {
    matches!(view, View::BitPlanes | View::BitPlanesLittle | View::LowBits | View::LowBitsLittle)
}

fn write_values(
    tensor: &Tensor,
    dtype: scan::Dtype,
    reader: &mut BufReader<&mut File>,
    sinks: &mut Part<'_>,
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
        let values = Values::of(dtype, &chunk).map_err(written)?;
        for view in View::OF_VALUES.into_iter().chain([View::LowHalves, View::ValueSubstitution]) {
            values.write(view, sinks.of(view)).map_err(written)?;
        }
        let (mut big, mut little) = (Vec::new(), Vec::new());
        values.write_integers(&mut big, &mut little)?;
        sinks.of(View::IntegersBig).write_all(&big)?;
        sinks.of(View::IntegersLittle).write_all(&little)?;
    }
}

fn written(error: ViewError) -> io::Error {
    match error {
        ViewError::Write(error) => error,
        error => io::Error::other(error),
    }
}

fn write_planes(
    tensor: &Tensor,
    dtype: scan::Dtype,
    reader: &mut BufReader<&mut File>,
    sinks: &mut Part<'_>,
) -> io::Result<()> {
    let mut data = tensor.data(reader)?;
    let width = dtype.width();
    let mut block = Vec::new();
    loop {
        let kept = block.len();
        (&mut data).take((PLANE_BLOCK * width) as u64).read_to_end(&mut block)?;
        if block.len() == kept {
            return Ok(());
        }
        // Of whole numbers the bits are not those of the type that they are written in.
        let whole = Values::of(dtype, &block).map_err(written)?.low_bytes_of_whole();
        for view in [View::BitPlanes, View::BitPlanesLittle, View::LowBits, View::LowBitsLittle] {
            scan::planes(view, dtype, &block, sinks.of(view)).map_err(written)?;
            if let Some(whole) = &whole {
                scan::planes(view, scan::Dtype::U8, whole, sinks.of(view)).map_err(written)?;
            }
        }
        block.drain(..block.len().saturating_sub(PLANE_OVERLAP * width));
    }
}

/// Writes a tensor with each of its dimensions but the last innermost: the values along that dimension, one after the
/// other, and then those beside them; then with all dimensions in reverse order.
fn write_transposed(
    tensor: &Tensor,
    dtype: scan::Dtype,
    reader: &mut BufReader<&mut File>,
    sinks: &mut Part<'_>,
) -> io::Result<()> {
    let width = dtype.width() as u64;
    for axis in 0..tensor.shape.len().saturating_sub(1) {
        let along = tensor.shape[axis];
        let outer: u64 = tensor.shape[..axis].iter().product();
        let inner: u64 = tensor.shape[axis + 1..].iter().product();
        // Along one value, or beside one, the order is that of the file.
        if along <= 1 || inner <= 1 {
            continue;
        }
        let band = (TRANSPOSED_AT_ONCE / along).clamp(1, inner);
        for before in 0..outer {
            for first in (0..inner).step_by(band as usize) {
                let some = band.min(inner - first);
                let mut rows = Vec::new();
                for row in 0..along {
                    let value = (before * along + row) * inner + first;
                    reader.seek(SeekFrom::Start(tensor.begin + value * width))?;
                    reader.by_ref().take(some * width).read_to_end(&mut rows)?;
                }
                let columns = transposed(&rows, some as usize, width as usize);
                let values = Values::of(dtype, &columns).map_err(written)?;
                values.write(View::Value, sinks.of(View::Transposed)).map_err(written)?;
                sinks.of(View::TransposedBytes).write_all(&columns)?;
            }
        }
    }
    write_reversed(tensor, dtype, reader, sinks)
}

/// Writes a tensor of three dimensions or more with all of them in reverse order, as a program writes that counts the first
/// one innermost.
fn write_reversed(
    tensor: &Tensor,
    dtype: scan::Dtype,
    reader: &mut BufReader<&mut File>,
    sinks: &mut Part<'_>,
) -> io::Result<()> {
    let shape: Vec<usize> =
        tensor.shape.iter().filter(|length| **length > 1).map(|length| *length as usize).collect();
    let count: u64 = tensor.shape.iter().product();
    if shape.len() < 3 || count > TRANSPOSED_AT_ONCE {
        return Ok(());
    }
    let mut bytes = Vec::new();
    tensor.data(reader)?.read_to_end(&mut bytes)?;
    let turned = reversed(&bytes, &shape, dtype.width());
    Values::of(dtype, &turned)
        .and_then(|values| values.write(View::Value, sinks.of(View::Transposed)))
        .map_err(written)?;
    sinks.of(View::TransposedBytes).write_all(&turned)
}

/// Values of `width` bytes each, the first dimension innermost.
fn reversed(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let Some((first, others)) = shape.split_first() else { return bytes.to_vec() };
    // What lies beside the first dimension is turned by itself; then the first goes innermost.
    let inner: usize = others.iter().product();
    let rows: Vec<u8> =
        bytes.chunks_exact((inner * width).max(1)).flat_map(|row| reversed(row, others, width)).collect();
    if *first > 1 { transposed(&rows, inner, width) } else { rows }
}

/// Rows of `columns` values of `width` bytes each, column by column.
fn transposed(rows: &[u8], columns: usize, width: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len());
    for column in 0..columns {
        for row in rows.chunks_exact(columns * width) {
            bytes.extend(&row[column * width..][..width]);
        }
    }
    bytes
}

/// The type as the views know it; none for types that no canonical form has.
fn viewed_dtype(dtype: Dtype) -> Option<scan::Dtype> {
    match dtype {
        Dtype::Bf16 => Some(scan::Dtype::Bf16),
        Dtype::F16 => Some(scan::Dtype::F16),
        Dtype::F32 => Some(scan::Dtype::F32),
        Dtype::F64 => Some(scan::Dtype::F64),
        Dtype::I8 => Some(scan::Dtype::I8),
        Dtype::I16 => Some(scan::Dtype::I16),
        Dtype::I32 => Some(scan::Dtype::I32),
        Dtype::I64 => Some(scan::Dtype::I64),
        Dtype::U8 => Some(scan::Dtype::U8),
        Dtype::U16 | Dtype::U32 | Dtype::U64 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{reversed, transposed};

    #[test]
    fn rows_are_read_down_their_columns() {
        assert_eq!(transposed(b"abcdefghijkl", 3, 2), b"abghcdijefkl");
    }

    #[test]
    fn all_dimensions_are_reversed() {
        // 2 × 3 × 2 values of one byte, counted with the last dimension innermost; then of two.
        assert_eq!(reversed(b"abcdefghijkl", &[2, 3, 2], 1), b"agciekbhdjfl");
        assert_eq!(reversed(b"abcdefghijklmnop", &[2, 2, 2], 2), b"abijefmncdklghop");
        assert_eq!(reversed(b"abcd", &[2, 2], 1), b"acbd");
    }
}
