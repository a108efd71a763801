//! Which file of a site directory holds what.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use blobs::Digest;

use super::{SetAside, SiteError};
use crate::envelope::{ENVELOPE_LIMIT, Envelope};
use crate::refusal::Refusal;
use crate::statement::{
    Catalogue, CatalogueEntry, CodeDenial, Denial, Grant, Kind, Policy, Revocation, Roles,
};
use crate::value::{Count, Name};

/// Most files of one site directory.
const FILE_LIMIT: usize = 20_000;

/// The versions of one statement, by number.
pub(super) type Versions = BTreeMap<u64, (PathBuf, Envelope)>;

#[derive(Default)]
pub(super) struct PolicyFiles {
    pub(super) versions: Versions,
    pub(super) toml: BTreeMap<u64, Vec<u8>>,
}

#[derive(Default)]
pub(super) struct SiteFiles {
    pub(super) roles: Versions,
    pub(super) revocations: Versions,
    pub(super) policies: BTreeMap<Name, PolicyFiles>,
    pub(super) grants: BTreeMap<Name, Versions>,
    pub(super) datasets: BTreeMap<Name, Versions>,
    pub(super) runtimes: BTreeMap<Name, Versions>,
    pub(super) denials: Vec<(PathBuf, Envelope)>,
    pub(super) code_denials: Vec<(PathBuf, Envelope)>,
    pub(super) set_aside: Vec<SetAside>,
}

/// Where a statement belongs in a site directory; nothing if its kind does not.
///
/// The policy's TOML file stands beside its statement, with the extension `toml`.
pub fn file_name(envelope: &Envelope) -> Result<PathBuf, Refusal> {
    let json = |place: String, version: Count| PathBuf::from(format!("{place}/{version}.json"));
    Ok(match envelope.kind() {
        Kind::Roles => json("roles".to_owned(), envelope.unverified::<Roles>()?.version),
        Kind::Revocation => json("revocations".to_owned(), envelope.unverified::<Revocation>()?.version),
        Kind::Policy => {
            let policy: Policy = envelope.unverified()?;
            json(format!("policies/{}", policy.name), policy.version)
        }
        Kind::Grant => {
            let grant: Grant = envelope.unverified()?;
            json(format!("grants/{}", grant.id), grant.version)
        }
        Kind::Catalogue => {
            let catalogue: Catalogue = envelope.unverified()?;
            let kind = match catalogue.entry {
                CatalogueEntry::Dataset { .. } => "datasets",
                CatalogueEntry::Runtime { .. } => "runtimes",
            };
            json(format!("catalogue/{kind}/{}", catalogue.name), catalogue.version)
        }
        Kind::Denial => {
            let denial: Denial = envelope.unverified()?;
            PathBuf::from(format!("denials/{}.{}.json", denial.verdict.sha256, denial.steward))
        }
        Kind::CodeDenial => {
            let denial: CodeDenial = envelope.unverified()?;
            PathBuf::from(format!("denials/{}.{}.json", denial.request.sha256, denial.steward))
        }
        Kind::Request
        | Kind::Cancel
        | Kind::Verdict
        | Kind::Approval
        | Kind::CodeApproval
        | Kind::Manifest => return Err(Refusal::StatementKind),
    })
}

/// The denials that lie in a site directory for these subjects, read now: for a verdict its payload digest, for code that
/// of its request. Nothing is checked but that each stands under its own name; what is no denial is passed over, as
/// [`super::Site::load`] sets it aside.
///
/// # Errors
/// If something cannot be read. Whoever signs must then not sign: a denial could be what was not read.
pub fn denials_of(directory: &Path, subjects: &[Digest]) -> Result<Vec<Envelope>, SiteError> {
    let below = Path::new("denials");
    let failed = |source| SiteError::Io { path: directory.join(below), source };
    let entries = match fs::read_dir(directory.join(below)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut denials = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let subject = name.to_str().and_then(|name| name.split_once('.')?.0.parse().ok());
        if !subject.is_some_and(|subject: Digest| subjects.contains(&subject)) {
            continue;
        }
        let path = below.join(&name);
        // A pipe laid there would hold up whoever reads it for ever.
        if !entry.file_type().map_err(failed)?.is_file() {
            return Err(SiteError::Stray(path));
        }
        let bytes = read_file(&directory.join(&path))?;
        denials
            .extend(Envelope::parse(&bytes).ok().filter(|found| file_name(found).is_ok_and(|at| at == path)));
    }
    Ok(denials)
}

/// Reads every file below a site directory. Files whose name begins with a dot are being written, and passed over.
pub fn read_files(directory: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, SiteError> {
    let mut files = Vec::new();
    read_below(directory, Path::new(""), &mut files)?;
    Ok(files)
}

fn read_below(root: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), SiteError> {
    let directory = root.join(below);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SiteError::Io { path, source }
    };
    for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
        let entry = entry.map_err(failed(&directory))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = below.join(entry.file_name());
        let full = entry.path();
        let kind = entry.file_type().map_err(failed(&full))?;
        if kind.is_dir() && path.components().count() < 4 {
            read_below(root, &path, files)?;
        } else if kind.is_file() && files.len() < FILE_LIMIT {
            files.push((path, read_file(&full)?));
        } else {
            return Err(SiteError::Stray(path));
        }
    }
    Ok(())
}

/// Reads a file, up to one byte more than an envelope may have.
fn read_file(path: &Path) -> Result<Vec<u8>, SiteError> {
    let failed = |source| SiteError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(ENVELOPE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Sorts files by what they must be. A file whose content belongs elsewhere is refused: a path is no signature.
pub(super) fn sort(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Result<SiteFiles, SiteError> {
    let mut sorted = SiteFiles::default();
    for (path, bytes) in files {
        let place: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        if let ["policies", name, file] = place[..]
            && let Some(version) = file.strip_suffix(".toml")
        {
            let name: Name = name.parse().map_err(|_| SiteError::Stray(path.clone()))?;
            let version: Count = version.parse().map_err(|_| SiteError::Stray(path.clone()))?;
            sorted.policies.entry(name).or_default().toml.insert(version.0, bytes);
            continue;
        }
        match place_envelope(&mut sorted, &path, &bytes) {
            Ok(()) => {}
            // Without its roles and revocation a site is not known at all.
            Err(refusal) if matches!(place.first(), Some(&"roles" | &"revocations")) => {
                return Err(SiteError::Refused { path, refusal });
            }
            Err(refusal) => sorted.set_aside.push(SetAside { path, refusal }),
        }
    }
    Ok(sorted)
}

fn place_envelope(sorted: &mut SiteFiles, path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let envelope = Envelope::parse(bytes).map_err(|error| error.refusal())?;
    if file_name(&envelope)? != path {
        return Err(Refusal::StatementKind);
    }
    let file = (path.to_owned(), envelope);
    match file.1.kind() {
        Kind::Roles => {
            let version = file.1.unverified::<Roles>()?.version;
            sorted.roles.insert(version.0, file);
        }
        Kind::Revocation => {
            let version = file.1.unverified::<Revocation>()?.version;
            sorted.revocations.insert(version.0, file);
        }
        Kind::Policy => {
            let policy: Policy = file.1.unverified()?;
            sorted.policies.entry(policy.name).or_default().versions.insert(policy.version.0, file);
        }
        Kind::Grant => {
            let grant: Grant = file.1.unverified()?;
            sorted.grants.entry(grant.id).or_default().insert(grant.version.0, file);
        }
        Kind::Catalogue => {
            let catalogue: Catalogue = file.1.unverified()?;
            let entries = match catalogue.entry {
                CatalogueEntry::Dataset { .. } => &mut sorted.datasets,
                CatalogueEntry::Runtime { .. } => &mut sorted.runtimes,
            };
            entries.entry(catalogue.name).or_default().insert(catalogue.version.0, file);
        }
        Kind::Denial => sorted.denials.push(file),
        Kind::CodeDenial => sorted.code_denials.push(file),
        Kind::Request
        | Kind::Cancel
        | Kind::Verdict
        | Kind::Approval
        | Kind::CodeApproval
        | Kind::Manifest => return Err(Refusal::StatementKind),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_denial_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let subject = Digest::of(b"verdict");
        let denials = directory.path().join("denials");
        assert!(denials_of(directory.path(), &[subject]).is_ok_and(|found| found.is_empty()), "no denials");
        fs::create_dir(&denials).expect("own directory");
        let place = denials.join(format!("{subject}.ana.json"));
        fs::write(&place, b"no denial").expect("own directory");
        assert!(denials_of(directory.path(), &[subject]).is_ok_and(|found| found.is_empty()), "a plain file");
        fs::remove_file(&place).expect("own file");
        let made = std::process::Command::new("mkfifo").arg(&place).status();
        assert!(made.is_ok_and(|status| status.success()));
        assert!(matches!(denials_of(directory.path(), &[subject]), Err(SiteError::Stray(_))));
        assert!(denials_of(directory.path(), &[Digest::of(b"other")]).is_ok(), "it is another's");
    }
}
