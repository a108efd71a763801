//! The path from a request to a release, as types. Each has private fields and one constructor, which is the check;
//! so code that holds a later one cannot have skipped an earlier one. Types end at a process boundary: each room
//! makes them anew from envelopes and its own site, and believes no other room.
//!
//! ```text
//! AdmittedRequest ─▶ JudgedVerdict ─▶ Approved ─▶ ManifestDraft ─▶ LoggedRelease (in `file`)
//!                                 └─▶ Denied
//! ```

mod approval;
mod cancel;
mod manifest;
mod request;
mod verdict;

pub use approval::{Approved, Denied, may_review};
pub use cancel::{CancelledJob, SignedCancel};
pub use manifest::ManifestDraft;
pub(crate) use manifest::{check_accounts, check_names_evidence};
pub use request::{AdmittedRequest, REQUEST_SECONDS_LIMIT, SignedRequest};
pub use verdict::{JudgedVerdict, VERDICT_SECONDS_LIMIT};
