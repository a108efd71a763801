//! Digests, and files that are written once, durably, under their digest.

mod digest;
mod store;
mod text;
mod tree;

pub use digest::{Digest, DigestError, Hasher};
pub use store::{BlobStore, StoreError, remove_unfinished, sync_directory, write_new_file_durably};
pub use text::from_text;
pub use tree::{TreeError, tree_digest};
