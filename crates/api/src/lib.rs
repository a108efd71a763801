//! The wire: generated types and their conversion into the types of the path.
//!
//! The only home of prost and tonic-build. `src/generated` is made from `proto/` by `cargo test -p api --test generated`,
//! which fails when they differ. Wire types are words of a peer: whoever receives one turns it into a type
//! of the path here, or refuses it, before anything else is done with it.

mod convert;
mod link;
pub mod reason;
mod told;

pub use convert::{WireError, denial_reasons, digest, name};
pub use link::{Admission, Answer, Transition};
pub use told::{CLASSES, Failure, Use, class_name};

mod databox {
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        include!("generated/databox.v1.rs");
    }
    pub mod internal {
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            include!("generated/databox.internal.v1.rs");
        }
    }
}

/// The sockets between rooms: `proto/databox/internal/v1`.
pub use databox::internal::v1 as internal;
/// What people call: `proto/databox/v1`.
pub use databox::v1;

/// Every file of `proto/` as an encoded FileDescriptorSet, custom options included.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Largest message, either way, in bytes: 2 MiB. Set it on every client and server, since tonic's own default limits
/// what is received only.
pub const MESSAGE_LIMIT: usize = 2 << 20;

/// Size of the chunks in which files are sent, in bytes: 1 MiB.
pub const CHUNK_BYTES: usize = 1 << 20;
