//! The room that faces stewards and witnesses.

fn main() {}
