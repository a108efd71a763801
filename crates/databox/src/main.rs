//! The command of researchers, stewards and operators.

fn main() {}
