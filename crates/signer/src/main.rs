//! The room that holds the release key and the log. It has no network, no data and one socket, the console's.
//!
//! It believes nobody: before each signature it loads the site directory afresh and checks request, verdict and
//! approvals itself. It signs one manifest for each verdict, ever.

mod append;
mod clock;
mod configuration;
mod disk;
mod history;
mod intake;
mod key;
mod ledger;
mod places;
mod room;
mod serve;
mod state;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use daemon::{Arguments, Journal};
use release::value::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::append::Log;
use crate::configuration::Configuration;
use crate::disk::FileSystem;
use crate::key::{BoxKeyError, TokenError};
use crate::places::Places;
use crate::room::{BATCH_BYTES, Settings, Signer, Stopped};

/// Exit status after a token refused the PIN: `EX_NOPERM` of sysexits.h. The unit names it as one after which the signer is
/// not started again, since with each start the token would come closer to locking itself.
const PIN_REFUSED: u8 = 77;

const JOURNAL: Journal = Journal::new("signer");

fn main() -> ExitCode {
    match run() {
        Ok(()) => {
            JOURNAL.info("stopped").write();
            ExitCode::SUCCESS
        }
        Err(error) => {
            JOURNAL.error("ended").own_causes(&*error).write();
            match error.downcast_ref() {
                Some(BoxKeyError::Token(TokenError::PinRefused)) => ExitCode::from(PIN_REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse("signer", std::env::args_os().skip(1))?;
    let configuration: Configuration = daemon::load(&arguments.config)?;
    if arguments.die_with_parent {
        daemon::die_with_parent()?;
    }
    let stop = daemon::stop_on_signals()?;
    let console_user = daemon::user_id(&configuration.console_user)?;
    let places = Places::new(
        &configuration.state_directory,
        &configuration.public_directory,
        &configuration.head_file,
    );
    let _lock = lock(&places)?;
    let (release_key, log_key) = configuration.key_places().open()?;
    let settings = Settings {
        site_directory: configuration.site_directory,
        site_pin: configuration.site_pin,
        release_key,
        log_key,
        batch_bytes: BATCH_BYTES,
        accept_on_box_witness: configuration.accept_on_box_witness,
    };
    let now = Timestamp::from_seconds(daemon::now_seconds())?;
    let mut signer = Signer::open(settings, Log::open(places, FileSystem::new(0o644))?, now)?;
    match signer.take_in_site(now) {
        Ok(_) => {}
        // A new box has no roles yet. Nothing is signed before they are there.
        Err(Stopped::Refused(refusal)) => {
            JOURNAL.warning("the site is not accepted").word("refusal", refusal.name()).write();
        }
        Err(Stopped::Log(error)) => return Err(error.into()),
    }
    let listener = daemon::listen(&configuration.socket, 0o660)?;
    JOURNAL.info("ready").number("size", signer.size()).write();
    Ok(serve::serve(&mut signer, &listener, console_user, &stop, JOURNAL)?)
}

#[derive(Debug, thiserror::Error)]
#[error("another signer holds {0}")]
struct LockError(PathBuf);

/// Two signers over one log would be two histories.
fn lock(places: &Places) -> Result<File, Box<dyn Error>> {
    std::fs::create_dir_all(places.state_directory())?;
    let path = places.lock();
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| LockError(path))?;
    Ok(file)
}
