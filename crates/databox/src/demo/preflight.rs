//! What the demonstration needs of the machine, looked at before anything starts.

use crate::doctor::machine;
use crate::failure::Failure;
use crate::walls::By;

/// Fails with the remedy if the machine lacks something.
pub fn check() -> Result<(), Failure> {
    machine::all_programs()?;
    machine::python()?;
    machine::wall(&By::Caller)?;
    machine::loopback()
}
