//! The site directory as a running room sees it: loaded anew when its files change, never older than it was.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use release::refusal::Refusal;
use release::site::{SeenVersions, Site, SiteError};
use release::statement::RolesId;
use release::value::Timestamp;

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
    files: Vec<(PathBuf, SystemTime, u64)>,
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
        if self.state.read().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(Look::Same);
        }
        let (site, seen) = match self.load(now) {
            Ok(loaded) => loaded,
            Err(error) => {
                // Kept although they are refused, so that one bad file is told once and not every second.
                self.state.write().unwrap_or_else(PoisonError::into_inner).files = files;
                return Ok(Look::NotAccepted(error));
            }
        };
        keep(&seen, &site)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { site: Some(site), seen: Some(seen), files };
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

fn list(directory: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => {
                    let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((entry.path(), changed, metadata.len()));
                }
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}
