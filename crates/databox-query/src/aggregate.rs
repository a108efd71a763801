//! What each unit has in each class: the plan that DataFusion runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion_execution::memory_pool::GreedyMemoryPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_functions_aggregate::count::count_udaf;
use datafusion_functions_aggregate::sum::sum_udaf;
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{Partitioning, PhysicalExpr};
use datafusion_physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion_physical_plan::repartition::RepartitionExec;
use datafusion_physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion_physical_plan::{ExecutionPlan, execute_stream_partitioned};
use egress::QueryTask;
use futures::StreamExt as _;
use release::statement::{Asked, Query};
use release::value::Name;

use crate::AnswerError;
use crate::classes::{Classes, UNCOUNTED};
use crate::rows::{FIRST_NUMBER, Piece, Reading};
use crate::split;
use crate::window::{Units, Valued};

/// A column of numbers: what one unit has of it in one class.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Summed {
    /// The sum.
    pub(crate) sum: f64,
    /// Of how many rows.
    pub(crate) rows: u64,
}

/// A file, and what is read of it.
pub(crate) struct Source {
    reading: Arc<Reading>,
    begin: u64,
    threads: usize,
    memory_bytes: u64,
}

impl Source {
    /// Opens the file that the task asks, in the directory with datasets. Rows are told apart by these questions, and these
    /// columns are summed up.
    pub(crate) fn open(
        task: &QueryTask,
        data: &Path,
        queries: &[&Query],
        numbers: &[&Name],
    ) -> Result<Self, AnswerError> {
        let Asked { table, unit } = task.query.check(&task.catalogue)?;
        for query in queries {
            query.check(&task.catalogue)?;
        }
        let place = |name: &Name| table.columns.iter().position(|column| column.name == *name);
        let path: PathBuf = data.join(task.query.dataset.as_str()).join(table.file.as_str());
        let mut reader = csv::ReaderBuilder::new().from_reader(File::open(&path)?);
        let header = reader.byte_headers().map_err(|_| AnswerError::Form)?;
        // Registration made the catalogue of this very header; another one would put a number under a wrong name.
        if !header.iter().eq(table.columns.iter().map(|column| column.name.as_str().as_bytes())) {
            return Err(AnswerError::Header);
        }
        let begin = reader.position().byte();
        let reading = Reading {
            path,
            classes: Classes::new(queries, table),
            width: table.columns.len(),
            unit: place(unit).ok_or(AnswerError::Header)?,
            numbers: numbers.iter().filter_map(|name| place(name)).collect(),
        };
        let threads = task.threads.clamp(1, 64);
        Ok(Self { reading: Arc::new(reading), begin, threads, memory_bytes: task.memory_bytes })
    }

    /// What was found of the classes, once all was read.
    pub(crate) fn classes(&self) -> &Classes {
        &self.reading.classes
    }

    /// Hands over each unit of each class, with what it has of each column of numbers.
    pub(crate) fn each_unit(&self, mut take: impl FnMut(u32, &[u8], &[Summed])) -> Result<(), AnswerError> {
        let numbers = self.reading.numbers.len();
        let mut sums = Vec::new();
        for number in 0..numbers {
            sums.push(self.sum(number)?);
            sums.push(self.count(number)?);
        }
        self.each_batch(&KEYS, sums, |batch| each_row(batch, numbers, &mut take))
    }

    /// Hands over the rows as they are read, by one thread.
    pub(crate) fn each_row(
        &self,
        mut take: impl FnMut(&RecordBatch) -> Result<(), AnswerError>,
    ) -> Result<(), AnswerError> {
        let end = File::open(&self.reading.path)?.metadata()?.len().max(self.begin);
        let mut taken = Ok(());
        self.reading.read(self.begin..end, &self.reading.schema(), |batch| {
            taken = take(&batch);
            taken.is_ok()
        })?;
        taken
    }

    /// All rows with a number in one of the columns of numbers, sorted by it, and by the unit's name where it is the same.
    pub(crate) fn sorted(&self, number: usize, units: &mut Units) -> Result<Vec<Valued>, AnswerError> {
        let mut valued = Vec::new();
        let keys = [KEYS[0], KEYS[1], FIRST_NUMBER + number];
        self.each_batch(&keys, vec![self.count(number)?], |batch| each_value(batch, units, &mut valued))?;
        let places = units.places();
        let key = |one: &Valued| (places[one.unit as usize], one.class);
        valued.sort_by(|one, other| {
            one.number.total_cmp(&other.number).then_with(|| key(one).cmp(&key(other)))
        });
        Ok(valued)
    }

    fn each_batch(
        &self,
        keys: &[usize],
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        mut take: impl FnMut(&RecordBatch) -> Result<(), AnswerError>,
    ) -> Result<(), AnswerError> {
        // No timer and no driver of sockets: the wall has no call for either.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(self.threads).build()?;
        let plan = self.plan(keys, aggregates)?;
        let context = Arc::new(self.context()?);
        runtime.block_on(async {
            for mut stream in execute_stream_partitioned(plan, context)? {
                while let Some(batch) = stream.next().await {
                    take(&batch?)?;
                }
            }
            Ok(())
        })
    }

    fn context(&self) -> Result<TaskContext, AnswerError> {
        // What does not fit is refused: a spill would be a copy of private data on a disk.
        let no_disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let bytes = usize::try_from(self.memory_bytes).unwrap_or(usize::MAX);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
            .with_disk_manager_builder(no_disk)
            .build_arc()?;
        let configuration = SessionConfig::new().with_target_partitions(self.threads);
        Ok(TaskContext::default().with_session_config(configuration).with_runtime(environment))
    }

    /// A scan, and one hash aggregate by these columns of what is read.
    fn plan(
        &self,
        keys: &[usize],
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
    ) -> Result<Arc<dyn ExecutionPlan>, AnswerError> {
        let pieces = split::pieces(&self.reading.path, self.begin, self.threads)?;
        let piece =
            |bytes| Arc::new(Piece::new(Arc::clone(&self.reading), bytes)) as Arc<dyn PartitionStream>;
        let pieces: Vec<_> = pieces.into_iter().map(piece).collect();
        let (schema, alone) = (Arc::clone(pieces[0].schema()), pieces.len() == 1);
        let table = StreamingTableExec::try_new(Arc::clone(&schema), pieces, None, [], false, None)?;
        let name = |place: &usize| schema.field(*place).name().clone();
        let column = |name: &str, place| Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>;
        let group = keys.iter().map(|place| (column(&name(place), *place), name(place))).collect::<Vec<_>>();
        let group = PhysicalGroupBy::new_single(group);
        let filters = vec![None; aggregates.len()];
        let input = Arc::new(table);
        if alone {
            let whole =
                AggregateExec::try_new(AggregateMode::Single, group, aggregates, filters, input, schema)?;
            return Ok(Arc::new(whole));
        }
        let partial = AggregateExec::try_new(
            AggregateMode::Partial,
            group.clone(),
            aggregates.clone(),
            filters.clone(),
            input,
            Arc::clone(&schema),
        )?;
        // In what comes out of the first step the keys stand in front.
        let by_key = keys.iter().enumerate().map(|(index, place)| column(&name(place), index)).collect();
        let partitioning = Partitioning::Hash(by_key, self.threads);
        let shuffled = Arc::new(RepartitionExec::try_new(Arc::new(partial), partitioning)?);
        let mode = AggregateMode::FinalPartitioned;
        let last = AggregateExec::try_new(mode, group.as_final(), aggregates, filters, shuffled, schema)?;
        Ok(Arc::new(last))
    }

    /// The sum of a column of numbers.
    fn sum(&self, number: usize) -> Result<Arc<AggregateFunctionExpr>, AnswerError> {
        self.aggregate("sum", number, |columns| AggregateExprBuilder::new(sum_udaf(), columns))
    }

    /// How many rows have a number in a column of numbers.
    fn count(&self, number: usize) -> Result<Arc<AggregateFunctionExpr>, AnswerError> {
        self.aggregate("count", number, |columns| AggregateExprBuilder::new(count_udaf(), columns))
    }

    fn aggregate(
        &self,
        word: &str,
        number: usize,
        of: impl FnOnce(Vec<Arc<dyn PhysicalExpr>>) -> AggregateExprBuilder,
    ) -> Result<Arc<AggregateFunctionExpr>, AnswerError> {
        let schema = self.reading.schema();
        let place = FIRST_NUMBER + number;
        let column = Arc::new(Column::new(schema.field(place).name(), place)) as Arc<dyn PhysicalExpr>;
        Ok(Arc::new(of(vec![column]).schema(schema).alias(format!("{word}-{number}")).build()?))
    }
}

/// The columns by which rows are put together: class and unit.
const KEYS: [usize; 2] = [0, 1];

fn each_value(batch: &RecordBatch, units: &mut Units, valued: &mut Vec<Valued>) -> Result<(), AnswerError> {
    let classes = batch.column(0).as_primitive_opt::<UInt32Type>().ok_or(AnswerError::Engine)?;
    let names = batch.column(1).as_binary_opt::<i32>().ok_or(AnswerError::Engine)?;
    let numbers = batch.column(2).as_primitive_opt::<Float64Type>().ok_or(AnswerError::Engine)?;
    let counts = batch.column(3).as_primitive_opt::<Int64Type>().ok_or(AnswerError::Engine)?;
    for row in (0..batch.num_rows()).filter(|row| !numbers.is_null(*row)) {
        let rows = u64::try_from(counts.value(row)).map_err(|_| AnswerError::Engine)?;
        if classes.value(row) != UNCOUNTED && rows > 0 {
            let unit = units.number(names.value(row));
            // There is one zero.
            valued.push(Valued { class: classes.value(row), unit, number: numbers.value(row) + 0.0, rows });
        }
    }
    Ok(())
}

fn each_row(
    batch: &RecordBatch,
    numbers: usize,
    take: &mut impl FnMut(u32, &[u8], &[Summed]),
) -> Result<(), AnswerError> {
    let classes = batch.column(0).as_primitive_opt::<UInt32Type>().ok_or(AnswerError::Engine)?;
    let units = batch.column(1).as_binary_opt::<i32>().ok_or(AnswerError::Engine)?;
    let mut columns = Vec::new();
    for index in 0..numbers {
        let sums = batch.column(2 + 2 * index).as_primitive_opt::<Float64Type>();
        let counts = batch.column(3 + 2 * index).as_primitive_opt::<Int64Type>();
        columns.push(sums.zip(counts).ok_or(AnswerError::Engine)?);
    }
    let mut summed = vec![Summed::default(); numbers];
    for row in 0..batch.num_rows() {
        if classes.value(row) == UNCOUNTED {
            continue;
        }
        for (summed, (sums, counts)) in summed.iter_mut().zip(&columns) {
            let rows = u64::try_from(counts.value(row)).map_err(|_| AnswerError::Engine)?;
            let sum = if sums.is_null(row) { 0.0 } else { sums.value(row) };
            if !sum.is_finite() {
                return Err(AnswerError::Overflow);
            }
            *summed = Summed { sum, rows };
        }
        take(classes.value(row), units.value(row), &summed);
    }
    Ok(())
}
