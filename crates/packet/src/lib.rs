//! Sealed review packets and encrypted key files.
//!
//! A packet carries what stewards must see and nobody between the enclave and them may: the canonical files, the
//! purpose, what the checks measured. It is sealed to the stewards named in the verdict; the console stores it and
//! cannot read it. `docs/formats/packet.md` specifies every byte.

mod content;
mod error;
pub mod key;
mod seal;
mod wire;

pub use content::{Content, DETAILS_LIMIT, PURPOSE_LIMIT};
pub use error::PacketError;
pub use seal::{RECIPIENT_LIMIT, Recipient, open, recipients, seal, sealed_size};
