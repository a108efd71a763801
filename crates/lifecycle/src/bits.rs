//! What one run of a job can tell before a release.

/// Bits charged to the account of every dataset of a job before each run, retries and lost runs included, and never
/// given back: log2 of all answers that a run can get, rounded up field by field. It is the sum of `egress_bits` in
/// the messages `Outcome`, `Failure` and `Use` of `proto/databox/v1/job.proto`, which a test compares.
pub const ANSWER_BITS: u64 = 67;
