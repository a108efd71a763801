//! Canonicalise, judge, views and scan, each meant to run behind a wall.

fn main() {}
