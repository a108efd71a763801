//! The accept loop: every connection is counted and timed before anything of it is believed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::Journal;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::connection::Connection;
use crate::frames::{ENHANCE_YOUR_CALM, empty_settings, goaway};
use crate::held::{Counts, Held};
use crate::limits::KEEPALIVE;
use crate::principal::Person;
use crate::rates::Rates;
use crate::turned_away::{Tally, TurnedAway};
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
    doorman: Arc<Doorman>,
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
            places: Arc::new(Semaphore::new(limits.connections.in_all.get())),
            addresses: Counts::new(limits.connections.per_address.get()),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            handshakes_of_address: Counts::new(limits.handshakes_per_address),
            begun: Rates::new(limits.handshakes_begun.0, limits.handshakes_begun.1),
            people: Counts::new(limits.connections.per_person.get()),
            limits,
            tally: Arc::new(Tally::new(journal)),
        };
        Ok(Self { listener, doorman: Arc::new(doorman) })
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
            let arrived = match self.doorman.let_in(peer.ip()) {
                Ok(arrived) => arrived,
                Err(why) => {
                    self.doorman.tally.count(why);
                    continue;
                }
            };
            let (doorman, accepted) = (self.doorman.clone(), accepted.clone());
            tokio::spawn(async move {
                match doorman.greet(stream, arrived).await {
                    Ok(connection) => drop(accepted.send(Ok(connection)).await),
                    Err(why) => doorman.tally.count(why),
                }
            });
        }
    }
}

struct Doorman {
    tls: TlsAcceptor,
    places: Arc<Semaphore>,
    addresses: Counts<Origin>,
    handshakes: Arc<Semaphore>,
    handshakes_of_address: Counts<Origin>,
    begun: Rates<Origin>,
    /// Certificates that name nobody count together, by what is wrong with them.
    people: Counts<Result<Person, PrincipalError>>,
    limits: Limits,
    tally: Arc<Tally>,
}

/// Where a connection comes from, as far as addresses are counted: who has one address of IPv6 has its whole /64
/// network, and could come from another one each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    Address(Ipv4Addr),
    Network([u8; 8]),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Address(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::Network([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What a connection holds as long as it lives.
pub(crate) struct Places {
    _in_all: OwnedSemaphorePermit,
    _address: Held<Origin>,
    _person: Held<Result<Person, PrincipalError>>,
}

/// A connection of which nothing is known but where it comes from, and what it holds.
struct Arrived {
    in_all: OwnedSemaphorePermit,
    address: Held<Origin>,
    handshake: (OwnedSemaphorePermit, Held<Origin>),
}

impl Doorman {
    /// Whoever is not let in is closed at once, without an answer: nothing is read from them.
    fn let_in(&self, from: IpAddr) -> Result<Arrived, TurnedAway> {
        let origin = Origin::from(from);
        let in_all = self.places.clone().try_acquire_owned().map_err(|_| TurnedAway::Full)?;
        let address = self.addresses.take(origin).ok_or(TurnedAway::Address)?;
        let of_address = self.handshakes_of_address.take(origin).ok_or(TurnedAway::Handshakes)?;
        if !self.begun.take(origin, Instant::now()) {
            return Err(TurnedAway::Handshakes);
        }
        let handshake = self.handshakes.clone().try_acquire_owned().map_err(|_| TurnedAway::Handshakes)?;
        Ok(Arrived { in_all, address, handshake: (handshake, of_address) })
    }

    async fn greet(&self, stream: TcpStream, arrived: Arrived) -> Result<Connection, TurnedAway> {
        let Arrived { in_all, address, handshake } = arrived;
        prepare(&stream).map_err(|_| TurnedAway::Handshake)?;
        let shaken = tokio::time::timeout(self.limits.handshake, self.tls.accept(stream)).await;
        let mut stream = shaken.map_err(|_| TurnedAway::Handshake)?.map_err(|_| TurnedAway::Handshake)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(TurnedAway::Handshake)?;
        let principal = Principal::from_certificate(leaf);
        let person = principal.as_ref().map(Principal::person).map_err(|error| *error);
        let Some(person) = self.people.take(person) else {
            // It still counts as a handshake, so that few are told at the same time.
            let told = tokio::time::timeout(self.limits.handshake, tell(&mut stream, TurnedAway::Person));
            let _ = told.await;
            return Err(TurnedAway::Person);
        };
        drop(handshake);
        let places = Places { _in_all: in_all, _address: address, _person: person };
        Ok(Connection::new(stream, principal, &self.limits, self.tally.clone(), places))
    }
}

/// Tells someone who was recognised why they are not let in, and waits until they have gone.
async fn tell(stream: &mut TlsStream<TcpStream>, why: TurnedAway) -> io::Result<()> {
    let words = [empty_settings(), goaway(0, ENHANCE_YOUR_CALM, why.word())].concat();
    stream.write_all(&words).await?;
    stream.shutdown().await?;
    // What they sent meanwhile is read: closing over unread bytes resets the connection, and the word may be lost.
    let mut unread = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut unread).await? == 0 {
            break;
        }
    }
    Ok(())
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_an_address_of_ipv4_as_itself_however_it_is_written() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::9"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    }
}
