//! Whether a room runs: each holds a lock on its store for as long as it lives, which the kernel takes from the dead.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use super::places::Places;
use crate::failure::{Exit, Failure};

/// Fails with the name of a room that runs. What is returned keeps the signer from starting.
pub fn none_runs(places: &Places) -> Result<Option<File>, Failure> {
    let databases = [
        ("gateway", places.gateway.join("queue.db-shm")),
        ("enclave", places.enclave.join("account.db-shm")),
        ("console", places.console.join("reviews.db-shm")),
    ];
    for (room, path) in databases {
        // SQLite keeps a shared lock there while a database is open (its "dead man switch"). Without the file nobody
        // has it open. The lock is given back as soon as the file is closed.
        let lock = FlockOperation::NonBlockingLockExclusive;
        if let Some(file) = opened(&path)
            && fcntl_lock(&file, lock).is_err()
        {
            return Err(runs(room));
        }
    }
    let Some(file) = opened(&places.signer.join("lock")) else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(runs("signer")),
    }
}

fn opened(path: &PathBuf) -> Option<File> {
    File::options().read(true).write(true).open(path).ok()
}

/// Nothing is read while this one runs.
pub fn runs(room: &str) -> Failure {
    Failure::new("ROOM_RUNS", format!("the {room} runs; a running room's store is not opened"))
        .hint("stop the box first: Ctrl-C for `databox up`, or `systemctl stop` of its units")
        .exit(Exit::Conflict)
}
