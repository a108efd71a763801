//! Searches the data for runs of canonical files and their views. This process holds the data and what a job shaped,
//! so that it compares bytes and parses none of them.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use blobs::Digest;
use egress::ScanTask;
use release::report::{OUTPUT_LIMIT, PLACE_LIMIT, ScanReport};
use release::rule::Rule;
use release::statement::RuleResult;
use scan::numeric::{self, NumericReport, SearchedNumbers};
use scan::{Background, Limits, SearchedView, SnapshotIndex, Source, View};

use crate::CheckError;
use crate::directory::Directory;
use crate::numbers;
use crate::views;

/// What outputs are compared with.
pub(crate) struct Beside<'a> {
    /// The private data: a directory for each dataset.
    pub(crate) data: &'a Path,
    /// An index for each directory of the data, under its name; with all of them less of the data is read.
    pub(crate) index: &'a Path,
    /// Files that anybody may read, each named by its place in the task.
    pub(crate) public: &'a Path,
}

/// Searches. A canonical file that is not there cannot leave and is passed over; a view that is not there ends the
/// search, since "no copy found" would say more than was looked at.
pub(crate) fn scan(
    task: &ScanTask,
    canonical: &Directory,
    views: &Directory,
    beside: &Beside<'_>,
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
    let files = scan::files_below(beside.data).map_err(CheckError::Data)?;
    let indexes = indexes(beside.data, beside.index).map_err(CheckError::Data)?;
    let checked = !searched_numbers.is_empty();
    let public = task.public.iter().enumerate().map(|(place, digest)| PublicFile {
        path: beside.public.join(place.to_string()),
        digest: *digest,
        is_whole: OnceLock::new(),
    });
    let background = Background::of(&task.background).with_files(public);
    // They share nothing but the data, which both only read.
    let (report, found) = thread::scope(|scope| {
        let search = || numeric::search(searched_numbers, &files, numeric::PASS_VALUES);
        let beside = checked.then(|| scope.spawn(search));
        let report = scan::search_indexed(searched, &files, &indexes, &background, Limits::default());
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
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let (mut file, _) = self.directory.file(&self.name)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.directory.file(&self.name)?.1)
    }
}

/// A file that anybody may read, if its bytes are those that the catalogue names.
struct PublicFile {
    path: PathBuf,
    digest: Digest,
    is_whole: OnceLock<bool>,
}

impl PublicFile {
    /// Reads it once. Were its digest not compared, whoever can write in the room's store would choose what is excused.
    fn is_whole(&self) -> bool {
        *self.is_whole.get_or_init(|| {
            let read = File::open(&self.path).and_then(Digest::of_reader);
            read.is_ok_and(|(digest, _)| digest == self.digest)
        })
    }
}

impl Source for PublicFile {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        if !self.is_whole() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }
}

/// The index of each dataset, in the order of the files; none if one has none that fits. The data is read then.
fn indexes(data: &Path, index: &Path) -> io::Result<Vec<SnapshotIndex>> {
    let mut names = std::fs::read_dir(data)?.collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(std::fs::DirEntry::file_name);
    let of = |dataset: &std::fs::DirEntry| {
        let files = scan::files_below(&dataset.path()).ok()?;
        SnapshotIndex::open(File::open(index.join(dataset.file_name())).ok()?, &files).ok()
    };
    Ok(names.iter().map(of).collect::<Option<Vec<_>>>().unwrap_or_default())
}
