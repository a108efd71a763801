//! Rows and columns of the data as numbers in an output: [`Rule::CopyNumeric`].
//!
//! Three searches, each with a bound on false alarms (`docs/decisions/numeric-copies.md`):
//!
//! 1. **Records.** Fields of a record that stand one after the other in a row, a column or, sorted, in any order in a row
//!    of an output, equal to about three digits. So are differences of successive records.
//! 2. **Columns.** Stretches of a column whose order of values stands in an output: in whatever unit, standardised, scaled,
//!    as logarithms, with some noise.
//! 3. **Identifiers.** Whole numbers from ten million that name a unit.
//!
//! The data is streamed: once for a sample of its columns, then once for each pass of [`PASS_VALUES`] values of outputs.
//! Memory does not grow with it.

mod evidence;
mod identifiers;
mod joined;
mod layout;
mod neighbours;
mod order;
mod records;
mod sample;
mod stretches;
mod text;
mod windows;

use std::collections::HashMap;
use std::io::Read;

use release::report::{NUMBERS_VIEW, PLACE_LIMIT, Place};

use crate::{ScanError, Source};
use evidence::{ALARM_BITS, COUNTED_BITS, Evidence};
use identifiers::Identifiers;
use joined::Joined;
pub use layout::{Block, Element};
use layout::{Piece, Pieces};
use neighbours::Neighbours;
use order::{OrderSearch, Orders};
use records::{FIELD_LIMIT, Records};
use sample::{Chances, Key, NO_NUMBER, Sampler, key};
use stretches::Sequence;
pub use text::{Characters, write_decoded, write_text};
use windows::{Field, Match, Windows};

#[cfg(doc)]
use release::rule::Rule;

/// Values of outputs that are searched for in one pass over the data. A pass takes about 150 bytes of memory for each.
pub const PASS_VALUES: usize = 1 << 20;

/// Longest row of an output in which fields are looked for in any order.
const SORTED_COLUMNS: usize = 256;

/// Most values of a flat list that is folded into rows, and most columns that it is folded into.
const FOLDED: usize = 1 << 14;
const FOLDED_COLUMNS: usize = 64;

/// Records from which those that nobody has are put together.
const RECENT: usize = 512;

/// One record that nobody has is looked up for so many of the data's.
const DECOY_EACH: usize = 4;

/// The numbers of an output, as [`Block`]s with their values behind them.
pub struct SearchedNumbers<'a> {
    /// The output, in the order of the request.
    pub output: u16,
    /// The blocks. They are read once, from beginning to end.
    pub blocks: Box<dyn Read + Send + 'a>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumericReport {
    /// How many stretches of values were found.
    pub runs: u64,
    /// The first of them: view [`NUMBERS_VIEW`], offset and length in values of the output.
    pub places: Vec<Place>,
}

/// Searches outputs' numbers for those of the data.
pub fn search<S: Source>(
    outputs: Vec<SearchedNumbers<'_>>,
    data: &[S],
    pass_values: usize,
) -> Result<NumericReport, ScanError> {
    let mut places = Places::default();
    let mut sources: Vec<(u16, Pieces<'_>)> = outputs
        .into_iter()
        .map(|searched| (searched.output, Pieces::new(searched.output, searched.blocks)))
        .collect();
    let mut sample: Option<Sample> = None;
    // A job that knew which records nobody has would write those, and hide others behind them.
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(ScanError::NoRandomness)?;
    let seed = u64::from_le_bytes(seed);
    loop {
        let pieces = next_pass(&mut sources, pass_values)?;
        if pieces.is_empty() {
            return Ok(places.report());
        }
        if sample.is_none() {
            sample = Some(sampled(data)?);
        }
        if let Some(sample) = &sample {
            let joined = pass(&pieces, data, &sample.chances, seed, &mut places)?;
            pass_for_neighbours(&pieces, data, sample, &joined, &mut places)?;
        }
    }
}

fn next_pass(sources: &mut Vec<(u16, Pieces<'_>)>, pass_values: usize) -> Result<Vec<Piece>, ScanError> {
    let (mut pieces, mut left) = (Vec::new(), pass_values);
    while let Some((output, source)) = sources.first_mut() {
        let output = *output;
        match source.next(left).map_err(|source| ScanError::ReadNumbers { output, source })? {
            None => drop(sources.remove(0)),
            Some(piece) => {
                left = left.saturating_sub(piece.values.len());
                pieces.push(piece);
                if left == 0 {
                    break;
                }
            }
        }
    }
    Ok(pieces)
}

/// A record of the data.
struct Record<'a> {
    /// The number of its first column: columns of different tables have different ones.
    first: usize,
    values: &'a [f64],
    /// What it adds to the record before it; nothing in the first.
    difference: &'a [f64],
    /// True in the first of a file.
    begins: bool,
}

/// Reads all records of the data.
fn each_record<S: Source>(data: &[S], mut with: impl FnMut(&Record<'_>)) -> Result<(), ScanError> {
    let (mut record, mut before, mut difference) = (Vec::new(), Vec::<f64>::new(), Vec::new());
    let (mut tables, mut columns) = (HashMap::new(), 0);
    for (file, source) in data.iter().enumerate() {
        let failed = |source| ScanError::ReadData { file, source };
        let mut records = Records::new(source.open().map_err(failed)?).map_err(failed)?;
        let (mut begins, mut first) = (true, 0);
        while records.next(&mut record).map_err(failed)? {
            if begins {
                first = *tables.entry(records.line_name()).or_insert(columns);
                columns = columns.max(first + record.len());
            }
            for (at, values) in record.chunks(FIELD_LIMIT).enumerate() {
                difference.clear();
                if !begins && at == 0 {
                    difference.extend(values.iter().zip(&before).map(|(now, before)| now - before));
                }
                with(&Record { first, values, difference: &difference, begins });
                begins = false;
            }
            std::mem::swap(&mut before, &mut record);
        }
    }
    Ok(())
}

/// What is known of the data before it is searched.
struct Sample {
    /// Of values, and of their differences.
    chances: [Chances; 2],
    records: u64,
    /// The number of the first column of each table.
    firsts: Vec<usize>,
}

fn sampled<S: Source>(data: &[S]) -> Result<Sample, ScanError> {
    let (mut samplers, mut records) = ([Sampler::default(), Sampler::default()], 0);
    let mut firsts = Vec::new();
    each_record(data, |record| {
        records += 1;
        if record.begins && !firsts.contains(&record.first) {
            firsts.push(record.first);
        }
        samplers[0].add(record.first, record.values);
        samplers[1].add(record.first, record.difference);
    })?;
    Ok(Sample { chances: samplers.map(Sampler::finish), records, firsts })
}

/// Looks for rows in any order and unit.
fn pass_for_neighbours<S: Source>(
    pieces: &[Piece],
    data: &[S],
    sample: &Sample,
    joined: &Joined,
    places: &mut Places,
) -> Result<(), ScanError> {
    let mut neighbours = Neighbours::new(pieces, sample, joined);
    if neighbours.is_empty() {
        return Ok(());
    }
    for round in 0..neighbours::ROUNDS {
        if round > 0 {
            neighbours.fit();
        }
        each_record(data, |record| neighbours.add(record.first, record.values))?;
    }
    if !neighbours.suspects(ALARM_BITS) {
        return Ok(());
    }
    let (mut taken, mut compared) = (0..sample.records, 0..sample.records);
    each_record(data, |record| {
        let number = taken.next().unwrap_or(sample.records);
        neighbours.add_own(number, sample.records, record.first, record.values);
    })?;
    each_record(data, |record| {
        neighbours.compare_own(compared.next().unwrap_or(sample.records), record.first, record.values);
    })?;
    for piece in neighbours.alarms(ALARM_BITS) {
        places.add(pieces[piece].output, pieces[piece].before, pieces[piece].values.len() as u64);
    }
    Ok(())
}

/// The columns of a piece, or its rows as columns.
struct Columns<'a> {
    piece: &'a Piece,
    turned: bool,
    rows: usize,
    columns: usize,
}

impl<'a> Columns<'a> {
    fn of(piece: &'a Piece, turned: bool) -> Self {
        let (columns, rows) = (piece.columns.max(1), piece.values.len() / piece.columns.max(1));
        let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
        Self { piece, turned, rows, columns }
    }

    fn value(&self, row: usize, column: usize) -> f64 {
        let (row, column) = if self.turned { (column, row) } else { (row, column) };
        self.piece.values[row * self.piece.columns + column]
    }
}

/// Looks for records, columns and identifiers. Returns with which records the rows of outputs share most.
fn pass<S: Source>(
    pieces: &[Piece],
    data: &[S],
    chances: &[Chances; 2],
    seed: u64,
    places: &mut Places,
) -> Result<Joined, ScanError> {
    let mut searches = [
        RecordSearch::new(pieces, &[Order::Rows, Order::Columns], false),
        RecordSearch::new(pieces, &[Order::SortedRows, Order::SortedColumns], true),
    ];
    let orders = Orders::new(pieces, sequences(pieces));
    let mut columns = [OrderSearch::new(&orders), OrderSearch::new(&orders)];
    let exact = pieces.iter().flat_map(|piece| {
        let place = move |(at, value): (usize, &f64)| (*value, piece.output, piece.before + at as u64);
        piece.values.iter().enumerate().map(place)
    });
    let mut identifiers = Identifiers::new(exact);
    let mut joined = Joined::new(pieces);
    let mut recent = [Recent::default(), Recent::default()];
    each_record(data, |record| {
        if record.begins {
            columns.iter_mut().for_each(OrderSearch::end_file);
            recent = [Recent::default(), Recent::default()];
        }
        identifiers.add(record.first, record.values);
        joined.add(record.first, record.values, &chances[0]);
        for (reading, values) in [record.values, record.difference].into_iter().enumerate() {
            let (of, chances) = ((record.first, reading), &chances[reading]);
            columns[reading].add(values);
            searches.iter_mut().for_each(|search| search.add(of, values, chances, false));
            recent[reading].add(values);
            if recent[reading].count.is_multiple_of(DECOY_EACH) {
                let decoy = recent[reading].decoy(seed);
                searches.iter_mut().for_each(|search| search.add(of, decoy, chances, true));
            }
        }
    })?;
    for search in &searches {
        search.alarms(pieces, places);
    }
    for search in &mut columns {
        search.end_file();
        for sequence in search.alarms(ALARM_BITS) {
            let piece = &pieces[sequence.piece];
            places.add(piece.output, piece.before + sequence.start as u64, sequence.length as u64);
        }
    }
    for (output, place) in identifiers.alarms(ALARM_BITS) {
        places.add(output, place, 1);
    }
    Ok(joined)
}

/// Columns and rows of each piece, as sequences. A row of a matrix is one if it is long.
fn sequences(pieces: &[Piece]) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for (piece, values) in pieces.iter().enumerate() {
        let (columns, rows) = (values.columns, values.values.len() / values.columns.max(1));
        let down = (0..columns).map(|start| Sequence { piece, start, stride: columns, length: rows });
        let along = (0..rows).map(|row| Sequence { piece, start: row * columns, stride: 1, length: columns });
        let length = values.values.len();
        // A flat list may hold rows of any width.
        let most = if rows == 1 && length <= FOLDED { FOLDED_COLUMNS } else { 1 };
        let folded = (2..=most).flat_map(|stride| {
            (0..stride).map(move |start| {
                let length = length.saturating_sub(start).div_ceil(stride);
                Sequence { piece, start, stride, length }
            })
        });
        sequences.extend(down.chain(along).chain(folded).filter(|sequence| sequence.length >= 20));
    }
    sequences
}

/// Recent records, of whose values records are put together that nobody has: each field is another record's.
#[derive(Default)]
struct Recent {
    records: Vec<Vec<f64>>,
    count: usize,
    decoy: Vec<f64>,
}

impl Recent {
    fn add(&mut self, record: &[f64]) {
        if self.records.len() < RECENT {
            self.records.push(record.to_vec());
        } else {
            let slot = &mut self.records[self.count % RECENT];
            slot.clear();
            slot.extend_from_slice(record);
        }
        self.count += 1;
    }

    fn decoy(&mut self, seed: u64) -> &[f64] {
        self.decoy.clear();
        if self.records.len() < RECENT / 4 {
            return &self.decoy;
        }
        let latest = &self.records[(self.count - 1) % self.records.len()];
        for (column, own) in latest.iter().enumerate() {
            let mixed = (self.count as u64) << 20 | column as u64;
            let mixed =
                (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
            let other = &self.records[mixed as usize % self.records.len()];
            self.decoy.push(other.get(column).copied().unwrap_or(*own));
        }
        &self.decoy
    }
}

/// In which order the values of a piece are looked through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Rows,
    Columns,
    SortedRows,
    SortedColumns,
}

/// The search for records in one kind of order.
struct RecordSearch {
    windows: Windows,
    /// Where the values of a piece begin in the windows, and in which order they are.
    segments: Vec<(usize, usize, Order)>,
    sorted: bool,
    evidence: Evidence,
    fields: Vec<Field>,
    matches: Vec<Match>,
    found: Vec<Match>,
}

impl RecordSearch {
    fn new(pieces: &[Piece], orders: &[Order], sorted: bool) -> Self {
        let (mut keys, mut segments) = (Vec::new(), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            for order in orders {
                segments.push((keys.len(), index, *order));
                lay_out(piece, *order, &mut keys);
                keys.push(NO_NUMBER);
            }
        }
        let windows = Windows::new(keys);
        Self {
            windows,
            segments,
            sorted,
            evidence: Evidence::default(),
            fields: Vec::new(),
            matches: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Looks up a record of the table and the reading `of`.
    fn add(&mut self, of: (usize, usize), record: &[f64], chances: &Chances, decoy: bool) {
        let (first, _) = of;
        if self.windows.places() == 0 {
            return;
        }
        windows::fields(first, record, chances, &mut self.fields);
        if self.sorted {
            // Which column a value is of cannot be told from a sorted row.
            self.fields.iter_mut().for_each(|field| field.bits = chances.bits_anywhere(first, field.key));
            self.fields.sort_by_key(|field| sample::place(field.key));
        }
        self.forget();
        let counts = self.evidence.looked_up.entry(of).or_default();
        self.windows.look_up(&self.fields, decoy, counts, &mut self.matches);
        for found in &self.matches {
            if found.bits >= COUNTED_BITS {
                self.evidence.add(decoy, self.windows.content(found), found.bits);
                if !decoy {
                    self.found.push(*found);
                }
            }
        }
    }

    /// Keeps the best matches alone, to say where they are.
    fn forget(&mut self) {
        if self.found.len() > 256 * PLACE_LIMIT {
            self.found.sort_by(|a, b| b.bits.total_cmp(&a.bits));
            self.found.truncate(64 * PLACE_LIMIT);
        }
    }

    fn alarms(&self, pieces: &[Piece], places: &mut Places) {
        let Some(bits) = self.evidence.alarm(self.windows.places()) else { return };
        for found in self.found.iter().filter(|found| found.bits >= bits) {
            let segment = self.segments.partition_point(|(start, ..)| *start <= found.start) - 1;
            let (start, piece, order) = self.segments[segment];
            let piece = &pieces[piece];
            let (at, rows) = (found.start - start, piece.values.len() / piece.columns.max(1));
            let at = match order {
                Order::Rows | Order::SortedRows => at,
                Order::Columns | Order::SortedColumns => at % rows.max(1) * piece.columns + at / rows.max(1),
            };
            places.add(piece.output, piece.before + at as u64, (found.end - found.start) as u64);
        }
    }
}

fn lay_out(piece: &Piece, order: Order, into: &mut Vec<Key>) {
    let (columns, rows) = (piece.columns.max(1), piece.values.len() / piece.columns.max(1));
    let is_matrix = columns > 1 && rows > 1;
    let value = |row: usize, column: usize| key(piece.values[row * columns + column]);
    match order {
        Order::Rows => into.extend(piece.values.iter().map(|value| key(*value))),
        Order::Columns if is_matrix => {
            (0..columns).for_each(|column| into.extend((0..rows).map(|row| value(row, column))));
        }
        Order::SortedRows if (4..=SORTED_COLUMNS).contains(&columns) => {
            (0..rows).for_each(|row| sorted((0..columns).map(|column| value(row, column)), into));
        }
        Order::SortedColumns if is_matrix && (4..=SORTED_COLUMNS).contains(&rows) => {
            (0..columns).for_each(|column| sorted((0..rows).map(|row| value(row, column)), into));
        }
        _ => {}
    }
}

fn sorted(keys: impl Iterator<Item = Key>, into: &mut Vec<Key>) {
    let start = into.len();
    into.extend(keys);
    into[start..].sort_by_key(|key| (*key == NO_NUMBER, sample::place(*key)));
}

/// Stretches of values that were found. Those that touch or overlap are one.
#[derive(Default)]
struct Places {
    runs: u64,
    places: Vec<Place>,
}

impl Places {
    fn add(&mut self, output: u16, offset: u64, length: u64) {
        let touches = |place: &&mut Place| {
            place.output == output && place.offset <= offset + length && offset <= place.offset + place.length
        };
        match self.places.iter_mut().find(touches) {
            Some(place) => {
                let end = (place.offset + place.length).max(offset + length);
                place.offset = place.offset.min(offset);
                place.length = end - place.offset;
            }
            None => {
                self.runs += 1;
                if self.places.len() < 64 * PLACE_LIMIT {
                    self.places.push(Place { output, view: NUMBERS_VIEW, offset, length });
                }
            }
        }
    }

    fn report(mut self) -> NumericReport {
        self.places.sort_by_key(|place| (place.output, place.offset));
        self.places.truncate(PLACE_LIMIT);
        NumericReport { runs: self.runs, places: self.places }
    }
}
