//! What a run at the desk is told as.

use std::path::Path;

use api::reason::Word as _;
use api::v1::Reason;
use sandbox::{Outcome, State};
use serde_json::{Value, json};

use super::Ran;
use crate::check;
use crate::failure::{Failure, whole};
use crate::question::Asked;

/// What a program prints, without the control characters that steer a terminal.
pub(super) fn printable(bytes: &[u8]) -> Vec<u8> {
    let steers = |byte: u8| byte == 0x7f || (byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t'));
    bytes.iter().map(|byte| if steers(*byte) { b'?' } else { *byte }).collect()
}

/// The reason that the box would give; None if the program ended well.
fn reason(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Succeeded => None,
        Outcome::Failed | Outcome::NotExecutable | Outcome::Cancelled => Some(Reason::ProgramFailed),
        Outcome::TimeLimit | Outcome::CpuLimit => Some(Reason::TimeLimit),
        Outcome::MemoryLimit => Some(Reason::MemoryLimit),
        Outcome::ProcessLimit => Some(Reason::ProcessLimit),
        Outcome::FileLimit | Outcome::OutputLimit | Outcome::SpaceLimit => Some(Reason::OutputLimit),
    }
}

/// What to do about it at this desk.
fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::ProgramFailed => "what it printed stands above: change the bundle, and run it again",
        _ => reason.hint(),
    }
}

/// What happened at this desk, more exactly than the box would say.
fn happened(ran: &Ran) -> String {
    match ran.outcome {
        Outcome::Succeeded => "the program ended well".to_owned(),
        Outcome::Failed => match ran.code {
            Some(code) => format!("the program ended with exit code {code}"),
            None => "the program was ended by a signal".to_owned(),
        },
        Outcome::NotExecutable => {
            "the program of `command` is not in the runtime, or cannot be executed".to_owned()
        }
        Outcome::TimeLimit => "limits.time passed".to_owned(),
        Outcome::CpuLimit => "the program used the processor time of limits.time and limits.cpus".to_owned(),
        Outcome::MemoryLimit => "the program failed with the memory of limits.memory in use".to_owned(),
        Outcome::ProcessLimit => {
            "the program failed after it was refused one more process or thread".to_owned()
        }
        Outcome::FileLimit => "the program wrote a file beyond the limit".to_owned(),
        Outcome::SpaceLimit => "/out, /tmp or /dev/shm is full, or holds files with holes".to_owned(),
        Outcome::OutputLimit => "the program printed more than is kept".to_owned(),
        Outcome::Cancelled => "the run was cancelled".to_owned(),
    }
}

fn state(ran: &Ran) -> &'static str {
    match &ran.checked {
        None => "FAILED",
        Some(checked) if checked.result == check::Answer::Pass => "PASS",
        Some(_) => "FAIL",
    }
}

/// One JSON object.
pub(super) fn value(ran: &Ran, out: &Path) -> Result<Value, Failure> {
    let reason = reason(ran.outcome);
    let checked = serde_json::to_value(&ran.checked).map_err(|error| Failure::new("JSON", whole(&error)))?;
    let data = ran.data.iter().map(|(name, made_up)| json!({ "name": name, "madeUpRows": made_up }));
    let layers = ran
        .evidence
        .layers
        .iter()
        .map(|layer| json!({ "name": layer.name.as_str(), "state": layer.state.as_str() }));
    Ok(json!({
        "state": state(ran),
        "question": ran.question,
        "outcome": ran.outcome,
        "happened": happened(ran),
        "exitCode": ran.code,
        "reason": reason.map(|reason| reason.word()),
        "hint": reason.map(hint),
        "seconds": ran.time.as_secs_f64(),
        "peakBytes": ran.peak_bytes,
        "printed": String::from_utf8_lossy(&ran.printed),
        "data": data.collect::<Vec<_>>(),
        "out": out,
        "notPlain": ran.not_plain,
        "wall": {
            "name": ran.evidence.wall.as_str(),
            "privileged": ran.evidence.privileged,
            "layers": layers.collect::<Vec<_>>(),
        },
        "notes": ran.notes,
        "check": checked,
    }))
}

/// The same in words.
pub(super) fn words(ran: &Ran, out: &Path) -> String {
    // What was checked says it, too.
    let unchecked = ran.question.as_ref().filter(|_| ran.checked.is_none());
    let mut text = unchecked.map_or(String::new(), Asked::text);
    for (name, made_up) in &ran.data {
        match made_up {
            Some(rows) => text += &format!("data   {name}: {rows} rows made up from the catalogue\n"),
            None => text += &format!("data   {name}: your own\n"),
        }
    }
    let on = ran.evidence.layers.iter().filter(|layer| layer.state == State::On).count();
    let memory = ran.peak_bytes.map_or(String::new(), |bytes| format!(", {} MiB at most", bytes >> 20));
    text += &format!(
        "run    {}; {:.1} s{memory}; behind the {} wall, {on} layers\n",
        happened(ran),
        ran.time.as_secs_f64(),
        ran.evidence.wall.as_str()
    );
    text += &format!("out    {}\n", out.display());
    for thing in &ran.not_plain {
        text += &format!("note   {} is no plain file but {}\n", thing.path.display(), thing.kind);
    }
    for note in &ran.notes {
        text += &format!("note   {note}\n");
    }
    match (&ran.checked, reason(ran.outcome)) {
        (Some(checked), _) => text += &check::words(checked),
        (None, Some(reason)) => {
            text += &format!("FAILED  the box would say {}: {}\n", reason.word(), hint(reason));
        }
        (None, None) => text += "FAILED\n",
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_cannot_steer_a_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\x07\n\tc\r\x7f"), b"a?[2Jb?\n\tc\r?");
        assert_eq!(printable("größe".as_bytes()), "größe".as_bytes());
    }
}
