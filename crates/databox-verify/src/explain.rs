//! The table of refusals, for people.

use std::io::{self, Write};

use release::refusal::Refusal;

/// Prints one refusal, found by code or name, or all of them. False if there is none such.
pub fn explain(which: Option<&str>, out: &mut dyn Write) -> io::Result<bool> {
    let Some(which) = which else {
        writeln!(out, "code  name                     meaning")?;
        for refusal in Refusal::ALL {
            line(refusal, out)?;
        }
        return Ok(true);
    };
    let by_code = which.parse().ok().and_then(Refusal::from_code);
    match by_code.or_else(|| Refusal::from_name(which)) {
        Some(refusal) => line(refusal, out).map(|()| true),
        None => Ok(false),
    }
}

fn line(refusal: Refusal, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:<5} {:<24} {}", refusal.code(), refusal.name(), refusal.meaning())
}
