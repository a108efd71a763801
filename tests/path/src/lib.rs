//! Suite `path`.
