//! Digests, and files that are written once, durably, under their digest.
