//! Judging released files a second time, with the code that the box itself runs.

use egress::{Source, Task};
use release::file::{Judge, JudgeAgain};
use release::report::OutputReport;
use release::statement::{Catalogue, DeclaredOutput, Precision, Query};

fn parsed(policy: &[u8]) -> Option<egress::Policy> {
    egress::Policy::parse(std::str::from_utf8(policy).ok()?).ok()
}

/// Judges these files through `egress`.
pub struct EgressJudge<S>(pub S);

impl<S: Source + Clone> Judge for EgressJudge<S> {
    fn judge(&self, again: &JudgeAgain<'_>) -> Option<OutputReport> {
        let task = Task {
            policy: std::str::from_utf8(again.policy).ok()?.to_owned(),
            outputs: again.outputs.to_vec(),
            catalogue: again.catalogue.to_vec(),
            query: again.query.cloned(),
            precisions: again.precisions.clone(),
            as_written: false,
        };
        Some(egress::judge(&task, &mut self.0.clone()).ok()?.report)
    }

    fn allows(&self, policy: &[u8], query: &Query, catalogue: &Catalogue) -> bool {
        let policy = parsed(policy);
        policy.is_some_and(|policy| egress::check_question(&policy, query, catalogue).is_ok())
    }

    fn noise_percent(&self, policy: &[u8]) -> Option<u64> {
        Some(parsed(policy)?.weights.dither_percent)
    }

    fn least_bits(
        &self,
        policy: &[u8],
        output: &DeclaredOutput,
        precision: Option<Precision>,
        bytes: u64,
    ) -> Option<u64> {
        let policy = parsed(policy)?;
        Some(egress::floor_bits(&policy.stated(output, precision)?, output, bytes))
    }
}
