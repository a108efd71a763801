//! How many bits a canonical file can carry: an upper bound that anyone can compute from the signed request and the
//! file's length.
//!
//! Whatever the request fixes carries nothing: a weights file's header and the tensors whose digests it names, a table's
//! first line, the names and punctuation of metrics. Each byte after that is charged with 8 bits, each parameter of a weights file with its precision. `docs/formats/canonical.md` shows why no more canonical
//! forms can be reached than the charge allows.

use std::io::{self, Read, Seek};

use release::statement::DeclaredOutput;

use crate::policy::Policy;
use crate::{metrics, table, weights};

/// Bytes of the canonical file that the signed request fixes.
pub fn declared_fixed_bytes(policy: &Policy, output: &DeclaredOutput) -> u64 {
    match output {
        DeclaredOutput::Weights { tensors, .. } => {
            weights::header(policy.weights.precision, tensors).len() as u64
        }
        DeclaredOutput::Metrics { names, .. } => metrics::fixed_bytes(names),
        DeclaredOutput::Table { columns, .. } => table::header(output, columns).len() as u64,
        // Which columns are drawn and how is the job's to choose, so that nothing is taken off.
        DeclaredOutput::Figure { .. } => 0,
    }
}

/// The bits that a canonical file of so many bytes is charged with at least, from its length and the declared shapes
/// only. Of a file in a precision that was chosen the policy is asked for by [`Policy::at`]; the choice itself is charged, too. It is what the judge charges too: nothing in the file's content lowers a charge. It rounds up, and what
/// overflows is charged with [`u64::MAX`].
pub fn floor_bits(policy: &Policy, output: &DeclaredOutput, bytes: u64) -> u64 {
    let free = bytes.saturating_sub(declared_fixed_bytes(policy, output));
    let by_length = free.saturating_mul(8);
    match output {
        DeclaredOutput::Weights { tensors, .. } => {
            let precision = policy.weights.precision;
            let capacity = weights::capacity_bits(precision, tensors);
            // Each parameter of a file of this length is one of so many values, which the rule `weights.form` checks.
            // Nothing canonical has another length. Of such a file nothing is taken off: else a long header that it does not
            // have could hide that it is one of another precision.
            let as_declared = free == weights::data_bytes(precision, tensors);
            let bits = if as_declared { capacity } else { bytes.saturating_mul(8).max(capacity) };
            bits.saturating_add(policy.choice_bits(output))
        }
        _ => by_length,
    }
}

/// Whether what [`floor_bits`] takes off as fixed stands in the file as the request fixed it: the header of weights and the
/// tensors whose digests were named, and no more bits of a whole number than are charged; a table's first line; names and
/// punctuation of metrics. Bytes are compared at places that the request fixes, and nothing is parsed.
///
/// Without this whoever took over the judge could call any bytes the fixed ones, and they would leave for nothing.
///
/// # Errors
/// If the file cannot be read.
pub fn holds_what_was_fixed(
    policy: &Policy,
    output: &DeclaredOutput,
    file: &mut (impl Read + Seek),
) -> io::Result<bool> {
    file.rewind()?;
    match output {
        DeclaredOutput::Weights { tensors, .. } => weights::holds(policy.weights.precision, tensors, file),
        DeclaredOutput::Metrics { names, .. } => metrics::holds_names(names, &mut io::BufReader::new(file)),
        DeclaredOutput::Table { columns, .. } => {
            let expected = table::header(output, columns);
            let mut found = Vec::new();
            file.take(expected.len() as u64).read_to_end(&mut found)?;
            Ok(found == expected)
        }
        DeclaredOutput::Figure { .. } => Ok(true),
    }
}
