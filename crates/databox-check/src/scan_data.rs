//! Searches the data for runs of canonical files and their views. This process holds the data and what a job shaped,
//! so that it compares bytes and parses none of them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use egress::ScanTask;
use release::report::{OUTPUT_LIMIT, PLACE_LIMIT, ScanReport};
use release::rule::Rule;
use release::statement::RuleResult;
use rustix::fs::{self, Mode, OFlags};
use scan::numeric::{self, NumericReport, SearchedNumbers};
use scan::{Background, Limits, SearchedView, Source, View};

use crate::CheckError;
use crate::directory::Directory;
use crate::numbers;
use crate::views;

/// Searches. A canonical file that is not there cannot leave and is passed over; a view that is not there ends the
/// search, since "no copy found" would say more than was looked at.
pub(crate) fn scan(
    task: &ScanTask,
    canonical: &Directory,
    views: &Directory,
    data: &Path,
) -> Result<ScanReport, CheckError> {
    let (mut searched, mut searched_numbers) = (Vec::new(), Vec::new());
    for (index, file) in task.files.iter().enumerate().take(OUTPUT_LIMIT) {
        let mut add = |view: View, directory, name: String| {
            let reader = Box::new(Lazy { directory, name, state: State::Unopened });
            searched.push(SearchedView { output: index as u16, view, bytes: reader });
        };
        match canonical.file(file.name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(CheckError::Searched)?,
        };
        for view in [View::Raw, View::UpperHalves] {
            add(view, canonical, file.name.to_string());
        }
        for view in views::of_kind(file.kind) {
            let name = views::file_name(index, *view);
            views.file(&name).map_err(CheckError::Searched)?;
            add(*view, views, name);
        }
        let name = numbers::file_name(index);
        views.file(&name).map_err(CheckError::Searched)?;
        let blocks = BufReader::new(Lazy { directory: views, name, state: State::Unopened });
        searched_numbers.push(SearchedNumbers { output: index as u16, blocks: Box::new(blocks) });
    }
    let mut files = Vec::new();
    collect(data, &mut files).map_err(CheckError::Data)?;
    let checked = !searched_numbers.is_empty();
    let mut report = scan::search(searched, &files, &Background::of(&task.background), Limits::default())?;
    if checked {
        add(&mut report, numeric::search(searched_numbers, &files, numeric::PASS_VALUES)?);
    }
    Ok(report)
}

/// Adds what the search for numbers found. Half of the places are kept for it, if there are more than fit.
fn add(report: &mut ScanReport, numbers: NumericReport) {
    let found = numbers.runs > 0;
    report.rules[Rule::CopyNumeric.index()] = if found { RuleResult::Blocked } else { RuleResult::Passed };
    report.runs += numbers.runs;
    if report.places.len() + numbers.places.len() > PLACE_LIMIT {
        report.places.truncate(PLACE_LIMIT - numbers.places.len().min(PLACE_LIMIT / 2));
    }
    let left = PLACE_LIMIT - report.places.len();
    report.places.extend(numbers.places.into_iter().take(left));
}

/// A file that is opened when it is first read, and closed at its end: there are more views than a process behind the
/// wall may have open files.
struct Lazy<'a> {
    directory: &'a Directory,
    name: String,
    state: State,
}

enum State {
    Unopened,
    Open(File),
    Ended,
}

impl Read for Lazy<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if matches!(self.state, State::Unopened) {
            self.state = State::Open(self.directory.file(&self.name)?.0);
        }
        let State::Open(file) = &mut self.state else { return Ok(0) };
        let read = file.read(into)?;
        if read == 0 && !into.is_empty() {
            self.state = State::Ended;
        }
        Ok(read)
    }
}

/// A private file.
struct DataFile(PathBuf);

impl Source for DataFile {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Box::new(File::from(fs::open(&self.0, flags, Mode::empty())?)))
    }
}

/// All regular files below a directory, in the order of their names. Anything else that is no directory is an error:
/// data that was not searched must not pass as searched.
fn collect(directory: &Path, files: &mut Vec<DataFile>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => collect(&entry.path(), files)?,
            (_, true) => files.push(DataFile(entry.path())),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(())
}
