//! What every part of the enclave shares.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use blobs::{BlobStore, Digest, StoreError as BlobError};
use daemon::{Journal, StopFlag};
use release::key::SecretKey;
use release::value::Timestamp;
use sandbox::Launcher;

use crate::cancel::Running;
use crate::clock::Clock;
use crate::configuration::Configuration;
use crate::devices::Devices;
use crate::files;
use crate::site_watch::SiteWatch;
use crate::store::{Store, StoreError};
use crate::table_order::TableOrder;

/// The room.
pub struct Room {
    /// Its configuration.
    pub configuration: Configuration,
    /// Its log lines.
    pub journal: Journal,
    /// Jobs and account.
    pub store: Store,
    /// What waiting is counted by.
    pub clock: Clock,
    /// The site, verified.
    pub site: SiteWatch,
    /// The verdict key.
    pub key: SecretKey,
    /// Its directories.
    pub places: Places,
    /// Starts the box's own programs behind the native wall.
    pub launcher: Launcher,
    /// Starts jobs behind the wall that the configuration names.
    pub jobs: Launcher,
    /// The program that makes canonical forms, judges and scans.
    pub checker: Checker,
    /// Devices that jobs may be given.
    pub devices: Devices,
    /// Raised once the room is asked to stop.
    pub stop: StopFlag,
    /// Tells of it whoever waits.
    pub stop_told: tokio::sync::watch::Sender<bool>,
    /// Held while a file is laid down that no row names yet, and while what no row names is swept away.
    pub unnamed_files: Mutex<()>,
    /// Held from comparing a run's tables until its verdict is stored, for the datasets of the run.
    pub table_order: TableOrder,
    /// Runs that a cancel can end.
    pub running: Running,
}

/// What the name of an index ends with.
pub const INDEX: &str = "index";

/// The room's directories. Whoever reads them has the data; whoever writes them decides what is judged.
#[derive(Debug, Clone)]
pub struct Places {
    /// Bundles of jobs that have not ended.
    pub bundles: BlobStore,
    /// What runs now: unpacked bundles, outputs, canonical forms.
    pub work: PathBuf,
    /// Canonical files under review, one directory a run.
    pub quarantine: PathBuf,
    /// Tables that left or may leave, and their counts before rounding: later ones are compared with them.
    pub compared: BlobStore,
    /// Snapshots, `<dataset>/<tree digest>`.
    pub datasets: PathBuf,
    /// Runtimes, `<tree digest>`.
    pub runtimes: PathBuf,
    /// Files that anybody may read: what stands in them is no copy of data.
    pub public: BlobStore,
    /// What a job's interpreter imports to say where it failed.
    pub failure: PathBuf,
    /// Copies that are being made.
    pub incoming: PathBuf,
    /// Bundles that the gateway hands over.
    pub from_gateway: PathBuf,
    /// The outbox.
    pub outbox: BlobStore,
    /// Sealed packets for the console.
    pub packets: BlobStore,
}

impl Places {
    /// Makes the directories that are not there.
    pub fn open(configuration: &Configuration) -> Result<Self, BlobError> {
        let state = &configuration.state_directory;
        files::private_directory(state)?;
        let own = |name: &str| -> io::Result<PathBuf> {
            let path = state.join(name);
            files::private_directory(&path)?;
            Ok(path)
        };
        let failure = state.join("failure");
        crate::failure::lay_down(&failure)?;
        Ok(Self {
            failure,
            bundles: BlobStore::open(own("bundles")?, 0o600)?,
            work: own("work")?,
            quarantine: own("quarantine")?,
            compared: BlobStore::open(own("compared")?, 0o600)?,
            datasets: own("datasets")?,
            runtimes: own("runtimes")?,
            public: BlobStore::open(own("public")?, 0o444)?,
            incoming: own("incoming")?,
            from_gateway: configuration.from_gateway_directory.clone(),
            outbox: BlobStore::open(&configuration.to_gateway_directory, 0o640)?,
            packets: BlobStore::open(&configuration.to_console_directory, 0o640)?,
        })
    }

    /// Where a snapshot of a dataset lies, if the room has it.
    pub fn snapshot(&self, dataset: &release::value::Name, tree: &Digest) -> Option<PathBuf> {
        there(self.datasets.join(dataset.as_str()).join(tree.to_string()))
    }

    /// Where the index of a snapshot lies: beside it, so that it goes where the data goes.
    pub fn index_of(snapshot: &Path) -> PathBuf {
        snapshot.with_added_extension(INDEX)
    }

    /// Where a runtime lies, if the room has it.
    pub fn runtime(&self, tree: &Digest) -> Option<PathBuf> {
        there(self.runtimes.join(tree.to_string()))
    }

    /// The name of what belongs to one run.
    pub fn run_name(request: &Digest, run: u32) -> String {
        format!("{request}-{run}")
    }

    /// The canonical files of one run.
    pub fn quarantine_of(&self, request: &Digest, run: u32) -> PathBuf {
        self.quarantine.join(Self::run_name(request, run))
    }
}

fn there(path: PathBuf) -> Option<PathBuf> {
    path.is_dir().then_some(path)
}

impl Room {
    /// The moment now, by this machine's clock.
    pub fn now(&self) -> Timestamp {
        now()
    }

    /// Asks every part of the room to end.
    pub fn ask_to_stop(&self) {
        self.stop.raise();
        self.stop_told.send_replace(true);
    }

    /// Waits until the room is asked to stop.
    pub async fn stopping(&self) {
        let mut told = self.stop_told.subscribe();
        // The sender lives as long as the room.
        let _ = told.wait_for(|stopping| *stopping).await;
    }

    /// True if the launcher runs as root and each program gets a user of its own.
    pub fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }
}

/// The program that makes canonical forms, judges and scans, and its digest, which every verdict names.
#[derive(Debug)]
pub struct Checker {
    path: PathBuf,
    known: Mutex<Option<(Appearance, Digest)>>,
}

/// Times, size and inode of a file.
type Appearance = (i64, i64, u64, u64);

impl Checker {
    /// The program at this path, which is read at once, so that a wrong path is noticed at the start.
    pub fn open(path: &Path) -> io::Result<Self> {
        let checker = Self { path: path.to_owned(), known: Mutex::new(None) };
        checker.digest()?;
        Ok(checker)
    }

    /// Its digest now. It is read again when the file has been replaced, as a newer package does.
    pub fn digest(&self) -> io::Result<Digest> {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::File::open(&self.path)?;
        let found = file.metadata()?;
        let appearance = (found.mtime(), found.mtime_nsec(), found.size(), found.ino());
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match *known {
            Some((before, digest)) if before == appearance => Ok(digest),
            _ => {
                let (digest, _) = Digest::of_reader(file)?;
                *known = Some((appearance, digest));
                Ok(digest)
            }
        }
    }
}

/// The moment now, by this machine's clock. A clock outside 1970 to 9999 reads 1970, at which nothing is in force.
pub fn now() -> Timestamp {
    Timestamp::from_seconds(daemon::now_seconds())
        .unwrap_or_else(|_| Timestamp::from_seconds(0).expect("1970 is a moment"))
}

/// Reads the verdict key.
pub fn read_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let pem = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(KeyFileError::Unreadable)?);
    SecretKey::from_pkcs8_pem(&pem).map_err(|_| KeyFileError::Form)
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the verdict key cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is not what `init` writes.
    #[error("the verdict key is not PKCS#8 PEM of an Ed25519 key")]
    Form,
}

/// What goes wrong by the box's own fault: never a job's.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A directory of files under their digest.
    #[error("a directory of the enclave failed")]
    Blobs(#[from] BlobError),
    /// The file system.
    #[error("the file system failed")]
    Io(#[from] io::Error),
}
