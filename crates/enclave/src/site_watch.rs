//! The site as it was last seen and verified. What is older than what was seen before is refused, and the last good
//! site stays. A new site counts here only once its versions are kept durably, so that nothing is done under roles
//! or revocations that a restart would forget.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use blobs::Digest;
use daemon::{Journal, Look, NotAccepted};
use release::key::{SecretKey, Sign};
use release::site::{SeenVersions, Site};
use rusqlite::OptionalExtension;

use crate::room::now;
use crate::store::{Store, StoreError};

/// How often the directory is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// The watched site.
pub struct SiteWatch {
    watch: daemon::SiteWatch,
    in_force: RwLock<Option<Arc<Site>>>,
    /// Held during a look, so that whoever looks next finds what this look took.
    looking: Mutex<()>,
}

impl SiteWatch {
    /// Watches this directory from what was seen before. Nothing is read yet.
    pub fn new(directory: &Path, pin: Digest, store: &Store) -> Result<Self, StoreError> {
        let watch = daemon::SiteWatch::new(directory, pin, seen_before(store)?);
        Ok(Self { watch, in_force: RwLock::new(None), looking: Mutex::new(()) })
    }

    /// The last good site.
    pub fn current(&self) -> Option<Arc<Site>> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the directory once, and takes what is new there.
    pub fn look(&self, store: &Store, key: &SecretKey, journal: Journal) -> Result<(), StoreError> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        match self.watch.look(now(), |seen, site| keep(store, seen.clone(), site.clone()))? {
            Look::Same => {}
            Look::Newer => self.take(key, journal),
            Look::NotAccepted(NotAccepted::Site(error)) => {
                journal.warning("site not taken").own_causes(&error).write();
            }
            Look::NotAccepted(NotAccepted::Older(refusal)) => {
                journal.warning("site is older than before").word("refusal", refusal.name()).write();
            }
        }
        Ok(())
    }

    fn take(&self, key: &SecretKey, journal: Journal) {
        let Some(site) = self.watch.current() else { return };
        for aside in site.set_aside() {
            journal.warning("statement set aside").word("refusal", aside.refusal.name()).write();
        }
        if site.roles().box_keys.enclave != key.public() {
            // Its verdicts would be refused by everyone, and what the jobs spent would be lost.
            journal.error("roles name another verdict key").write();
            // Under the site before, what was revoked since would not reach jobs and requests.
            *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = None;
            return;
        }
        journal.info("site taken").number("roles_version", site.roles().version.0).write();
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Some(site);
    }

    /// Watches until the process ends. Called on a thread of its own.
    pub fn watch(&self, store: &Store, key: &SecretKey, journal: Journal) {
        loop {
            if let Err(error) = self.look(store, key, journal) {
                journal.error("what was seen of the site is not kept").own_error(&error).write();
            }
            std::thread::sleep(PERIOD);
        }
    }
}

const SEEN: &str = "site";

fn seen_before(store: &Store) -> Result<Option<SeenVersions>, StoreError> {
    let bytes: Option<Vec<u8>> = store.read(|connection| {
        let mut query = connection.prepare_cached("SELECT value FROM kept WHERE name = ?1")?;
        Ok(query.query_row([SEEN], |row| row.get(0)).optional()?)
    })?;
    bytes.map(|bytes| SeenVersions::from_bytes(&bytes).map_err(|_| StoreError::Foreign("site"))).transpose()
}

fn keep(store: &Store, seen: SeenVersions, site: Arc<Site>) -> Result<(), StoreError> {
    store.change(move |transaction| {
        crate::seen_releases::keep_site(transaction, &site, now())?;
        transaction.execute(
            "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            (SEEN, seen.to_bytes()),
        )?;
        Ok(())
    })
}
