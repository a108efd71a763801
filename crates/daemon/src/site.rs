//! The site directory as a running room sees it: loaded anew when its files change, never older than it was.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
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
    /// A newer site is in force. The caller keeps these versions durably.
    Newer(SeenVersions),
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
        Self { directory: directory.to_owned(), pin, state: RwLock::new(state) }
    }

    /// The site in force, if there has been one since the start.
    pub fn current(&self) -> Option<Arc<Site>> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner).site.clone()
    }

    /// The roles in force, for a log line.
    pub fn roles(&self) -> Option<RolesId> {
        self.current().map(|site| site.roles_id())
    }

    /// Looks whether files have changed, and loads them if so.
    pub fn look(&self, now: Timestamp) -> Look {
        let files = list(&self.directory);
        if self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner).files == files {
            return Look::Same;
        }
        let loaded = Site::load(&self.directory, &self.pin, now);
        let mut state = self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Kept even if they are refused, so that one bad file is told once and not every second.
        state.files = files;
        let site = match loaded {
            Ok(site) => site,
            Err(error) => return Look::NotAccepted(NotAccepted::Site(error)),
        };
        if let Some(seen) = &state.seen
            && let Err(refusal) = site.not_older_than(seen)
        {
            return Look::NotAccepted(NotAccepted::Older(refusal));
        }
        let mut seen = site.seen();
        if let Some(before) = state.seen.take() {
            let mut merged = before;
            merged.merge(seen);
            seen = merged;
        }
        state.seen = Some(seen.clone());
        state.site = Some(Arc::new(site));
        Look::Newer(seen)
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
