//! The room that faces researchers.

fn main() {}
