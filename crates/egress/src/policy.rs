//! The egress policy: typed TOML, whole numbers only. `policies/egress/standard.toml` gives the reason of each limit.

use serde::{Deserialize, Serialize};

/// Largest policy file in bytes.
pub const POLICY_LIMIT: usize = 64 * 1024;

/// A site's rules about what may leave, by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Researchers learn of a job's progress at multiples of so many seconds only.
    pub time_grid_seconds: u64,
    /// Whether a verifier accepts a witness that runs on the box's own machine.
    pub on_box_witness: bool,
    /// Upper bound in bits of what one release may carry, all its files together.
    pub release_bits: u64,
    /// So many seconds after a verdict it can be approved no more.
    pub verdict_expiry_seconds: u64,
    /// So many days after a verdict the quarantine is wiped at the latest.
    pub quarantine_days: u64,
    /// Longest run that a request may ask for, in seconds.
    pub max_run_seconds: u64,
    /// Bytes that a review packet may have beyond its canonical files.
    pub packet_extra_bytes: u64,
    /// Weights.
    pub weights: WeightsPolicy,
    /// Tables.
    pub table: TablePolicy,
    /// Metrics.
    pub metrics: MetricsPolicy,
}

/// What may leave as weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsPolicy {
    /// How each parameter is stored in the canonical file.
    pub precision: Precision,
    /// Upper bound in bits of one weights file.
    pub max_bits: u64,
    /// Most tensors in a file.
    pub max_tensors: u64,
    /// Most dimensions of a tensor.
    pub max_dimensions: u64,
    /// Largest header of a file that a job wrote, in bytes.
    pub max_header_bytes: u64,
    /// Largest file that a job may write, in bytes.
    pub max_file_bytes: u64,
}

/// What may leave as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePolicy {
    /// Fewest units behind a row.
    pub smallest_count: u64,
    /// Counts are rounded to the nearest multiple of this.
    pub rounding_base: u64,
    /// Most cells in a table, the header not counted.
    pub max_cells: u64,
    /// Most digits before the point of a number.
    pub max_integer_digits: u64,
    /// Largest file that a job may write, in bytes.
    pub max_file_bytes: u64,
}

/// What may leave as metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsPolicy {
    /// Significant digits that are kept.
    pub significant_digits: u64,
    /// Most metrics in a file.
    pub max_count: u64,
    /// Largest file that a job may write, in bytes.
    pub max_file_bytes: u64,
}

/// How a parameter is stored in a canonical weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bfloat16, 16 bits.
    Bf16,
    /// IEEE 754 binary16, 16 bits.
    F16,
    /// IEEE 754 binary32, 32 bits.
    F32,
    /// Whole numbers from −127 to 127, 8 bits, and one binary32 scale for each tensor.
    Int8,
}

/// A policy that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`POLICY_LIMIT`].
    #[error("the policy is longer than {POLICY_LIMIT} bytes")]
    TooLarge,
    /// Not TOML, or a key is missing, unknown or of another type.
    #[error("the policy does not fit")]
    Shape(#[source] toml::de::Error),
    /// A number is outside its range.
    #[error("the policy's {key} must be from {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// The smallest value that is accepted.
        least: u64,
        /// The largest value that is accepted.
        most: u64,
    },
}

impl Policy {
    /// Reads a policy file and checks every number's range.
    pub fn parse(toml: &str) -> Result<Self, PolicyError> {
        if toml.len() > POLICY_LIMIT {
            return Err(PolicyError::TooLarge);
        }
        let policy: Self = toml::from_str(toml).map_err(PolicyError::Shape)?;
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), PolicyError> {
        // The ranges keep all later arithmetic far from overflow, and a limit from meaning "none" by accident.
        const FILE: u64 = 1 << 40;
        let ranges = [
            ("time_grid_seconds", self.time_grid_seconds, 1, 86_400),
            ("release_bits", self.release_bits, 1, 8 * FILE),
            ("verdict_expiry_seconds", self.verdict_expiry_seconds, 60, 30 * 86_400),
            ("quarantine_days", self.quarantine_days, 1, 30),
            ("max_run_seconds", self.max_run_seconds, 1, 90 * 86_400),
            ("packet_extra_bytes", self.packet_extra_bytes, 1 << 12, 1 << 20),
            ("weights.max_bits", self.weights.max_bits, 1, 8 * FILE),
            ("weights.max_tensors", self.weights.max_tensors, 1, 1 << 16),
            ("weights.max_dimensions", self.weights.max_dimensions, 1, 16),
            ("weights.max_header_bytes", self.weights.max_header_bytes, 64, 1 << 26),
            ("weights.max_file_bytes", self.weights.max_file_bytes, 64, FILE),
            ("table.smallest_count", self.table.smallest_count, 1, 1 << 20),
            ("table.rounding_base", self.table.rounding_base, 1, 1 << 20),
            ("table.max_cells", self.table.max_cells, 1, 1 << 24),
            ("table.max_integer_digits", self.table.max_integer_digits, 1, 18),
            ("table.max_file_bytes", self.table.max_file_bytes, 64, 1 << 30),
            ("metrics.significant_digits", self.metrics.significant_digits, 1, 9),
            ("metrics.max_count", self.metrics.max_count, 1, 1 << 12),
            ("metrics.max_file_bytes", self.metrics.max_file_bytes, 64, 1 << 24),
        ];
        match ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((key, _, least, most)) => Err(PolicyError::Range { key, least, most }),
            None => Ok(()),
        }
    }
}

impl Precision {
    /// Bits of one parameter.
    pub fn bits(self) -> u64 {
        match self {
            Self::Bf16 | Self::F16 => 16,
            Self::F32 => 32,
            Self::Int8 => 8,
        }
    }
}
