//! The auditor's verifier: offline, without the box's code.

fn main() {}
