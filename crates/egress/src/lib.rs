//! Canonical forms of outputs and the judge: pure, without decoder, network or clock.
//!
//! [`canonicalise`] reads what a job wrote and writes each declared output anew from parsed values; [`judge`] reads
//! such bytes, believes nobody that they are canonical, and says which rules of the [`Policy`] hold and how many bits
//! each file can carry. Both read and write through [`Source`] and [`Sink`], so that this crate opens no file itself.
//! Stewards and auditors run the same judge again. The forms are specified in `docs/formats/canonical.md`.

mod bits;
mod canonicalise;
mod declaration;
mod differencing;
mod evaluation;
mod figure;
mod files;
mod finding;
mod json;
mod judge;
mod metrics;
mod parts;
mod policy;
pub mod rules;
mod survey;
mod table;
mod task;
pub mod weights;

pub use bits::{declared_fixed_bytes, floor_bits, holds_what_was_fixed};
pub use canonicalise::canonicalise;
pub use declaration::{
    DeclarationError, check_declarations, check_question, check_sizes, declared_bytes, is_left_out,
};
pub use differencing::{
    Compared, EARLIER_BYTES_LIMIT, EarlierTable, compare, earlier_counts_file, earlier_table_file,
    own_counts_file, written_counts_file,
};
pub use evaluation::{EvaluationTask, holds, smallest_that_holds};
pub use figure::figure_table;
pub use files::{ENTRY_LIMIT, Entry, EntryKind, InMemory, ReadSeek, Sink, Source};
pub use finding::{Detail, Finding, JudgedFile, Judgement, merge};
pub use judge::judge;
pub use parts::{CanonicalFile, PART_BYTES, PartOfFile, parts};
pub use policy::{MetricsPolicy, Policy, PolicyError, TablePolicy, Weaker, WeightsPolicy};
pub use release::statement::Precision;
pub use task::{EarlierQuery, EgressError, QueryTask, ScanTask, ScannedFile, Task};
pub use weights::{dither, tensors_of_form, tensors_written};
