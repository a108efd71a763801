//! The job bundle: pack, read, limits.
