//! Suite `formats`.
