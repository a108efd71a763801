//! The egress policy: typed TOML, whole numbers only. `policies/egress/standard.toml` gives the reason of each limit.

use release::statement::{DeclaredOutput, Precision};
use serde::{Deserialize, Serialize};

use crate::weights;

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
    /// Precisions that are tried for weights whose request ships an evaluation, the one of most bits first. One that has no
    /// fewer bits than `precision` is never tried.
    pub smaller_precisions: Vec<Precision>,
    /// So much worse, in thousandths of its value at `precision`, the metric of an evaluation may be at a smaller one.
    pub metric_drop_thousandths: u64,
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
    /// Noise that is added to each value, in hundredths of its tensor's standard deviation.
    pub dither_percent: u64,
}

/// What may leave as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePolicy {
    /// Fewest units behind a row.
    pub smallest_count: u64,
    /// Counts are rounded to the nearest multiple of this.
    pub rounding_base: u64,
    /// So many of a row's largest units are looked at together: 1 or 2.
    pub dominance_units: u64,
    /// From this share of a row on, in per cent, those units dominate it.
    pub dominance_percent: u64,
    /// So closely, in per cent of its value, the second largest unit must not be able to tell the largest one.
    pub p_percent: u64,
    /// Whether a table with values must say the shares of its largest units.
    pub shares_required: bool,
    /// Whether a row of nobody tells something, unless nobody can stand there.
    pub zeros_are_disclosive: bool,
    /// Fewest units between the bounds that the other tables give for a row that was left out.
    pub suppression_width: u64,
    /// Most cells in a table, the header not counted.
    pub max_cells: u64,
    /// Most digits before the point of a number.
    pub max_integer_digits: u64,
    /// Largest file that a job may write, in bytes.
    pub max_file_bytes: u64,
    /// Quantiles that questions may ask for, in per cent of the rows below them; sorted, each once.
    pub quantile_percents: Vec<u64>,
}

/// What may leave as metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsPolicy {
    /// Significant digits that are kept.
    pub significant_digits: u64,
    /// Most metrics in a file.
    pub max_count: u64,
    /// Fewest residual degrees of freedom of a model that says them.
    pub degrees_of_freedom: u64,
    /// Largest file that a job may write, in bytes.
    pub max_file_bytes: u64,
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
    /// A smaller precision is not smaller than the one before it.
    #[error("the policy's weights.smaller_precisions must each have fewer bits than the one before it")]
    Precisions,
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
    /// A list is not sorted, or has a number twice.
    #[error("the policy's {key} must be sorted, each number once")]
    Unsorted {
        /// The key.
        key: &'static str,
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
        if !self.weights.smaller_precisions.is_sorted_by(|one, next| one.bits() > next.bits()) {
            return Err(PolicyError::Precisions);
        }
        let outside = |limit: &Limit| !(limit.least..=limit.most).contains(&limit.value);
        if let Some(Limit { key, least, most, .. }) = self.limits().into_iter().find(outside) {
            return Err(PolicyError::Range { key, least, most });
        }
        let (key, quantiles) = ("table.quantile_percents", &self.table.quantile_percents);
        if quantiles.iter().any(|percent| !(1..=99).contains(percent)) {
            return Err(PolicyError::Range { key, least: 1, most: 99 });
        }
        match quantiles.is_sorted_by(|one, other| one < other) {
            true => Ok(()),
            false => Err(PolicyError::Unsorted { key }),
        }
    }

    /// The precisions that the box chooses among for this output, the policy's own first: those of its smaller ones in which
    /// the file is charged less. Without an evaluation there is no choice.
    pub fn precisions(&self, output: &DeclaredOutput) -> Vec<Precision> {
        let weights = &self.weights;
        let mut among = vec![weights.precision];
        if let DeclaredOutput::Weights { tensors, evaluation: Some(_), .. } = output {
            let bits = |precision| weights::capacity_bits(precision, tensors);
            let smaller = weights.smaller_precisions.iter().copied();
            // Scales can make a file of small tensors dearer than the policy's precision does.
            among.extend(smaller.filter(|smaller| bits(*smaller) < bits(weights.precision)));
        }
        among
    }

    /// The bits that the choice of a precision tells at most: the logarithm of the number of precisions that this policy
    /// has, rounded up. With them, what a file is charged in each precision is a prefix code's length (Kraft 1949): the forms
    /// of all precisions together are no more than each one's charge allows.
    pub fn choice_bits(&self, output: &DeclaredOutput) -> u64 {
        match output.evaluation() {
            Some(_) => {
                let smaller = self.weights.smaller_precisions.len().checked_ilog2();
                smaller.map_or(0, |log| u64::from(log) + 1)
            }
            None => 0,
        }
    }

    /// The policy as it holds for a file in a precision that was chosen for it.
    pub fn at(&self, precision: Precision) -> Self {
        Self { weights: WeightsPolicy { precision, ..self.weights.clone() }, ..self.clone() }
    }

    /// The policy as it holds for a file of which a verdict states this precision. None if it may not: the precision is none
    /// of those that the box chooses among, or none is stated where there is a choice.
    pub fn stated(&self, output: &DeclaredOutput, precision: Option<Precision>) -> Option<Self> {
        match (output.evaluation(), precision) {
            (None, None) => Some(self.clone()),
            // A finer one than the policy's would let more of each parameter out than the owner signed.
            (Some(_), Some(precision)) => {
                self.precisions(output).contains(&precision).then(|| self.at(precision))
            }
            (None, Some(_)) | (Some(_), None) => None,
        }
    }

    /// Every number of the policy, with what is accepted for it. The ranges keep all later arithmetic far from overflow,
    /// and a limit from meaning "none" by accident.
    fn limits(&self) -> [Limit; 26] {
        const FILE: u64 = 1 << 40;
        use Stricter::{Larger, Smaller};
        let (weights, table, metrics) = (&self.weights, &self.table, &self.metrics);
        [
            Limit::new("time_grid_seconds", self.time_grid_seconds, 1, 86_400, Larger),
            Limit::new("release_bits", self.release_bits, 1, 8 * FILE, Smaller),
            Limit::new("verdict_expiry_seconds", self.verdict_expiry_seconds, 60, 30 * 86_400, Smaller),
            Limit::new("quarantine_days", self.quarantine_days, 1, 30, Smaller),
            Limit::new("max_run_seconds", self.max_run_seconds, 1, 90 * 86_400, Smaller),
            Limit::new("packet_extra_bytes", self.packet_extra_bytes, 1 << 12, 1 << 20, Smaller),
            Limit::new("weights.max_bits", weights.max_bits, 1, 8 * FILE, Smaller),
            Limit::new("weights.max_tensors", weights.max_tensors, 1, 1 << 16, Smaller),
            Limit::new("weights.max_dimensions", weights.max_dimensions, 1, 16, Smaller),
            Limit::new("weights.max_header_bytes", weights.max_header_bytes, 64, 1 << 26, Smaller),
            Limit::new("weights.max_file_bytes", weights.max_file_bytes, 64, FILE, Smaller),
            Limit::new("weights.dither_percent", weights.dither_percent, 0, 1000, Larger),
            Limit::new("weights.metric_drop_thousandths", weights.metric_drop_thousandths, 0, 1000, Larger),
            Limit::new("table.smallest_count", table.smallest_count, 1, 1 << 20, Larger),
            Limit::new("table.rounding_base", table.rounding_base, 1, 1 << 20, Larger),
            Limit::new("table.dominance_units", table.dominance_units, 1, 2, Larger),
            Limit::new("table.dominance_percent", table.dominance_percent, 1, 100, Smaller),
            Limit::new("table.p_percent", table.p_percent, 0, 100, Larger),
            Limit::new("table.suppression_width", table.suppression_width, 0, 1 << 20, Larger),
            Limit::new("table.max_cells", table.max_cells, 1, 1 << 24, Smaller),
            Limit::new("table.max_integer_digits", table.max_integer_digits, 1, 18, Smaller),
            Limit::new("table.max_file_bytes", table.max_file_bytes, 64, 1 << 30, Smaller),
            Limit::new("metrics.significant_digits", metrics.significant_digits, 1, 9, Smaller),
            Limit::new("metrics.max_count", metrics.max_count, 1, 1 << 12, Smaller),
            Limit::new("metrics.degrees_of_freedom", metrics.degrees_of_freedom, 0, 1 << 20, Larger),
            Limit::new("metrics.max_file_bytes", metrics.max_file_bytes, 64, 1 << 24, Smaller),
        ]
    }

    /// Every switch of the policy, and which of its two positions lets more happen.
    fn switches(&self) -> [Switch; 3] {
        let table = &self.table;
        [
            Switch { key: "on_box_witness", on: self.on_box_witness, weaker: true },
            Switch { key: "table.shares_required", on: table.shares_required, weaker: false },
            Switch { key: "table.zeros_are_disclosive", on: table.zeros_are_disclosive, weaker: false },
        ]
    }

    /// Where this policy is weaker than another: what it lets out, or lets happen, that the other does not.
    pub fn weaker_than(&self, other: &Self) -> Vec<Weaker> {
        let mut weaker = Vec::new();
        let [own_quantiles, other_quantiles] = [self, other].map(|policy| &policy.table.quantile_percents);
        for (own, other) in self.limits().into_iter().zip(other.limits()) {
            let is_weaker = match own.stricter {
                Stricter::Larger => own.value < other.value,
                Stricter::Smaller => own.value > other.value,
            };
            if is_weaker {
                let (value, other) = (own.value.to_string(), other.value.to_string());
                weaker.push(Weaker { key: own.key, value, other });
            }
        }
        for (own, other) in self.switches().into_iter().zip(other.switches()) {
            if own.on == own.weaker && other.on != own.weaker {
                let (value, other) = (own.on.to_string(), other.on.to_string());
                weaker.push(Weaker { key: own.key, value, other });
            }
        }
        let (own, other) = (self.weights.precision, other.weights.precision);
        if own.bits() > other.bits() {
            let (value, other) = (own.word().to_owned(), other.word().to_owned());
            weaker.push(Weaker { key: "weights.precision", value, other });
        }
        if own_quantiles.iter().any(|percent| !other_quantiles.contains(percent)) {
            let (value, other) = (format!("{own_quantiles:?}"), format!("{other_quantiles:?}"));
            weaker.push(Weaker { key: "table.quantile_percents", value, other });
        }
        weaker
    }

    /// Limits that nothing can reach, since another one is always met first: pairs of the limit and the other.
    pub fn never_reached(&self) -> Vec<(&'static str, &'static str)> {
        let mut pairs = Vec::new();
        if self.weights.max_bits > self.release_bits {
            pairs.push(("weights.max_bits", "release_bits"));
        }
        if self.weights.max_header_bytes > self.weights.max_file_bytes {
            pairs.push(("weights.max_header_bytes", "weights.max_file_bytes"));
        }
        pairs
    }
}

/// A number of a policy.
struct Limit {
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
    stricter: Stricter,
}

impl Limit {
    fn new(key: &'static str, value: u64, least: u64, most: u64, stricter: Stricter) -> Self {
        Self { key, value, least, most, stricter }
    }
}

/// A switch of a policy.
struct Switch {
    key: &'static str,
    on: bool,
    weaker: bool,
}

/// In which direction a number lets less happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stricter {
    Larger,
    Smaller,
}

/// A value that is weaker than the same one of another policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weaker {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The other policy's value.
    pub other: String,
}
