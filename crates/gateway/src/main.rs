//! The room that faces researchers: uploads, the job queue, and released files.
//!
//! It has the network and no data. Whoever takes it over sees bundles, who asked for what, and released files, and
//! can stall; it cannot read data, run a job that nobody signed, or serve a file that is not released.

mod clock;
mod configuration;
mod link;
mod outbox;
mod room;
mod services;
mod spool;
mod store;
mod upkeep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use configuration::Configuration;
use daemon::{ConfigurationError, Journal, ServiceManager};
use room::{Room, StartError};
use server::{BindError, Limits, Listener, ServeError};

#[derive(Parser)]
#[command(name = "gateway", about = "The room of the data box that faces researchers.", version)]
struct Arguments {
    /// The commented configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// End, in order, with the process that started this one.
    #[arg(long)]
    die_with_parent: bool,
}

#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error("the gateway cannot open its state")]
    Start(#[from] StartError),
    #[error("the gateway cannot be reached")]
    Bind(#[from] BindError),
    #[error("the enclave's socket {path} cannot be listened on")]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("the gateway cannot serve")]
    Serve(#[from] ServeError),
    #[error("the gateway cannot run")]
    Process(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let journal = Journal::new("gateway");
    match start(&arguments, journal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            journal.error("the gateway ended").own_causes(&error).write();
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments, journal: Journal) -> Result<(), GatewayError> {
    let configuration: Configuration = daemon::load(&arguments.config)?;
    if arguments.die_with_parent {
        daemon::die_with_parent()?;
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(configuration, journal))
}

async fn serve(configuration: Configuration, journal: Journal) -> Result<(), GatewayError> {
    let user = daemon::user_id(&configuration.enclave_user)?;
    let limits = Limits {
        connections: configuration.connections,
        long_calls: services::LONG_CALLS,
        long_calls_per_person: configuration.uploads_per_person as usize,
        ..Limits::default()
    };
    let listener = Listener::bind(configuration.listen, &configuration.tls, limits, journal).await?;
    let path = configuration.enclave_socket.clone();
    let socket = server::unix::Socket::bind(&path, user, journal)
        .map_err(|source| GatewayError::Socket { path, source })?;
    let room = Room::open(configuration, journal).await?;
    room.look_at_site().await.map_err(StartError::from)?;
    journal.info("ready").number("port", listener.address()?.port()).write();
    tokio::spawn(upkeep::run(room.clone(), ServiceManager::ready()));
    let people = server::serve(listener, room.gate(), services::routes(&room), services::NAMES, stopped());
    let enclave = server::unix::serve(socket, link::routes(&room), stopped());
    tokio::try_join!(people, enclave)?;
    journal.info("stopped").write();
    Ok(())
}

/// Completes when the process is asked to stop; at once if signals cannot be heard, so that it never runs deaf.
async fn stopped() {
    let _ = server::stopped().await;
}
