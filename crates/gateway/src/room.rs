//! What all services of the gateway share.

use std::path::PathBuf;
use std::sync::Arc;

use blobs::{BlobStore, Digest};
use daemon::{Journal, Look, SiteWatch};
use release::site::{SeenVersions, Site};
use release::value::Timestamp;
use server::{Gate, Principal, PrincipalError, Refused, Role};
use tokio::sync::{Notify, broadcast};

use crate::clock::Clock;
use crate::configuration::Configuration;
use crate::outbox;
use crate::spool::Spool;
use crate::store::{Store, StoreError, kept};

/// The gateway's state.
pub struct Room {
    /// Limits and directories.
    pub configuration: Configuration,
    /// `queue.db`.
    pub store: Store,
    /// What was uploaded.
    pub spool: Spool,
    /// The gateway's own copies of released files. Only rows of a verified release name what is served from here.
    pub served: BlobStore,
    /// Bundles for the enclave.
    pub to_enclave: BlobStore,
    /// The site.
    pub site: SiteWatch,
    /// Log lines.
    pub journal: Journal,
    /// Time, as far as the machine's clock is believed.
    pub clock: Clock,
    /// Tells that something waits to be submitted.
    pub submits: Notify,
    /// Tells that a cancel waits to be sent.
    pub cancels: Notify,
    /// Names jobs that have a new event.
    pub changes: broadcast::Sender<Digest>,
}

/// The gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("{path} cannot be made or read")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be used.
    #[error("the store of {path} cannot be opened")]
    Blobs {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: blobs::StoreError,
    },
    /// The database cannot be used.
    #[error("the queue cannot be opened")]
    Queue(#[from] StoreError),
}

impl Room {
    /// Opens everything that the gateway keeps.
    pub async fn open(configuration: Configuration, journal: Journal) -> Result<Arc<Self>, StartError> {
        let state = &configuration.state_directory;
        std::fs::create_dir_all(state)
            .map_err(|source| StartError::Directory { path: state.clone(), source })?;
        let blob_store = |path: PathBuf, mode| {
            BlobStore::open(&path, mode).map_err(|source| StartError::Blobs { path, source })
        };
        let store = Store::open(&state.join("queue.db"), journal)?;
        let seen = store.read(|connection| kept::get(connection, kept::SITE)).await?;
        let seen = seen.map(|bytes| SeenVersions::from_bytes(&bytes));
        // Versions that cannot be read are not "none seen": an older site would be taken then.
        let seen = seen.transpose().map_err(|_| StoreError::Foreign("kept"))?;
        let room = Self {
            spool: Spool::open(state).map_err(|source| StartError::Blobs { path: state.clone(), source })?,
            served: blob_store(state.join("served"), 0o600)?,
            to_enclave: blob_store(configuration.to_enclave_directory.clone(), 0o640)?,
            site: SiteWatch::new(&configuration.site_directory, configuration.site_pin, seen),
            clock: Clock::start(&store).await?,
            cancels: Notify::new(),
            submits: Notify::new(),
            changes: broadcast::channel(1024).0,
            store,
            journal,
            configuration,
        };
        for store in [room.spool.bundles(), &room.served, &room.to_enclave] {
            // One gateway runs at a time, and this one has taken nothing in yet.
            let path = store.directory().to_owned();
            store.remove_unfinished().map_err(|source| StartError::Blobs { path, source })?;
        }
        Ok(Arc::new(room))
    }

    /// Looks whether the site has changed, and keeps what was seen.
    pub async fn look_at_site(self: &Arc<Self>) -> Result<(), StoreError> {
        let room = self.clone();
        let durable = tokio::runtime::Handle::current();
        let looked = tokio::task::spawn_blocking(move || {
            room.site.look(now(), |seen, site| {
                let (bytes, site) = (seen.to_bytes(), site.clone());
                durable.block_on(room.store.change(move |transaction| {
                    kept::put(transaction, kept::SITE, &bytes)?;
                    outbox::keep_site(transaction, &site)
                }))
            })
        });
        match looked.await.map_err(|_| StoreError::Failed(database::Failed::Ended))?? {
            Look::Newer => {
                let version = self.site.roles().map_or(0, |roles| roles.version.0);
                self.journal.info("the site is in force").number("roles", version).write();
            }
            Look::NotAccepted(error) => {
                self.journal.warning("the site is not accepted").own_causes(&error).write();
            }
            Look::Same => {}
        }
        Ok(())
    }

    /// The site in force.
    pub fn current_site(&self) -> Result<Arc<Site>, Refused> {
        self.site.current().ok_or(Refused::Site)
    }

    /// Who may call at all: researchers of this site who are not revoked. Asked before every call and for every
    /// event of a stream.
    pub fn allows(&self, principal: &Principal) -> Result<(), Refused> {
        if principal.role != Role::Researcher {
            return Err(Refused::Role);
        }
        // Before there is a site nobody is known, and so nobody is known not to be revoked.
        let site = self.current_site()?;
        let revocation = site.revocation();
        let is_revoked =
            revocation.people.contains(&principal.id) || revocation.certificates.contains(&principal.serial);
        if principal.site != *site.name() {
            return Err(Refused::Certificate(PrincipalError::Site));
        }
        if is_revoked { Err(Refused::Revoked) } else { Ok(()) }
    }

    /// The same as a gate.
    pub fn gate(self: &Arc<Self>) -> Gate {
        let room = self.clone();
        Arc::new(move |principal| room.allows(principal))
    }

    /// Tells whoever watches this job.
    pub fn tell(&self, job: Digest) {
        // Nobody may be watching.
        let _ = self.changes.send(job);
    }
}

/// This moment by the machine's clock. One outside the years 1970 to 9999 reads as 1970, at which nothing is valid.
pub fn now() -> Timestamp {
    Timestamp::from_seconds(daemon::now_seconds())
        .unwrap_or_else(|_| Timestamp::from_seconds(0).expect("1970 is a time"))
}

/// Runs work that reads or writes files where it may block.
pub async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Box)
}
