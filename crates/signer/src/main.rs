//! The room that holds the release key and the log.

fn main() {}
