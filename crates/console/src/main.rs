//! The room that faces stewards and witnesses.
//!
//! It keeps sealed packets that it cannot open, takes approvals and denials to the signer, the signer's checkpoints to
//! the witnesses, and what the log says back to the enclave. Whoever takes it over can stall and hide; they cannot read
//! what is under review, forge or alter an approval, or swallow a denial unnoticed.

mod configuration;
mod desk;
mod link;
mod service;
mod signing;
mod store;
mod witness;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use api::internal::console_enclave_service_server::ConsoleEnclaveServiceServer;
use api::v1::review_service_server::ReviewServiceServer;
use blobs::BlobStore;
use daemon::{Arguments, Journal, Look, ServiceManager, SiteWatch};
use release::site::SeenVersions;
use server::{Limits, Listener, Principal, PrincipalError, Refused, Role};
use tokio::sync::Notify;
use tonic::server::NamedService;
use tonic::service::Routes;

use configuration::Configuration;
use link::Link;
use service::Reviews;
use signing::Signing;
use store::{Standing, Store};

const JOURNAL: Journal = Journal::new("console");

/// How often the site directory is looked at: a revocation acts within this time.
const SITE_LOOK: Duration = Duration::from_millis(250);

/// How often reviews that nobody decided are looked for.
const EXPIRY_LOOK: Duration = Duration::from_secs(60);

/// What reflection tells of.
const NAMES: &[&str] = &[ReviewServiceServer::<Reviews>::NAME];

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = match Arguments::parse("console", std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            JOURNAL.error("ended").own_causes(&*error).write();
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Failed> {
    let configuration: Configuration = daemon::load(&arguments.config)?;
    if arguments.die_with_parent {
        daemon::die_with_parent()?;
    }
    tokio::runtime::Runtime::new()?.block_on(run(configuration))
}

async fn run(configuration: Configuration) -> Result<(), Failed> {
    let state = &configuration.state_directory;
    std::fs::create_dir_all(state)?;
    // Rooms share a group for what they hand over; reviews are none of the others' business.
    std::fs::set_permissions(state, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let store = Arc::new(Store::open(&state.join("reviews.db"))?);
    let packets = BlobStore::open(state.join("packets"), 0o600)?;
    packets.remove_unfinished()?;
    let seen = store.seen()?.map(|bytes| SeenVersions::from_bytes(&bytes)).transpose()?;
    let site = Arc::new(SiteWatch::new(&configuration.site_directory, configuration.site_pin, seen));
    look_at_site(&site, &store)?;
    let signer_user = daemon::user_id(&configuration.signer_user)?;
    let witnesses = configuration.witnesses.clone();
    let signing = Arc::new(Signing {
        store: store.clone(),
        site: site.clone(),
        signer_socket: configuration.signer_socket.clone(),
        signer_user,
        witnesses,
        journal: JOURNAL,
        wanted: Notify::new(),
        finished: Notify::new(),
        approvals: Notify::new(),
    });
    let link = Link {
        store: store.clone(),
        site: site.clone(),
        packets: packets.clone(),
        laid: BlobStore::open(&configuration.packets_directory, 0o640)?,
        packet_bytes: configuration.packet_bytes,
        signing: signing.clone(),
        journal: JOURNAL,
    };
    let reviews = Reviews {
        store: store.clone(),
        site: site.clone(),
        packets: packets.clone(),
        signing: signing.clone(),
        journal: JOURNAL,
    };
    let enclave_user = daemon::user_id(&configuration.enclave_user)?;
    let socket = server::unix::Socket::bind(&configuration.enclave_socket, enclave_user, JOURNAL)?;
    let limits = Limits { connections: configuration.connections, ..Limits::default() };
    let listener = Listener::bind(configuration.listen, &configuration.tls, limits, JOURNAL).await?;
    tokio::spawn(expire(store.clone(), packets));
    take_up_again(&store, &site);
    let watched = signing.clone();
    tokio::spawn(async move { signing.run().await });
    JOURNAL.info("ready").write();
    tokio::spawn(watch_site(site.clone(), store, watched, ServiceManager::ready()));
    serve(listener, socket, link, reviews, gate(site)).await
}

async fn serve(
    listener: Listener,
    socket: server::unix::Socket,
    link: Link,
    reviews: Reviews,
    gate: server::Gate,
) -> Result<(), Failed> {
    let stop = || async {
        let _ = server::stopped().await;
    };
    let for_enclave = ConsoleEnclaveServiceServer::new(link)
        .max_decoding_message_size(api::MESSAGE_LIMIT)
        // A release file can be larger than what people may send.
        .max_encoding_message_size(release::file::RELEASE_FILE_LIMIT + 4096);
    let for_stewards = ReviewServiceServer::new(reviews)
        .max_decoding_message_size(api::MESSAGE_LIMIT)
        .max_encoding_message_size(release::file::RELEASE_FILE_LIMIT + 4096);
    let enclave = server::unix::serve(socket, Routes::new(for_enclave), stop());
    let stewards = server::serve(listener, gate, Routes::new(for_stewards), NAMES, stop());
    let (enclave, stewards) = tokio::join!(enclave, stewards);
    enclave?;
    stewards?;
    JOURNAL.info("stopped").write();
    Ok(())
}

/// Stewards only, and none that is revoked; asked before every call.
fn gate(site: Arc<SiteWatch>) -> server::Gate {
    Arc::new(move |principal: &Principal| {
        if principal.role != Role::Steward {
            return Err(Refused::Role);
        }
        let site = site.current().ok_or(Refused::Site)?;
        if principal.site != *site.name() {
            return Err(Refused::Certificate(PrincipalError::Site));
        }
        let revocation = site.revocation();
        let revoked =
            revocation.people.contains(&principal.id) || revocation.certificates.contains(&principal.serial);
        if revoked {
            return Err(Refused::Revoked);
        }
        if site.roles().people.contains_key(&principal.id) { Ok(()) } else { Err(Refused::Role) }
    })
}

/// Loads the site if it has changed; a site that is not accepted leaves the one before in force.
fn look_at_site(site: &SiteWatch, store: &Store) -> rusqlite::Result<bool> {
    let look = site.look(desk::now(), |seen, _| store.set_seen(&seen.to_bytes()))?;
    match &look {
        Look::Same => {}
        Look::Newer => JOURNAL.info("site in force").write(),
        Look::NotAccepted(error) => JOURNAL.warning("site not accepted").own_causes(error).write(),
    }
    Ok(matches!(look, Look::Newer))
}

async fn watch_site(site: Arc<SiteWatch>, store: Arc<Store>, signing: Arc<Signing>, manager: ServiceManager) {
    loop {
        tokio::time::sleep(SITE_LOOK).await;
        // Whatever the store answers: that it answers is the sign.
        let _ = store.seen();
        manager.alive();
        match look_at_site(&site, &store) {
            Ok(false) => {}
            Ok(true) => {
                take_up_again(&store, &site);
                signing.wanted.notify_one();
            }
            Err(error) => JOURNAL.error("the store cannot be written").own_error(&error).write(),
        }
    }
}

/// A review that is open with enough approvals was refused by the signer, or new roles made what it has enough. What
/// stood in the way may be gone since.
fn take_up_again(store: &Store, site: &SiteWatch) {
    let Some(site) = site.current() else { return };
    // A steward whom nobody heard laid a refusal into the site directory: also of code that runs, or has run.
    for denial in site.code_denials() {
        let request = denial.statement().request.sha256;
        let Ok(Some(statements)) = store.statements(&request) else { continue };
        if statements.verdict.is_empty() && desk::code_denied_in_site(&statements, &site).is_some() {
            let _ = store.set_standing(&request, Standing::Denying);
        }
    }
    for review in store.standing(Standing::Open).unwrap_or_default() {
        let Ok(Some(statements)) = store.statements(&review.verdict) else { continue };
        if statements.verdict.is_empty() {
            if desk::reviewed_code(&statements, &site).is_ok() {
                let _ = store.set_standing(&review.verdict, Standing::Approving);
            }
        } else if desk::is_approved(&statements, &site) {
            let _ = store.set_standing(&review.verdict, Standing::Signing);
        }
    }
}

/// Ends reviews that nobody decided, and removes their packets.
async fn expire(store: Arc<Store>, packets: BlobStore) {
    loop {
        let now = daemon::now_seconds();
        for standing in [Standing::Open, Standing::Blocked, Standing::Approving] {
            for review in store.standing(standing).unwrap_or_default() {
                if review.expires_at > now {
                    continue;
                }
                // A crash between the two leaves a packet that the next look removes.
                if let Ok(Some(statements)) = store.statements(&review.verdict)
                    && packets.remove(statements.packet).is_ok()
                {
                    let _ = store.set_standing(&review.verdict, Standing::Expired);
                }
            }
        }
        tokio::time::sleep(EXPIRY_LOOK).await;
    }
}
