//! The search for copies at a desk, of large files one part after the other, as the box does it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use blobs::Digest;
use egress::{CanonicalFile, PartOfFile, Policy, ScanTask, Task, tensors_written};
use release::report::{OutputReport, ScanReport, in_each_part};
use release::statement::DeclaredOutput;

use super::{Scratch, stage};
use crate::data as dataset;
use crate::failure::{Exit, Failure, file_failure};
use crate::wall::{self, Shown};

/// Searches the canonical files for copies of the data, of which what anybody may read is none. Returns what the making of views came to, and the search.
pub(super) fn search(
    task: &Task,
    policy: &Policy,
    canonical: &Scratch,
    (data, public): (&[(String, PathBuf)], Option<&Path>),
) -> Result<(OutputReport, ScanReport), Failure> {
    let mut scan = ScanTask::new(&task.outputs, &task.catalogue);
    // The catalogue lists the columns of each table of a dataset; where it is not at hand, the tables' own headings say them. What
    // cannot be read has none, and is told below.
    let headings = data.iter().flat_map(|(_, directory)| dataset::headings(directory).unwrap_or_default());
    for columns in headings {
        scan.background.push(columns.join(","));
        scan.background.extend(columns);
    }
    let place = |name: &str| if name.is_empty() { "/data".to_owned() } else { format!("/data/{name}") };
    let staged: Vec<_> = data
        .iter()
        .map(|(name, directory)| Ok((place(name), stage::private(directory)?)))
        .collect::<Result<_, Failure>>()?;
    let data = staged.iter().map(|(target, staged)| Shown {
        source: staged.path().to_owned(),
        target: target.clone(),
        writable: false,
    });
    let staged_public = public
        .map(|directory| dataset::public_files(directory).and_then(|_| stage::private(directory)))
        .transpose()?;
    let public =
        staged_public.as_ref().map(|staged| with_digests(staged.path())).transpose()?.unwrap_or_default();
    scan.public = public.iter().map(|(_, digest)| *digest).collect();
    let shown = public.into_iter().enumerate().map(|(place, (source, _))| Shown {
        source,
        target: format!("/public/{place}"),
        writable: false,
    });
    let beside = Beside { scan: scan.to_json(), shown: data.chain(shown).collect() };
    let parts = parts(task, policy, canonical)?;
    if parts.len() <= 1 {
        return Made::of(task, canonical)?.search(canonical, &beside);
    }
    search_parts(task, canonical, &beside, parts)
}

/// Searches one part after the other. The views of a part are made while the part before it is searched: the one needs a
/// processor, the other what is left of them.
fn search_parts(
    task: &Task,
    canonical: &Scratch,
    beside: &Beside,
    parts: Vec<Vec<PartOfFile>>,
) -> Result<(OutputReport, ScanReport), Failure> {
    let (laid_out, next) = mpsc::sync_channel(0);
    let make = move || {
        for part in parts {
            let made = lay_out(task, canonical, &part).and_then(|laid| Ok((Made::of(task, &laid)?, laid)));
            let goes_on = made.is_ok();
            // Nobody takes it where the search of a part failed.
            if laid_out.send(made).is_err() || !goes_on {
                return;
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(make);
        let mut found: Option<(OutputReport, ScanReport)> = None;
        for made in next {
            let (made, laid) = made?;
            let (made, scan) = made.search(&laid, beside)?;
            found = Some(match found {
                Some((before, scanned)) => {
                    let rules = in_each_part(before.rules, made.rules);
                    (OutputReport { rules, ..made }, scanned.and(scan))
                }
                None => (made, scan),
            });
        }
        found.ok_or_else(|| Failure::new("CHECKER_FAILED", "there was nothing to search"))
    })
}

/// How many files there are to compare with.
pub(super) fn data_files(data: &[(String, PathBuf)]) -> Result<u64, Failure> {
    let mut files = 0;
    for (_, directory) in data {
        files += files_below(directory).map_err(file_failure(directory))?;
    }
    let place =
        || data.iter().map(|(_, directory)| directory.display().to_string()).collect::<Vec<_>>().join(", ");
    match files {
        0 => Err(Failure::new("NO_DATA", format!("{} holds no file to compare with", place()))
            .hint("give the directory in which the data lies")
            .exit(Exit::Usage)),
        files => Ok(files),
    }
}

fn files_below(directory: &Path) -> io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        files += if kind.is_dir() { files_below(&entry.path())? } else { u64::from(kind.is_file()) };
    }
    Ok(files)
}

/// What each part is compared with.
struct Beside {
    /// The scanner's task.
    scan: Vec<u8>,
    /// The data, and files that anybody may read.
    shown: Vec<Shown>,
}

/// The files of a directory, each with its digest.
fn with_digests(directory: &Path) -> Result<Vec<(PathBuf, Digest)>, Failure> {
    let digest = |path: PathBuf| {
        let (digest, _) = File::open(&path).and_then(Digest::of_reader).map_err(file_failure(&path))?;
        Ok((path, digest))
    };
    dataset::public_files(directory)?.into_iter().map(digest).collect()
}

fn parts(task: &Task, policy: &Policy, canonical: &Scratch) -> Result<Vec<Vec<PartOfFile>>, Failure> {
    let mut files = Vec::new();
    for (output, declared) in task.outputs.iter().enumerate() {
        let Some(mut file) = open(canonical, declared)? else { continue };
        let path = canonical.path().join(declared.path().as_str());
        let bytes = file.metadata().map_err(file_failure(&path))?.len();
        let chosen = task.precisions.get(declared.path()).copied();
        let policy = policy.at(chosen.unwrap_or(policy.weights.precision));
        let declared = match declared {
            // What was written counts as declared.
            DeclaredOutput::Weights { path, tensors, evaluation } if tensors.is_empty() => {
                let tensors = tensors_written(&policy, &mut file, bytes).unwrap_or_default();
                DeclaredOutput::Weights { path: path.clone(), tensors, evaluation: evaluation.clone() }
            }
            declared => declared.clone(),
        };
        files.push((output, declared, policy.weights.precision, bytes));
    }
    let files = files.iter().map(|(output, declared, precision, bytes)| CanonicalFile {
        output: *output,
        declared,
        precision: *precision,
        bytes: *bytes,
    });
    Ok(egress::parts(&files.collect::<Vec<_>>()))
}

/// A canonical file, if there is one. Whoever wrote it read a file of strangers, and could have left a link to one of ours.
fn open(canonical: &Scratch, declared: &DeclaredOutput) -> Result<Option<File>, Failure> {
    let path = canonical.path().join(declared.path().as_str());
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    match File::options().read(true).custom_flags(flags).open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_failure(&path)(error)),
    }
}

fn lay_out(task: &Task, canonical: &Scratch, part: &[PartOfFile]) -> Result<Scratch, Failure> {
    let laid = Scratch::new("part")?;
    for file in part {
        let declared = &task.outputs[file.output];
        let path = laid.path().join(declared.path().as_str());
        let whole = open(canonical, declared)?;
        let whole = whole.ok_or_else(|| file_failure(&path)(io::Error::from(io::ErrorKind::NotFound)))?;
        copy(whole, file, &path).map_err(file_failure(&path))?;
    }
    Ok(laid)
}

fn copy(mut whole: File, part: &PartOfFile, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    whole.seek(SeekFrom::Start(part.range.start))?;
    let range = whole.take(part.range.end - part.range.start);
    let mut file = File::create_new(to)?;
    io::copy(&mut (&part.header[..]).chain(range), &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// The views of a part.
struct Made {
    report: OutputReport,
    views: Scratch,
}

impl Made {
    fn of(task: &Task, part: &Scratch) -> Result<Self, Failure> {
        let views = Scratch::new("views")?;
        let shown = [part.shown("/canonical", false), views.shown("/views", true)];
        let made = wall::check("views", task.to_json(), &shown, OutputReport::BYTES as u64)?;
        let report = OutputReport::from_bytes(&made)
            .map_err(|_| Failure::new("CHECKER_FAILED", "the answer about views is not of the fixed form"))?;
        Ok(Self { report, views })
    }

    /// Searches them.
    fn search(self, part: &Scratch, beside: &Beside) -> Result<(OutputReport, ScanReport), Failure> {
        let mut shown = vec![part.shown("/canonical", false), self.views.shown("/views", false)];
        shown.extend(beside.shown.iter().cloned());
        let report = wall::check("scan", beside.scan.clone(), &shown, ScanReport::BYTES as u64)?;
        let scan = ScanReport::from_bytes(&report)
            .map_err(|_| Failure::new("CHECKER_FAILED", "the scanner's answer is not of the fixed form"))?;
        Ok((self.report, scan))
    }
}
