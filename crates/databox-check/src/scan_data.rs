//! Searches the data for runs of canonical files and their views. This process holds the data and what a job shaped,
//! so that it compares bytes and parses none of them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;

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
        match canonical.file(file.name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(CheckError::Searched)?,
        };
        let mut add = |view: View, directory, name: &str| {
            let bytes = Box::new(ViewFile { directory, name: name.to_owned() });
            searched.push(SearchedView { output: index as u16, view, bytes });
        };
        let mut add_with_others = |view: View, directory, name: &str| {
            add(view, directory, name);
            if view.holds_bytes() {
                View::OF_BYTES.iter().for_each(|over| add(*over, directory, name));
            }
        };
        add_with_others(View::Raw, canonical, file.name.as_str());
        for view in views::of_kind(file.kind) {
            let name = views::file_name(index, view);
            views.file(&name).map_err(CheckError::Searched)?;
            add_with_others(view, views, &name);
        }
        add(View::UpperHalves, canonical, file.name.as_str());
        let name = numbers::file_name(index);
        let (blocks, _) = views.file(&name).map_err(CheckError::Searched)?;
        let blocks = Box::new(BufReader::new(blocks));
        searched_numbers.push(SearchedNumbers { output: index as u16, blocks });
    }
    let mut files = Vec::new();
    collect(data, &mut files).map_err(CheckError::Data)?;
    let checked = !searched_numbers.is_empty();
    let background = Background::of(&task.background);
    // They share nothing but the data, which both only read.
    let (report, found) = thread::scope(|scope| {
        let search = || numeric::search(searched_numbers, &files, numeric::PASS_VALUES);
        let beside = checked.then(|| scope.spawn(search));
        let report = scan::search(searched, &files, &background, Limits::default());
        (report, beside.map(|beside| beside.join().expect("a search does not panic")))
    });
    let mut report = report?;
    if let Some(found) = found {
        add(&mut report, found?);
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

/// A canonical file or a view. It is open only while it is read: there are more than a process behind the wall may
/// have open files.
struct ViewFile<'a> {
    directory: &'a Directory,
    name: String,
}

impl Source for ViewFile<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.directory.file(&self.name)?.0))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.directory.file(&self.name)?.1)
    }
}

/// A private file.
struct DataFile(PathBuf);

impl Source for DataFile {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Box::new(File::from(fs::open(&self.0, flags, Mode::empty())?)))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(std::fs::symlink_metadata(&self.0)?.len())
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
