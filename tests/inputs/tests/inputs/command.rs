//! The command line, as a person types it.

use std::path::PathBuf;
use std::process::{Command, Output};

use harness::TestBox;
use release::refusal::Refusal;

/// Runs `databox` with these words.
pub fn run(words: &[&str]) -> Output {
    Command::new(harness::programs().join("databox")).args(words).output().unwrap()
}

/// The name of the error that a command ended with. Every error must have a hint, or the name says that it lacks one.
pub fn name(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return "TAKEN".to_owned();
    }
    let named = text.split_once("error[").and_then(|(_, rest)| rest.split_once(']'));
    let Some((name, rest)) = named else { return text };
    let rule = Refusal::ALL.into_iter().map(Refusal::name).find(|rule| rest.contains(&format!(" {rule}: ")));
    match (rest.contains("\n  hint: "), rule) {
        (true, Some(rule)) => format!("{name}/{rule}"),
        (true, None) => name.to_owned(),
        (false, _) => format!("{name} without a hint: {text}"),
    }
}

/// For a twin: what was said if it was not taken.
pub fn said(output: &Output) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The profile of a person, as a file.
pub fn profile(tested: &TestBox, person: &str) -> PathBuf {
    let path = tested.directory().join(format!("{person}.toml"));
    if !path.exists() {
        tested.stage.profile(person).write_new(&path).unwrap();
    }
    path
}
