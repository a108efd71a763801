//! Where in one's own bundle a program failed. The box tells a number for the file; the names are remembered here, when a
//! job is handed in, so that they need not cross.

use std::path::PathBuf;

use api::v1::{self, Failure as Told};

use crate::failure::{Failure, bundle_failure, file_failure};

/// Where the files of the job's bundle are listed, under `$XDG_STATE_HOME` or `~/.local/state`; None without a home.
fn list_of(job: &str) -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let is_digest = job.len() == 64 && job.bytes().all(|byte| byte.is_ascii_hexdigit());
    (state.is_absolute() && is_digest).then(|| state.join("databox/jobs").join(job))
}

/// The paths of a bundle's files, in the order of their bytes, which is how the box counts them.
pub fn files(bundle: &[u8]) -> Result<Vec<String>, Failure> {
    let limits = bundle::Limits::default();
    let listing = bundle::read(bundle, &limits).map_err(bundle_failure(std::path::Path::new("bundle")))?;
    let is_file = |entry: &&bundle::Entry| matches!(entry.contents, bundle::Contents::File { .. });
    let mut files: Vec<_> =
        listing.entries.iter().filter(is_file).map(|entry| entry.path.to_string()).collect();
    files.sort_unstable();
    Ok(files)
}

/// Remembers the files of a job's bundle.
pub fn remember(job: &str, bundle: &[u8]) -> Result<(), Failure> {
    let Some(path) = list_of(job) else { return Ok(()) };
    let directory = path.parent().unwrap_or(&path);
    std::fs::create_dir_all(directory).map_err(file_failure(directory))?;
    std::fs::write(&path, files(bundle)?.join("\n")).map_err(file_failure(&path))
}

/// The remembered files of a job's bundle.
pub fn remembered(job: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(list_of(job)?).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// A failure in words, such as `train.py:41 KeyError`.
pub fn words(told: &Told, files: Option<&[String]>) -> String {
    let class = api::class_name(told.class());
    let Some(place) = (told.file as usize).checked_sub(1) else { return class.to_owned() };
    let file = match files.and_then(|files| files.get(place)) {
        Some(name) => name.escape_default().to_string(),
        None => format!("file {} of the bundle", told.file),
    };
    match told.line {
        0 => format!("{file} {class}"),
        line => format!("{file}:{line} {class}"),
    }
}

/// Eighths in words; None if nothing is told.
pub fn eighths(told: u32) -> Option<String> {
    match told {
        0 => None,
        1 => Some("less than 2/8".to_owned()),
        2..=6 => Some(format!("{told}/8 to {}/8", told + 1)),
        _ => Some("7/8 or more".to_owned()),
    }
}

/// What to try next, where the place says more than the reason.
pub fn hint(told: &Told) -> Option<&'static str> {
    use v1::FailureClass as Class;
    match told.class() {
        Class::MemoryError => Some("Python got no more memory; raise limits.memory or use less"),
        Class::ModuleNotFoundError | Class::ImportError => Some(
            "the runtime or the bundle lacks what is imported; put the module into the bundle or choose another runtime",
        ),
        Class::FileNotFoundError => Some(
            "data lies under /data/NAME, the bundle under /job, outputs go to /out; no other file is there",
        ),
        Class::PermissionError => Some("only /out and /tmp can be written"),
        Class::Unspecified => None,
        // No line of the bundle stands beside it.
        _ if told.line == 0 => {
            Some("run it at your desk with `databox job run --local`: there it shows what it prints")
        }
        _ => Some(
            "look at this line; `databox job run --local` runs it at your desk, and shows what it prints",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_file_line_and_class() {
        let told = |file, line| Told { class: v1::FailureClass::KeyError.into(), file, line };
        let files = ["a.py".to_owned(), "train.py".to_owned()];
        assert_eq!(words(&told(2, 41), Some(&files)), "train.py:41 KeyError");
        assert_eq!(words(&told(2, 41), None), "file 2 of the bundle:41 KeyError");
        assert_eq!(words(&told(9, 41), Some(&files)), "file 9 of the bundle:41 KeyError");
        assert_eq!(words(&told(2, 0), Some(&files)), "train.py KeyError");
        assert_eq!(words(&told(0, 0), Some(&files)), "KeyError");
    }

    #[test]
    fn a_list_is_looked_for_under_a_digest_only() {
        assert_eq!(remembered("../../etc/passwd"), None);
        assert_eq!(list_of(&"../".repeat(21)), None);
    }
}
