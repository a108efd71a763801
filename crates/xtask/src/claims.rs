//! Every sentence of `docs/claims` names a test that holds it up, and the test is there; or it says that none does yet.
//!
//! A test is named as `suite module::test`, or `suite test`: the suite is a package (`test-rooms` is the suite `rooms`),
//! and the module a file or a directory on the way to the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::root;

/// What a row says that no test holds up yet.
const NONE_YET: &str = "none yet";

/// What a row says that names a test which only the long run runs.
const LONG_RUN: &str = "long run";

/// Where each test of a package is, by its name, and whether it is left to the long run.
type Tests = BTreeMap<String, Vec<Found>>;

/// Where a test is.
struct Found {
    file: PathBuf,
    is_ignored: bool,
}

/// Compares every page with the tests in the sources.
pub fn check() -> Result<(), String> {
    let mut packages = BTreeMap::new();
    for file in files_below(&root(), "Cargo.toml")? {
        let text = read(&file)?;
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let (Some(name), Some(directory)) = (name, file.parent()) else { continue };
        let suite = name.strip_prefix("test-").unwrap_or(name).to_owned();
        packages.insert(suite, tests_below(directory)?);
    }
    let mut wrong = Vec::new();
    let mut named = 0;
    for page in files_below(&root().join("docs/claims"), ".md")? {
        for (number, line) in read(&page)?.lines().enumerate() {
            let place = format!("{}:{}", page.display(), number + 1);
            let references: Vec<_> = references(line).collect();
            let unknown = references
                .iter()
                .filter_map(|reference| Some(format!("{place}: {}", missing(reference, &packages)?)));
            wrong.extend(unknown);
            named += references.len();
            if references.iter().any(|reference| is_ignored(reference, &packages)) && !line.contains(LONG_RUN)
            {
                wrong.push(format!(
                    "{place}: a test that is ignored, and the row does not say \"{LONG_RUN}\""
                ));
            }
            if is_claim(line) && references.is_empty() && !line.contains(NONE_YET) {
                wrong.push(format!("{place}: names no test and does not say \"{NONE_YET}\""));
            }
        }
    }
    println!("claims: {named} tests are named");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// A row of a table that is not its head.
fn is_claim(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| claim ")
}

/// Everything between two backticks that is two words, the first of them a possible package.
fn references(line: &str) -> impl Iterator<Item = &str> {
    let between = line.split('`').skip(1).step_by(2);
    between.filter(|text| {
        let mut words = text.split(' ');
        let (suite, test) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_name = |word: &str, more: &str| {
            !word.is_empty() && word.chars().all(|one| one.is_ascii_alphanumeric() || more.contains(one))
        };
        // Names of tests say something, so that they have several words; a command's argument seldom has.
        words.next().is_none() && is_name(suite, "-") && is_name(test, "_:") && test.contains('_')
    })
}

/// What is wrong with a reference, if something is.
fn missing(reference: &str, packages: &BTreeMap<String, Tests>) -> Option<String> {
    let (suite, path) = reference.split_once(' ')?;
    let Some(tests) = packages.get(suite) else { return Some(format!("there is no suite {suite}")) };
    let mut segments: Vec<&str> = path.split("::").collect();
    let name = segments.pop()?;
    let Some(files) = tests.get(name) else { return Some(format!("{suite} has no test {name}")) };
    let is_on_the_way = |found: &Found| {
        let mut parts =
            found.file.iter().filter_map(|part| part.to_str()).map(|part| part.trim_end_matches(".rs"));
        segments.iter().all(|segment| parts.any(|part| part == *segment))
    };
    if files.iter().any(is_on_the_way) {
        None
    } else {
        Some(format!("{suite} has {name}, but not in {path}"))
    }
}

/// True if every test of this name is left to the long run.
fn is_ignored(reference: &str, packages: &BTreeMap<String, Tests>) -> bool {
    let Some((suite, path)) = reference.split_once(' ') else { return false };
    let name = path.rsplit("::").next().unwrap_or_default();
    let found = packages.get(suite).and_then(|tests| tests.get(name));
    found.is_some_and(|found| found.iter().all(|found| found.is_ignored))
}

/// Every function behind a `#[test]` in this directory's Rust files, packages below it left out.
fn tests_below(directory: &Path) -> Result<Tests, String> {
    let mut tests = Tests::new();
    for file in files_below(directory, ".rs")? {
        let own = file.ancestors().skip(1).find(|above| above.join("Cargo.toml").is_file());
        if own != Some(directory) {
            continue;
        }
        let (mut is_test, mut is_ignored) = (false, false);
        for line in read(&file)?.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                (is_test, is_ignored) = (true, false);
            } else if line.starts_with("#[ignore") {
                is_ignored = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                let name = rest.split('(').next().unwrap_or_default().to_owned();
                tests.entry(name).or_default().push(Found { file: file.clone(), is_ignored });
                is_test = false;
            }
        }
    }
    Ok(tests)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Files whose names end so, in the order of their paths. What cargo and git keep is passed over.
fn files_below(directory: &Path, end: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["target", ".git", ".ci"].contains(&name.as_str()) {
            found.extend(files_below(&path, end)?);
        } else if path.is_file() && name.ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> BTreeMap<String, Tests> {
        let found = |is_ignored| {
            vec![Found { file: PathBuf::from("tests/rooms/tests/rooms/gateway.rs"), is_ignored }]
        };
        let tests = Tests::from([
            ("a_request_is_run_once".to_owned(), found(false)),
            ("a_million_are".to_owned(), found(true)),
        ]);
        BTreeMap::from([("rooms".to_owned(), tests)])
    }

    #[test]
    fn a_test_that_is_there_is_found_with_its_module_and_any_other_is_not() {
        let missing = |reference| missing(reference, &packages());
        assert_eq!(missing("rooms gateway::a_request_is_run_once"), None);
        assert_eq!(missing("rooms a_request_is_run_once"), None);
        assert!(missing("rooms console::a_request_is_run_once").is_some());
        assert!(missing("rooms gateway::a_request_is_run_twice").is_some());
        assert!(missing("path a_request_is_run_once").is_some());
        assert!(is_ignored("rooms gateway::a_million_are", &packages()));
        assert!(!is_ignored("rooms a_request_is_run_once", &packages()));
    }

    #[test]
    fn references_are_told_from_other_words_in_backticks() {
        let line = "| It `holds`. | `rooms gateway::a_request`, `databox up`, `release a_b c`, `path x_y` |";
        assert_eq!(references(line).collect::<Vec<_>>(), ["rooms gateway::a_request", "path x_y"]);
        assert!(is_claim(line) && !is_claim("|-|-|") && !is_claim("| claim | held up by |"));
    }
}
