//! What the box found, in words, for a steward who asks for them.

use release::report::DETAIL_LIMIT;

use super::{Opened, printable};
use crate::failure::Failure;
use crate::wall;

/// Most bytes of words of one process of the box: what it may write, and the names of files once more for each finding.
const LONGEST: u64 = DETAIL_LIMIT as u64 + (64 << 10);

/// What each process of the box found, a line each. A finding may quote what the job wrote, rows of the data among it:
/// it is shown to who asks for it, and is read behind a wall, not beside the review key.
pub fn findings(opened: &Opened) -> Result<String, Failure> {
    let mut text = String::new();
    for (label, detail) in &opened.content.details {
        let said = match wall::check("findings", detail.clone(), &[], LONGEST) {
            Err(failure) if failure.reason == "CHECKER_FAILED" => {
                text += &format!("found      what {label} found is not in a form that can be read\n");
                continue;
            }
            said => said?,
        };
        for line in String::from_utf8_lossy(&said).lines() {
            text += &format!("found      {}\n", printable(line));
        }
    }
    Ok(text)
}
