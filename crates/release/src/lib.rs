//! Statements, roles, account arithmetic, the log and the release file: builds and verifies them.
//!
//! Nothing here holds a private key longer than one call, opens a socket or looks at a clock: who calls passes
//! the time. `docs/formats/` specifies every signed byte.

pub mod account;
mod checked_key;
pub mod differencing;
pub mod envelope;
pub mod file;
pub mod json;
pub mod key;
pub mod log;
pub mod path;
pub mod refusal;
pub mod report;
pub mod rule;
pub mod signature;
pub mod site;
pub mod sshsig;
pub mod statement;
pub mod value;
