//! The room that holds the data.

fn main() {}
