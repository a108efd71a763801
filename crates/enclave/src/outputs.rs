//! From what a job wrote to sealed canonical files and what the children found about them.
//!
//! The order is the promise. What the job wrote is copied once its last process is dead, byte for byte and unread. The
//! canonicaliser alone reads it, and it has no data. The enclave copies the declared names out of what the canonicaliser wrote, by descriptor
//! and never through a link, and hashes the copies: from here on they are sealed. Views and scanner read sealed copies, of
//! large files one part after the other: see [`egress::parts`]. Then
//! weights get the policy's noise, if it asks for some, and are sealed again; the judge reads what leaves, so that what is
//! judged is what is signed. Only messages of a fixed size are parsed here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use blobs::{BlobStore, Digest, StoreError as BlobError};
use egress::{CanonicalFile, PartOfFile, Policy, PolicyError, ScanTask, Task};
use release::report::{OutputReport, ReportError, ScanReport, VIEWS, in_each_part, view_is_read_in_place};
use release::statement::{Catalogue, DeclaredOutput, OutputKind, Precision, Query};
use release::value::Name;
use sandbox::{Cancel, Stdin};

use crate::files;
use crate::judgement::{Found, SealedFile};
use crate::room::{Room, RoomError};
use crate::wall::{self, Child, ChildError, Program, Slot, freeze, make_readable};

/// Largest file of counts in bytes: a table has far fewer rows than this has room for.
const COUNTS_LIMIT: u64 = 8 << 20;

/// The box's fault while outputs were looked at.
#[derive(Debug, thiserror::Error)]
pub enum OutputsError {
    /// A child gave no answer.
    #[error("a child gave no answer")]
    Child(#[from] ChildError),
    /// A child gave an answer that is none.
    #[error("a child gave an answer that is none")]
    Report(#[from] ReportError),
    /// The policy, which admission has read, is none.
    #[error("the policy is not accepted")]
    Policy(#[from] PolicyError),
    /// The room.
    #[error("the room failed")]
    Room(#[from] RoomError),
}

impl From<io::Error> for OutputsError {
    fn from(error: io::Error) -> Self {
        Self::Room(error.into())
    }
}

impl From<BlobError> for OutputsError {
    fn from(error: BlobError) -> Self {
        Self::Room(error.into())
    }
}

/// What is to be looked at.
pub struct Outputs<'a> {
    /// The room.
    pub room: &'a Room,
    /// The slot that the job ran in.
    pub slot: Slot,
    /// The directory of this run.
    pub work: &'a Path,
    /// Where canonical files are sealed.
    pub quarantine: PathBuf,
    /// The policy's file.
    pub policy: String,
    /// The declared outputs.
    pub declared: &'a [DeclaredOutput],
    /// The question that was asked in place of code, if one was.
    pub query: Option<&'a Query>,
    /// The precision of each output for which one was chosen.
    pub precisions: BTreeMap<Name, Precision>,
    /// The catalogue of the job's datasets.
    pub catalogue: Vec<Catalogue>,
    /// Each dataset's name and snapshot.
    pub data: &'a [(String, PathBuf)],
    /// The files that the catalogue says anybody may read.
    pub public: &'a [PathBuf],
    /// Ends every child when the room stops.
    pub cancel: &'a Cancel,
}

impl Outputs<'_> {
    /// Looks at what was taken over of the job's outputs into `out`.
    pub fn look(&self, out: &Path) -> Result<Found, OutputsError> {
        let task = Task {
            policy: self.policy.clone(),
            outputs: self.declared.to_vec(),
            catalogue: self.catalogue.clone(),
            query: self.query.cloned(),
            precisions: self.precisions.clone(),
            as_written: false,
        };
        let mut found = Found { precisions: self.precisions.clone(), ..Found::default() };
        let canonical = self.canonicalise(&task, out, &mut found)?;
        found.files = self.seal(&canonical)?;
        found.counts = self.seal_counts(&canonical)?;
        let sealed = self.lay_out(&found.files, &self.sealed())?;
        self.search(&task, &sealed, &mut found)?;
        // Noise would hide a copy from the search, and not from whoever wrote it ten times.
        let leaving = match self.dithered(&mut found.files)? {
            true => self.lay_out(&found.files, &self.work.join("leaving"))?,
            false => sealed,
        };
        self.judge(&task, &leaving, &mut found)?;
        Ok(found)
    }

    /// Replaces sealed weights by the same with noise, where the policy asks for that. False if it asks for none.
    fn dithered(&self, sealed: &mut [SealedFile]) -> Result<bool, OutputsError> {
        let policy = Policy::parse(&self.policy)?;
        let has_weights = sealed.iter().any(|file| file.kind == OutputKind::Weights);
        if policy.weights.dither_percent == 0 || !has_weights {
            return Ok(false);
        }
        let quarantine = BlobStore::open(&self.quarantine, 0o600)?;
        let searched: Vec<Digest> = sealed.iter().map(|file| file.digest).collect();
        for file in sealed.iter_mut().filter(|file| file.kind == OutputKind::Weights) {
            let output = &self.declared[file.index];
            let policy = self.policy_of(&policy, output);
            let mut without = quarantine.open_blob(file.digest)?;
            let mut noisy = tempfile::tempfile_in(self.work)?;
            // The noise is what keeps codes within the bound; whoever knows the seed takes it off. It is never stored.
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
            match egress::dither(&policy, output, &mut without, &mut noisy, &seed) {
                // It has not the length of its declaration, and is blocked for that.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                written => written?,
            }
            noisy.rewind()?;
            let (digest, bytes) = quarantine.copy_in(&noisy, None, u64::MAX)?;
            let as_fixed = egress::holds_what_was_fixed(&policy, output, &mut noisy)?;
            *file = SealedFile::new(file.index, output, digest, bytes, as_fixed);
        }
        for digest in searched.into_iter().filter(|digest| sealed.iter().all(|file| file.digest != *digest)) {
            quarantine.remove(digest)?;
        }
        Ok(true)
    }

    fn policy_of(&self, policy: &Policy, output: &DeclaredOutput) -> Policy {
        let chosen = self.precisions.get(output.path()).copied();
        policy.at(chosen.unwrap_or(policy.weights.precision))
    }

    /// Where copies of the sealed files lie for children.
    pub fn sealed(&self) -> PathBuf {
        self.work.join("sealed")
    }

    /// Runs a child that answers with a report and detail for people.
    pub fn run_with_detail(
        &self,
        child: &Child<'_>,
        task: Vec<u8>,
    ) -> Result<(OutputReport, Vec<u8>), OutputsError> {
        split_report(self.run(child, task)?)
    }

    /// Runs a child and returns what it wrote to standard output.
    pub fn run(&self, child: &Child<'_>, stdin: Vec<u8>) -> Result<Vec<u8>, ChildError> {
        wall::run_child(self.room, self.slot, child, Stdin::Bytes(stdin), self.cancel)
    }

    fn canonicalise(&self, task: &Task, out: &Path, found: &mut Found) -> Result<PathBuf, OutputsError> {
        let canonical = self.work.join("canonical");
        self.slot.writable_directory(self.room, Program::Canonicaliser, &canonical)?;
        let child = Child {
            program: Program::Canonicaliser,
            binary: None,
            reads: vec![(out, "/out")],
            writes: Some((&canonical, "/canonical")),
            data: &[],
            public: &[],
        };
        let (report, detail) = self.run_with_detail(&child, task.to_json())?;
        found.canonicaliser = Some(report);
        found.add_detail("canonicalise", detail);
        Ok(freeze(&canonical, &self.work.join("canonical-frozen"))?)
    }

    /// Copies the declared names, and nothing else, into the quarantine and hashes the copies. The quarantine is
    /// durable, since its digests will be signed.
    fn seal(&self, canonical: &Path) -> Result<Vec<SealedFile>, OutputsError> {
        files::private_directory(&self.quarantine)?;
        let quarantine = BlobStore::open(&self.quarantine, 0o600)?;
        let policy = Policy::parse(&self.policy)?;
        let mut left = self.room.configuration.limits.canonical_bytes;
        let mut sealed = Vec::new();
        for (index, output) in self.declared.iter().enumerate() {
            let path = output.path().as_str();
            make_readable(canonical, path)?;
            // A child that wrote a link or a pipe was taken over; nothing of that name is sealed.
            let Ok(Some(file)) = files::open_plain(canonical, path) else { continue };
            let Some((digest, bytes)) = copy_within(&quarantine, file, left)? else { continue };
            left -= bytes;
            let policy = self.policy_of(&policy, output);
            let as_fixed = egress::holds_what_was_fixed(&policy, output, &mut quarantine.open_blob(digest)?)?;
            sealed.push(SealedFile::new(index, output, digest, bytes, as_fixed));
        }
        Ok(sealed)
    }

    /// Copies the counts of tables before rounding into the quarantine. Nobody here reads them; the process that compares
    /// holds them against the table. What is missing is refused there.
    fn seal_counts(&self, canonical: &Path) -> Result<Vec<(usize, Digest, u64)>, OutputsError> {
        let quarantine = BlobStore::open(&self.quarantine, 0o600)?;
        let mut sealed = Vec::new();
        for (index, _) in self.declared.iter().enumerate().filter(|(_, output)| output.kind().is_tabular()) {
            let name = egress::written_counts_file(index);
            make_readable(canonical, &name)?;
            let Ok(Some(file)) = files::open_plain(canonical, &name) else { continue };
            let Some((digest, bytes)) = copy_within(&quarantine, file, COUNTS_LIMIT)? else { continue };
            sealed.push((index, digest, bytes));
        }
        Ok(sealed)
    }

    /// A read-only directory with copies of the sealed files under their names.
    fn lay_out(&self, sealed: &[SealedFile], directory: &Path) -> Result<PathBuf, OutputsError> {
        use std::os::unix::fs::PermissionsExt;
        let quarantine = BlobStore::open(&self.quarantine, 0o600)?;
        files::new_directory(directory, 0o700)?;
        for file in sealed {
            let copied = files::write_readable(
                &directory.join(file.name.as_str()),
                quarantine.open_blob(file.digest)?,
            )?;
            if copied != file.bytes {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        fs::set_permissions(directory, fs::Permissions::from_mode(0o555))?;
        Ok(directory.to_owned())
    }

    fn judge(&self, task: &Task, sealed: &Path, found: &mut Found) -> Result<(), OutputsError> {
        let child = Child {
            program: Program::Judge,
            binary: None,
            reads: vec![(sealed, "/canonical")],
            writes: None,
            data: &[],
            public: &[],
        };
        let (report, detail) = self.run_with_detail(&child, task.to_json())?;
        found.judge = Some(report);
        found.add_detail("judge", detail);
        Ok(())
    }

    /// Searches the sealed files, in as many parts as they have. What a part needs on the disk is gone before the next.
    fn search(&self, task: &Task, sealed: &Path, found: &mut Found) -> Result<(), OutputsError> {
        let policy = Policy::parse(&self.policy)?;
        let files = found.files.iter().map(|file| {
            let declared = &self.declared[file.index];
            let precision = self.policy_of(&policy, declared).weights.precision;
            CanonicalFile { output: file.index, declared, precision, bytes: file.bytes }
        });
        let parts = egress::parts(&files.collect::<Vec<_>>());
        if parts.len() <= 1 {
            return self.search_part(task, sealed, found);
        }
        for part in parts {
            let directory = self.work.join("part");
            self.lay_out_part(&part, &directory)?;
            self.search_part(task, &directory, found)?;
            files::remove_tree(&directory)?;
        }
        Ok(())
    }

    /// A read-only directory with what is searched at a time. Bytes are copied from where declaration and length say, and
    /// none is looked at.
    fn lay_out_part(&self, part: &[PartOfFile], directory: &Path) -> Result<(), OutputsError> {
        use std::os::unix::fs::PermissionsExt;
        files::new_directory(directory, 0o700)?;
        for file in part {
            let name = self.declared[file.output].path().as_str();
            let mut whole = files::open_plain(&self.sealed(), name)?
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            whole.seek(SeekFrom::Start(file.range.start))?;
            let bytes = file.range.end - file.range.start;
            let header = file.header.len() as u64;
            let from = (&file.header[..]).chain(whole.take(bytes));
            if files::write_readable(&directory.join(name), from)? != header + bytes {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        fs::set_permissions(directory, fs::Permissions::from_mode(0o555))?;
        Ok(())
    }

    fn search_part(&self, task: &Task, part: &Path, found: &mut Found) -> Result<(), OutputsError> {
        let views = self.views(task, part, found)?;
        self.scan(part, &views, found)?;
        Ok(files::remove_tree(&views)?)
    }

    fn views(&self, task: &Task, sealed: &Path, found: &mut Found) -> Result<PathBuf, OutputsError> {
        let views = self.work.join("views");
        self.slot.writable_directory(self.room, Program::Views, &views)?;
        let child = Child {
            program: Program::Views,
            binary: None,
            reads: vec![(sealed, "/canonical")],
            writes: Some((&views, "/views")),
            data: &[],
            public: &[],
        };
        let made = OutputReport::from_bytes(&self.run(&child, task.to_json())?)?;
        found.views_made = Some(match found.views_made.take() {
            Some(before) => OutputReport { rules: in_each_part(before.rules, made.rules), ..made },
            None => made,
        });
        let views = freeze(&views, &self.work.join("views-frozen"))?;
        let there = self.views_there(&views)?;
        found.views.extend(there);
        found.views.sort();
        found.views.dedup();
        Ok(views)
    }

    /// Which views were made, told from the names in the closed list. Only those does the verdict promise.
    fn views_there(&self, views: &Path) -> Result<Vec<Name>, OutputsError> {
        let mut there = Vec::new();
        for view in VIEWS {
            let made = (0..self.declared.len()).map(|index| format!("{index}.{view}"));
            let mut any = false;
            for name in made {
                make_readable(views, &name)?;
                any |= fs::symlink_metadata(views.join(&name)).is_ok_and(|found| found.is_file());
            }
            if any || view_is_read_in_place(view) {
                there.push(view.parse().expect("names of views are names"));
            }
        }
        for index in 0..self.declared.len() {
            make_readable(views, &format!("{index}.numbers"))?;
        }
        Ok(there)
    }

    fn scan(&self, sealed: &Path, views: &Path, found: &mut Found) -> Result<(), OutputsError> {
        let child = Child {
            program: Program::Scanner,
            binary: None,
            reads: vec![(sealed, "/canonical"), (views, "/views")],
            writes: None,
            data: self.data,
            public: self.public,
        };
        let task = ScanTask::new(self.declared, &self.catalogue);
        let report = ScanReport::from_bytes(&self.run(&child, task.to_json())?)?;
        found.scanner = Some(match found.scanner.take() {
            Some(before) => before.and(report),
            None => report,
        });
        let public = self.catalogue.iter().flat_map(Catalogue::public);
        found.public = public.map(|file| file.file.sha256).collect();
        Ok(())
    }
}

/// The message of fixed size, and what follows it for people, which nobody here looks at.
fn split_report(mut stdout: Vec<u8>) -> Result<(OutputReport, Vec<u8>), OutputsError> {
    if stdout.len() < OutputReport::BYTES {
        return Err(ReportError.into());
    }
    let detail = stdout.split_off(OutputReport::BYTES);
    Ok((OutputReport::from_bytes(&stdout)?, detail))
}

fn copy_within(
    quarantine: &BlobStore,
    file: impl Read,
    limit: u64,
) -> Result<Option<(Digest, u64)>, OutputsError> {
    match quarantine.copy_in(file, None, limit) {
        Ok(copied) => Ok(Some(copied)),
        Err(BlobError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_too_short_is_refused_and_detail_is_left_unread() {
        let report = OutputReport::unchecked();
        let bytes = report.to_bytes();
        let (read, detail) = split_report([&bytes[..], b"\xff not json"].concat()).unwrap();
        assert_eq!((read, &detail[..]), (report, &b"\xff not json"[..]));
        assert!(split_report(bytes[..bytes.len() - 1].to_vec()).is_err());
        assert!(split_report(vec![]).is_err());
    }

    #[test]
    fn a_canonical_file_beyond_the_limit_is_not_sealed() {
        let directory = tempfile::tempdir().unwrap();
        let quarantine = BlobStore::open(directory.path(), 0o600).unwrap();
        assert!(copy_within(&quarantine, &[0; 11][..], 10).unwrap().is_none());
        assert_eq!(copy_within(&quarantine, &b"abc"[..], 10).unwrap(), Some((Digest::of(b"abc"), 3)));
    }
}
