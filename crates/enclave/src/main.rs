//! The room that holds the data.
//!
//! It has the data and the verdict key, no network, and listens nowhere: it opens the gateway's and the console's
//! sockets and holds one stream open to each. Nothing that a job wrote or shaped is parsed in this process; children
//! behind a wall do that, and answer with messages of a fixed size.
//!
//! Whoever takes this process over has the data. What it smuggles out must pass the stewards, whose own tools judge
//! again every rule that needs no data, and stays within the grant's bits.

mod admission;
mod cancel;
mod clock;
mod code_review;
mod collect;
mod configuration;
mod deadlines;
mod devices;
mod differencing;
mod failure;
mod files;
mod grid;
mod ingest;
mod judgement;
mod links;
mod outbox;
mod outputs;
mod recovery;
mod retry;
mod reviewers;
mod room;
mod run;
mod scheduler;
mod seen_releases;
mod site_watch;
mod space;
mod store;
mod sweep;
mod table_order;
mod verdict;
mod wall;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser;
use clock::Clock;
use configuration::Configuration;
use daemon::{ConfigurationError, Journal, ServiceManager, StopFlag};
use devices::{Devices, DevicesError};
use room::{Checker, KeyFileError, Places, Room, RoomError};
use sandbox::Launcher;
use sandbox::machine::{Machine, MachineError};
use sandbox::oci::{OciRuntime, OciRuntimeError};
use site_watch::SiteWatch;
use store::{Store, StoreError};
use table_order::TableOrder;

#[derive(Parser)]
#[command(name = "enclave", about = "The room of the data box that holds the data.", version)]
struct Arguments {
    /// The commented configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// End, in order, with the process that started this one.
    #[arg(long)]
    die_with_parent: bool,
}

/// Why the enclave does not start, or ends.
#[derive(Debug, thiserror::Error)]
enum EnclaveError {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error("the verdict key cannot be used")]
    Key(#[from] KeyFileError),
    #[error("the account cannot be opened")]
    Store(#[from] StoreError),
    #[error("the state cannot be opened")]
    State(#[from] RoomError),
    #[error("the directories cannot be opened")]
    Places(#[from] blobs::StoreError),
    #[error("the program {path} cannot be read; `checker` names it")]
    Checker { path: PathBuf, source: std::io::Error },
    #[error("the runtime that `oci_runtime` names cannot be used")]
    OciRuntime(#[from] OciRuntimeError),
    #[error("the machine that `machine` describes cannot be used")]
    Machine(#[from] MachineError),
    #[error("`oci_runtime` and `machine` both say what builds the wall around jobs; leave one out")]
    TwoWalls,
    #[error("the devices that `device` lists cannot be handed out")]
    Devices(#[from] DevicesError),
    #[error("the process failed")]
    Process(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let journal = Journal::new("enclave");
    match start(&arguments, journal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            journal.error("the enclave ended").own_causes(&error).write();
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments, journal: Journal) -> Result<(), EnclaveError> {
    let configuration: Configuration = daemon::load(&arguments.config)?;
    if arguments.die_with_parent {
        daemon::die_with_parent()?;
    }
    // Before anything runs that would have to be moved, too. Where nothing is delegated the evidence of each run says so.
    let _ = sandbox::make_room_for_groups();
    let gateway_user = daemon::user_id(&configuration.gateway_user)?;
    let console_user = daemon::user_id(&configuration.console_user)?;
    let room = Arc::new(open(configuration, journal)?);
    room.site.look(&room.store, &room.key, journal)?;
    recovery::at_start(&room)?;
    spawn("site", &room, |room| room.site.watch(&room.store, &room.key, room.journal))?;
    spawn("ingest", &room, ingest::watch)?;
    let threads = room.configuration.slots as usize + 16;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(threads)
        .enable_all()
        .build()?
        .block_on(serve(room, gateway_user, console_user))
}

fn open(configuration: Configuration, journal: Journal) -> Result<Room, EnclaveError> {
    let key = room::read_key(&configuration.verdict_key_file)?;
    let places = Places::open(&configuration)?;
    let database = configuration.state_directory.join("account.db");
    let store = Store::open(&database, &configuration.account_head_file, journal)?;
    let site = SiteWatch::new(&configuration.site_directory, configuration.site_pin, &store)?;
    let clock = Clock::start(&store)?;
    let checker = Checker::open(&configuration.checker)
        .map_err(|source| EnclaveError::Checker { path: configuration.checker.clone(), source })?;
    let jobs = jobs(&configuration, &places.work)?;
    Ok(Room {
        launcher: Launcher::new(&configuration.launcher),
        devices: devices(&configuration, &jobs)?,
        jobs,
        key,
        places,
        store,
        clock,
        site,
        checker,
        journal,
        stop: StopFlag::default(),
        stop_told: tokio::sync::watch::Sender::new(false),
        unnamed_files: Mutex::new(()),
        table_order: TableOrder::default(),
        running: cancel::Running::default(),
        configuration,
    })
}

/// What builds the wall is asked once what it is: after another was installed the room must be started again.
fn jobs(configuration: &Configuration, work: &Path) -> Result<Launcher, EnclaveError> {
    let launcher = &configuration.launcher;
    match (&configuration.oci_runtime, &configuration.machine) {
        (None, None) => Ok(Launcher::new(launcher)),
        (Some(path), None) => Ok(Launcher::behind(launcher, OciRuntime::find(path)?)),
        (None, Some(settings)) => Ok(Launcher::in_machine(launcher, Machine::find(settings, work)?)),
        (Some(_), Some(_)) => Err(EnclaveError::TwoWalls),
    }
}

/// Files are read once: after another was written the room must be started again.
fn devices(configuration: &Configuration, jobs: &Launcher) -> Result<Devices, EnclaveError> {
    let devices = Devices::open(&configuration.device)?;
    match devices.is_empty() || jobs.shows_devices() {
        true => Ok(devices),
        false => Err(DevicesError::Wall.into()),
    }
}

fn spawn(name: &str, room: &Arc<Room>, work: fn(&Arc<Room>)) -> std::io::Result<()> {
    let room = room.clone();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&room))?;
    Ok(())
}

async fn serve(room: Arc<Room>, gateway_user: u32, console_user: u32) -> Result<(), EnclaveError> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let gateway = links::Gateway {
        room: room.clone(),
        socket: room.configuration.gateway_socket.clone(),
        user: gateway_user,
    };
    let console = links::Console {
        room: room.clone(),
        socket: room.configuration.console_socket.clone(),
        user: console_user,
    };
    let scheduler = tokio::spawn(scheduler::schedule(room.clone()));
    tokio::spawn(links::keep(room.clone(), gateway));
    tokio::spawn(links::keep(room.clone(), console));
    room.journal.info("ready").write();
    tokio::spawn(deadlines::watch(room.clone(), ServiceManager::ready()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    room.ask_to_stop();
    // Jobs are ended; their rows stay RUNNING, which the next start counts as lost runs.
    let _ = scheduler.await;
    room.journal.info("stopped").write();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn one_thing_builds_the_wall_around_jobs_and_what_cannot_is_named_before_any_job_runs() {
        let deployed = include_str!("../../../deploy/enclave.toml");
        let jobs = |keys: &str| {
            let configuration = toml::from_str(&format!("{keys}\n{deployed}")).unwrap();
            super::jobs(&configuration, std::env::temp_dir().as_path())
        };
        assert_eq!(jobs("").unwrap().wall(), sandbox::Wall::Native);
        let machine =
            "machine = { kernel = \"/nowhere/vmlinuz\", qemu = \"/nowhere/qemu\", emulated = true }";
        let runtime = "oci_runtime = \"/nowhere/runsc\"";
        assert!(matches!(jobs(machine), Err(super::EnclaveError::Machine(_))));
        assert!(matches!(jobs(runtime), Err(super::EnclaveError::OciRuntime(_))));
        let both = jobs(&format!("{machine}\n{runtime}"));
        assert!(matches!(both, Err(super::EnclaveError::TwoWalls)), "{both:?}");
    }

    /// What of `egress` this process may use: nothing that reads what a job wrote.
    const ALLOWED: [&str; 30] = [
        "Policy",
        "PolicyError",
        "ScanTask",
        "Task",
        "check_declarations",
        // What declared shapes make files long and let them carry.
        "check_sizes",
        "declared_bytes",
        "PART_BYTES",
        "check_question",
        "floor_bits",
        "is_left_out",
        // Hashes bytes, or adds noise to numbers, at places that request and policy fix; no value decides what is read.
        "holds_what_was_fixed",
        "dither",
        // Tells from declaration and length which bytes of a file are searched at a time.
        "parts",
        "CanonicalFile",
        "PartOfFile",
        // What the process that compares evaluations is told, and in which order precisions are tried.
        "EvaluationTask",
        "smallest_that_holds",
        // What the program that answers questions is told: made of signed statements alone.
        "EarlierQuery",
        "QueryTask",
        // What the process that compares tables is told, and the names of the files that it reads.
        "Compared",
        "EARLIER_BYTES_LIMIT",
        "EarlierTable",
        "earlier_counts_file",
        "earlier_table_file",
        "own_counts_file",
        "written_counts_file",
        // The form of a finding, which the enclave writes itself where nothing is compared.
        "Detail",
        "Finding",
        "JudgedFile",
    ];

    #[test]
    fn the_enclave_calls_nothing_of_egress_that_reads_outputs() {
        let mut used = BTreeSet::new();
        for file in sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref()) {
            let text = std::fs::read_to_string(file).unwrap();
            for rest in text.split("egress::").skip(1) {
                let names = rest.strip_prefix('{').map_or_else(
                    || rest.split(|c: char| !is_word(c)).next().unwrap_or_default(),
                    |list| list.split('}').next().unwrap_or_default(),
                );
                used.extend(names.split(|c: char| !is_word(c)).map(str::to_owned));
            }
        }
        used.remove("");
        assert!(used.contains("floor_bits") && used.contains("Policy"), "the search finds what is there");
        let forbidden: Vec<_> = used.iter().filter(|name| !ALLOWED.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "{forbidden:?}");
    }

    #[test]
    fn no_program_of_the_enclave_has_its_standard_error_kept() {
        // In pieces, so that the search does not find itself.
        let (kept, nowhere) = (["As", "Output"].concat(), "StandardError::Nowhere");
        let texts = sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref());
        let texts: Vec<_> = texts.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert!(texts.iter().any(|text| text.contains(nowhere)), "the search finds what is there");
        assert!(texts.iter().all(|text| !text.contains(&kept)));
    }

    fn is_word(character: char) -> bool {
        character.is_alphanumeric() || character == '_'
    }

    fn sources(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else {
                found.push(path);
            }
        }
        found
    }
}
