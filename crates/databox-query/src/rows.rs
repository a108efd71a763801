//! The rows of a file as DataFusion takes them: of each row its class, its unit and the numbers that are summed up. The
//! file is read by the reader that read it when it was registered, so that the same text is the same rows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Float64Builder, RecordBatch, UInt32Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion_physical_plan::streaming::PartitionStream;

use crate::classes::{Classes, UNCOUNTED};

/// Rows that are handed over together.
const BATCH_ROWS: usize = 8192;

/// The place of the first column of numbers in what is read, behind the class and the unit.
pub(crate) const FIRST_NUMBER: usize = 2;

/// Batches that may wait.
const WAITING: usize = 4;

/// A row that cannot be read. No text of it says anything of the row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("not CSV in UTF-8 with rows of one length")]
    Form,
    #[error("a column of numbers holds something else")]
    NotNumber,
    #[error("more groups than can be told apart")]
    Groups,
}

/// What is read of a file.
pub(crate) struct Reading {
    pub(crate) path: PathBuf,
    pub(crate) classes: Classes,
    /// How many cells a row has.
    pub(crate) width: usize,
    /// The column that names the unit.
    pub(crate) unit: usize,
    /// The columns of numbers.
    pub(crate) numbers: Vec<usize>,
}

/// A piece of the file, read by a thread of its own.
pub(crate) struct Piece {
    pub(crate) reading: Arc<Reading>,
    pub(crate) bytes: Range<u64>,
    schema: SchemaRef,
}

impl Piece {
    pub(crate) fn new(reading: Arc<Reading>, bytes: Range<u64>) -> Self {
        let schema = reading.schema();
        Self { reading, bytes, schema }
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Piece({:?})", self.bytes)
    }
}

impl PartitionStream for Piece {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING);
        let sender = builder.tx();
        let (reading, bytes, schema) =
            (Arc::clone(&self.reading), self.bytes.clone(), Arc::clone(&self.schema));
        builder.spawn_blocking(move || {
            reading.read(bytes, &schema, |batch| {
                // Nobody listens any more: the plan failed elsewhere, and says so.
                sender.blocking_send(Ok(batch)).is_ok()
            })
        });
        builder.build()
    }
}

impl Reading {
    pub(crate) fn schema(&self) -> SchemaRef {
        let mut fields =
            vec![Field::new("class", DataType::UInt32, false), Field::new("unit", DataType::Binary, false)];
        let number = |index| Field::new(format!("number-{index}"), DataType::Float64, true);
        fields.extend((0..self.numbers.len()).map(number));
        Arc::new(Schema::new(fields))
    }

    /// Reads a piece, until nobody takes what is handed over.
    pub(crate) fn read(
        &self,
        bytes: Range<u64>,
        schema: &SchemaRef,
        mut hand: impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(bytes.start))?;
        let piece = file.take(bytes.end - bytes.start);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1 << 18)
            .from_reader(piece);
        let mut record = csv::ByteRecord::new();
        let mut batch = Batch::new(self.numbers.len());
        let (mut codes, mut seen) = (Vec::new(), HashMap::new());
        while reader.read_byte_record(&mut record).map_err(|_| refused(RowError::Form))? {
            self.add(&record, &mut codes, &mut seen, &mut batch).map_err(refused)?;
            if batch.rows == BATCH_ROWS && !hand(batch.take(schema)?) {
                return Ok(());
            }
        }
        if batch.rows > 0 {
            hand(batch.take(schema)?);
        }
        Ok(())
    }

    fn add(
        &self,
        record: &csv::ByteRecord,
        codes: &mut Vec<u32>,
        seen: &mut HashMap<Vec<u32>, u32>,
        batch: &mut Batch,
    ) -> std::result::Result<(), RowError> {
        if record.len() != self.width {
            return Err(RowError::Form);
        }
        codes.clear();
        codes
            .extend(self.classes.categories().iter().map(|category| category.code(&record[category.column])));
        let class = match seen.get(&codes[..]) {
            Some(class) => *class,
            None => {
                let class = self.classes.class(codes).map_err(|_| RowError::Groups)?;
                seen.insert(codes.clone(), class);
                class
            }
        };
        // Every number is read, of rows that do not count too: whether a file can be summed up must not depend on who is
        // asked about.
        for (builder, column) in batch.numbers.iter_mut().zip(&self.numbers) {
            builder.append_option(number(&record[*column])?);
        }
        let unit = &record[self.unit];
        // A row of nobody counts for nobody.
        batch.classes.append_value(if unit.is_empty() { UNCOUNTED } else { class });
        batch.units.append_value(unit);
        batch.rows += 1;
        Ok(())
    }
}

/// A number as registration accepts it; none for an empty cell.
fn number(cell: &[u8]) -> std::result::Result<Option<f64>, RowError> {
    if cell.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(cell).map_err(|_| RowError::NotNumber)?;
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Some).ok_or(RowError::NotNumber)
}

fn refused(error: RowError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

struct Batch {
    rows: usize,
    classes: UInt32Builder,
    units: BinaryBuilder,
    numbers: Vec<Float64Builder>,
}

impl Batch {
    fn new(numbers: usize) -> Self {
        Self {
            rows: 0,
            classes: UInt32Builder::with_capacity(BATCH_ROWS),
            units: BinaryBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * 8),
            numbers: (0..numbers).map(|_| Float64Builder::with_capacity(BATCH_ROWS)).collect(),
        }
    }

    fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.classes.finish()), Arc::new(self.units.finish())];
        columns.extend(self.numbers.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}
