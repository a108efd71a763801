//! The accept loop: every connection is counted and timed before anything of it is believed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daemon::Journal;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::connection::Connection;
use crate::held::{Counts, Held};
use crate::limits::KEEPALIVE;
use crate::{Limits, Principal, PrincipalError, Tls, TlsError};

/// Nobody can be listened to.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The transport files cannot be used.
    #[error("the transport files cannot be used")]
    Tls(#[from] TlsError),
    /// The address cannot be had.
    #[error("the address {address} cannot be listened on")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A TCP socket on which people with a certificate of the box's authority are heard.
pub struct Listener {
    listener: TcpListener,
    doorman: Doorman,
}

impl Listener {
    /// Listens on an address.
    pub async fn bind(
        address: SocketAddr,
        tls: &Tls,
        limits: Limits,
        journal: Journal,
    ) -> Result<Self, BindError> {
        let configuration = tls.configuration()?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| BindError::Address { address, source })?;
        let doorman = Doorman {
            tls: TlsAcceptor::from(Arc::new(configuration)),
            places: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Counts::new(limits.handshakes_per_address)),
            people: Arc::new(Counts::new(limits.connections_per_person)),
            limits,
            journal,
        };
        Ok(Self { listener, doorman })
    }

    /// The address, with the port that the kernel chose if it was asked to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.doorman.limits
    }

    /// Begins to accept. The loop ends with the handle's abort or when nobody takes the connections any more.
    pub(crate) fn accept(self) -> (ReceiverStream<io::Result<Connection>>, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(32);
        (ReceiverStream::new(receiver), tokio::spawn(self.run(sender)))
    }

    async fn run(self, accepted: mpsc::Sender<io::Result<Connection>>) {
        while !accepted.is_closed() {
            let (stream, peer) = match self.listener.accept().await {
                Ok(connection) => connection,
                // Out of descriptors, most likely. Those who are in may finish meanwhile.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = self.doorman.places.clone().try_acquire_owned() else { continue };
            let Some(handshake) = self.doorman.handshakes.take(peer.ip()) else { continue };
            let (doorman, accepted) = (self.doorman.clone(), accepted.clone());
            tokio::spawn(async move {
                match doorman.greet(stream, place, handshake).await {
                    Ok(connection) => drop(accepted.send(Ok(connection)).await),
                    Err(turned_away) => turned_away.tell(&doorman.journal),
                }
            });
        }
    }
}

#[derive(Clone)]
struct Doorman {
    tls: TlsAcceptor,
    places: Arc<Semaphore>,
    handshakes: Arc<Counts<IpAddr>>,
    /// Certificates that name nobody count together, by what is wrong with them.
    people: Arc<Counts<Result<Principal, PrincipalError>>>,
    limits: Limits,
    journal: Journal,
}

enum TurnedAway {
    Handshake,
    TooMany,
}

impl TurnedAway {
    fn tell(&self, journal: &Journal) {
        let line = journal.warning("a connection was turned away");
        match self {
            // Anyone on the network can cause these; a line for each would fill the disk.
            Self::Handshake => return,
            Self::TooMany => line.word("error", "this person has too many connections"),
        }
        .write();
    }
}

impl Doorman {
    async fn greet(
        &self,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        handshake: Held<IpAddr>,
    ) -> Result<Connection, TurnedAway> {
        prepare(&stream).map_err(|_| TurnedAway::Handshake)?;
        let shaken = tokio::time::timeout(self.limits.handshake, self.tls.accept(stream)).await;
        drop(handshake);
        let stream = shaken.map_err(|_| TurnedAway::Handshake)?.map_err(|_| TurnedAway::Handshake)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(TurnedAway::Handshake)?;
        let principal = Principal::from_certificate(leaf);
        let person = self.people.take(principal.clone()).ok_or(TurnedAway::TooMany)?;
        Ok(Connection::new(stream, principal, self.limits.handshake, place, person))
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
