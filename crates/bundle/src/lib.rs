//! The job bundle: pack, read, limits.
//!
//! A bundle is one tar archive in one zstd frame, with `databox.toml` at its root. Whoever sends it is a stranger,
//! so it is read by a walk of our own that knows two kinds of entry, files and directories; anything else refuses
//! the whole bundle by name. In the box that walk runs in a child process without data, key or network:
//! `databox-unbundle`. `docs/formats/bundle.md` specifies every byte.
//!
//! Architecture invariant: nothing here knows grants, policies or the box; a bundle is a stranger's files.

mod archive;
mod error;
mod frame;
mod header;
mod manifest;
mod names;
mod pack;
mod unpack;

pub use archive::{Contents, Entry, Limits, Listing, read};
pub use error::{BundleError, EntryKind};
pub use manifest::{MANIFEST_NAME, Manifest, ManifestError, Question, RequestContext, SnapshotChoice};
pub use pack::pack;
pub use unpack::unpack_into;
