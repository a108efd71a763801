//! The path from a request to a release, as types. Each has private fields and one constructor, which is the check;
//! so code that holds a later one cannot have skipped an earlier one. Types end at a process boundary: each room
//! makes them anew from envelopes and its own site, and believes no other room.
//!
//! ```text
//! AdmittedRequest ─▶ ReviewedCode ─▶ JudgedVerdict ─▶ ReviewedRun, Approved ─▶ ManifestDraft ─▶ LoggedRelease (in `file`)
//!                └─▶ CodeDenied                   └─▶ Denied
//! ```

mod approval;
mod cancel;
mod code_review;
mod manifest;
mod request;
mod verdict;

pub use approval::{Approved, Denied, may_review};
pub use cancel::{CancelledJob, SignedCancel};
pub use code_review::{
    CODE_BUNDLE_LIMIT, CODE_REVIEW_SECONDS_LIMIT, CodeDenied, RUN_AFTER_REVIEW_SECONDS, ReviewedCode,
    ReviewedRun,
};
pub use manifest::{ManifestDraft, NotSigned};
pub(crate) use manifest::{check_accounts, check_names_evidence};
pub use request::{AdmittedRequest, REQUEST_SECONDS_LIMIT, SignedRequest};
pub use verdict::{JudgedVerdict, VERDICT_SECONDS_LIMIT};
