//! Judging released files a second time, with the code that the box itself runs.

use egress::{InMemory, Task};
use release::file::{Judge, JudgeAgain};
use release::report::OutputReport;

/// Judges through `egress`.
pub struct EgressJudge;

impl Judge for EgressJudge {
    fn judge(&self, again: &JudgeAgain<'_>) -> Option<OutputReport> {
        let task = Task {
            policy: std::str::from_utf8(again.policy).ok()?.to_owned(),
            outputs: again.outputs.to_vec(),
            catalogue: again.catalogue.to_vec(),
            as_written: false,
        };
        let mut files = InMemory::new(again.files.iter().map(|(name, bytes)| (name.clone(), bytes.clone())));
        Some(egress::judge(&task, &mut files).ok()?.report)
    }
}
