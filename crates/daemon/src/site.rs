//! The site directory as a running room sees it: loaded anew when its files change, never older than it was.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use release::refusal::Refusal;
use release::site::{SeenVersions, Site, SiteError};
use release::statement::RolesId;
use release::value::Timestamp;

use crate::journal::with_causes;

/// How long files are left alone of which something was not accepted. Whether it is depends on the moment, too: what a late
/// clock takes for a statement of tomorrow, a revocation among them, is in force once the clock is right.
const AGAIN: Duration = Duration::from_secs(2);

/// A room's view of the site directory.
#[derive(Debug)]
pub struct SiteWatch {
    directory: PathBuf,
    pin: blobs::Digest,
    state: RwLock<State>,
    /// Held during a look, so that whoever looks next finds what this look took.
    looking: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    site: Option<Arc<Site>>,
    seen: Option<SeenVersions>,
    files: Vec<File>,
    /// False before the first look, which tells of a directory that is not there.
    looked: bool,
    /// When the same files are loaded once more.
    again: Option<Instant>,
    /// Why they were not accepted, so that it is told once.
    told: Option<String>,
}

/// What changes when a file does: its place, its number on the disk, its length, and when its bytes and its rights were
/// changed last. Nobody can set the last of these.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    path: PathBuf,
    number: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look at the directory gave.
#[derive(Debug)]
pub enum Look {
    /// Nothing has changed.
    Same,
    /// A newer site is in force, and its versions are durable.
    Newer,
    /// What stands there is not accepted; the site before stays in force.
    NotAccepted(NotAccepted),
}

/// Why a site is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// It does not verify.
    #[error("the site directory does not verify")]
    Site(#[source] SiteError),
    /// Something in it is older than what this room has seen, or was taken out of a revocation.
    #[error("the site directory is older than what was seen before: {0}")]
    Older(Refusal),
}

impl SiteWatch {
    /// Watches a directory from a pin. `seen` is what the room kept of earlier looks.
    pub fn new(directory: &Path, pin: blobs::Digest, seen: Option<SeenVersions>) -> Self {
        let state = State { seen, ..State::default() };
        let (state, looking) = (RwLock::new(state), Mutex::new(()));
        Self { directory: directory.to_owned(), pin, state, looking }
    }

    /// The site in force, if there has been one since the start.
    pub fn current(&self) -> Option<Arc<Site>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).site.clone()
    }

    /// The roles in force, for a log line.
    pub fn roles(&self) -> Option<RolesId> {
        self.current().map(|site| site.roles_id())
    }

    /// Looks whether files have changed, and loads them if so. A newer site comes into force once `keep` has made its
    /// versions durable: a room that acted before, and died, would take the older site again. If that fails, the site
    /// before stays in force and the next look tries again.
    pub fn look<E>(
        &self,
        now: Timestamp,
        keep: impl FnOnce(&SeenVersions, &Arc<Site>) -> Result<(), E>,
    ) -> Result<Look, E> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let files = list(&self.directory);
        let same = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let same = state.looked && state.files == files;
            if same && state.again.is_none_or(|again| Instant::now() < again) {
                return Ok(Look::Same);
            }
            same
        };
        let again = Some(Instant::now() + AGAIN);
        let (site, seen) = match self.load(now) {
            Ok(loaded) => loaded,
            Err(error) => {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                (state.files, state.looked, state.again) = (files, true, again);
                let told = Some(with_causes(&error));
                if same && state.told == told {
                    return Ok(Look::Same);
                }
                state.told = told;
                return Ok(Look::NotAccepted(error));
            }
        };
        // What nobody signs as roles ask now is set aside for good; what is not in force yet may be so in a moment.
        let again =
            again.filter(|_| site.set_aside().iter().any(|aside| aside.refusal == Refusal::OutOfForce));
        if same && self.current().is_some_and(|current| is_as(&current, &site)) {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            (state.again, state.told) = (again, None);
            return Ok(Look::Same);
        }
        keep(&seen, &site)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { site: Some(site), seen: Some(seen), files, looked: true, again, told: None };
        Ok(Look::Newer)
    }

    fn load(&self, now: Timestamp) -> Result<(Arc<Site>, SeenVersions), NotAccepted> {
        let site = Site::load(&self.directory, &self.pin, now).map_err(NotAccepted::Site)?;
        let before = self.state.read().unwrap_or_else(PoisonError::into_inner).seen.clone();
        let Some(mut seen) = before else {
            let seen = site.seen();
            return Ok((Arc::new(site), seen));
        };
        site.not_older_than(&seen).map_err(NotAccepted::Older)?;
        seen.merge(site.seen());
        Ok((Arc::new(site), seen))
    }
}

/// True if the same files say the same as before: of what they hold, nothing more and nothing less counts.
fn is_as(before: &Site, now: &Site) -> bool {
    let aside = |site: &Site| -> Vec<_> {
        site.set_aside().iter().map(|aside| (aside.path.clone(), aside.refusal)).collect()
    };
    before.seen() == now.seen() && aside(before) == aside(now)
}

fn list(directory: &Path) -> Vec<File> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => found.push(File {
                    path: entry.path(),
                    number: metadata.ino(),
                    bytes: metadata.len(),
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                    changed: (metadata.ctime(), metadata.ctime_nsec()),
                }),
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_looked_at_again_when_its_rights_or_bytes_change_though_length_and_time_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations/1.json");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "one").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let first = list(directory.path());
        assert_eq!(first, list(directory.path()), "nothing changed");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let second = list(directory.path());
        assert_ne!(first, second);
        fs::write(&path, "two").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let third = list(directory.path());
        assert_eq!(third[0].modified, second[0].modified);
        assert_ne!(second, third);
    }
}
