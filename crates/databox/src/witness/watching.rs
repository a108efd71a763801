//! What a witness remembers of the logs that it watches, and on what it cosigns: a head that follows from the last one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use blobs::Digest;
use release::key::{SecretKey, Sign};
use release::log::checkpoint::{cosign, cosignatures};
use release::log::witness::{AddCheckpoint, Head, WitnessRefusal};
use release::log::{Checkpoint, KeyType, Note, VerifierKey};
use release::value::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::failure::{Exit, Failure, file_failure, whole};

#[derive(Debug)]
pub(super) enum AddError {
    Refused(WitnessRefusal),
    Failed(io::Error),
}

/// A witness's key, the logs that it watches and the last checkpoint of each.
pub(super) struct Witness {
    directory: PathBuf,
    pub(super) key: VerifierKey,
    secret: SecretKey,
    logs: BTreeMap<Digest, Watched>,
    /// Held as long as the witness lives.
    _lock: fs::File,
}

/// Two witnesses on one directory would each cosign from a head that the other has moved on: two histories under one
/// key.
fn lock(directory: &Path) -> Result<fs::File, Failure> {
    let path = directory.join("lock");
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(file_failure(&path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::new("WITNESS_RUNNING", format!("another witness holds {}", path.display()))
            .hint("one witness a directory; it watches as many logs as --log names")
            .exit(Exit::Conflict)
    })?;
    Ok(file)
}

struct Watched {
    key: VerifierKey,
    head: Head,
    note: Option<Note>,
}

impl Witness {
    pub(super) fn open(directory: &Path, name: &str, logs: Vec<VerifierKey>) -> Result<Self, Failure> {
        let heads = directory.join("heads");
        let key_file = directory.join("witness.pem");
        fs::create_dir_all(directory).map_err(file_failure(directory))?;
        let lock = lock(directory)?;
        let secret = if key_file.exists() {
            // A key without its heads could be shown every history anew.
            if !heads.is_dir() {
                return Err(Failure::new("WITNESS_STATE_LOST", format!("{} is missing", heads.display()))
                    .hint(
                        "restore it from its newest copy, or begin with a new directory and so a new key",
                    ));
            }
            let pem = fs::read_to_string(&key_file).map_err(file_failure(&key_file))?;
            SecretKey::from_pkcs8_pem(&pem).map_err(file_failure(&key_file))?
        } else {
            fs::create_dir_all(&heads).map_err(file_failure(&heads))?;
            blobs::sync_directory(directory).map_err(file_failure(directory))?;
            let secret = SecretKey::generate().map_err(file_failure(&key_file))?;
            blobs::write_new_file_durably(&key_file, secret.to_pkcs8_pem().as_bytes(), 0o600)
                .map_err(file_failure(&key_file))?;
            secret
        };
        let key = VerifierKey::new(name, KeyType::Witness, secret.public().public.0)
            .map_err(|error| Failure::new("WITNESS_NAME", whole(&error)))?;
        let (directory, logs_read) = (directory.to_owned(), BTreeMap::new());
        let mut witness = Self { directory, key, secret, logs: logs_read, _lock: lock };
        for log in logs {
            let watched = witness.read_head(log)?;
            witness.logs.insert(Digest::of(watched.key.name().as_bytes()), watched);
        }
        Ok(witness)
    }

    pub(super) fn head_file(&self, origin: &str) -> PathBuf {
        self.directory.join("heads").join(format!("{}.checkpoint", Digest::of(origin.as_bytes())))
    }

    fn read_head(&self, log: VerifierKey) -> Result<Watched, Failure> {
        let path = self.head_file(log.name());
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Watched { key: log, head: Head::empty(), note: None });
            }
            Err(error) => return Err(file_failure(&path)(error)),
        };
        let note = Note::parse(&bytes).map_err(file_failure(&path))?;
        let checkpoint = Checkpoint::open_of_any_log(&note, &log).map_err(file_failure(&path))?;
        // Its own cosignature makes sure that the file is one that this witness wrote.
        let own = cosignatures(&note, std::slice::from_ref(&self.key)).map_err(file_failure(&path))?;
        if own.is_empty() {
            return Err(Failure::new(
                "WITNESS_STATE",
                format!("{} is not a head of this witness", path.display()),
            ));
        }
        let head = Head { size: checkpoint.size, root: checkpoint.root };
        Ok(Watched { key: log, head, note: Some(note) })
    }

    pub(super) fn write_public_key(&self) -> Result<(), Failure> {
        let path = self.directory.join("witness.public.json");
        let public = serde_json::json!({
            "name": self.key.name(),
            "public": release::value::Bytes(*self.key.public()).to_string(),
            "verifierKey": self.key.to_string(),
        });
        replace_durably(&path, format!("{public}\n").as_bytes()).map_err(file_failure(&path))
    }

    /// Decides, remembers, answers: in this order. A crash after the head is durable loses an answer, and the log
    /// asks again and is told the new size; a crash before it changes nothing.
    pub(super) fn add_checkpoint(&mut self, body: &[u8], seconds: i64) -> Result<String, AddError> {
        let request = AddCheckpoint::parse(body).map_err(AddError::Refused)?;
        let origin = request.origin().map_err(AddError::Refused)?;
        let watched = self.logs.get(&Digest::of(origin.as_bytes()));
        let watched = watched.ok_or(AddError::Refused(WitnessRefusal::UnknownLog))?;
        let head = request.decide(Some(&watched.key), &watched.head).map_err(AddError::Refused)?;
        let clock = || AddError::Failed(io::Error::other("the clock shows no time"));
        let time = Timestamp::from_seconds(seconds).map_err(|_| clock())?;
        let line = cosign(request.checkpoint.text(), &self.key, time, |message| self.secret.sign(message));
        let line = line.map_err(|_| clock())?;
        // Other keys' lines are nobody's business here, and would let a log fill this disk.
        let mut note = request.checkpoint.only(&[&watched.key]);
        note.push(line.clone());
        replace_durably(&self.head_file(&origin), note.to_string().as_bytes()).map_err(AddError::Failed)?;
        let watched = Watched { key: watched.key.clone(), head, note: Some(note) };
        self.logs.insert(Digest::of(origin.as_bytes()), watched);
        Ok(line.to_string())
    }

    pub(super) fn latest(&self, origin: &Digest) -> Option<String> {
        self.logs.get(origin)?.note.as_ref().map(Note::to_string)
    }
}

/// Replaces a file so that after a crash it holds either all of the old or all of the new bytes.
fn replace_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let writing = path.with_extension("writing");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&writing)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&writing, path)?;
    blobs::sync_directory(path.parent().unwrap_or(Path::new(".")))
}
