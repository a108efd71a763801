//! A running box, what its rooms hold, and who attacks them from where.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::TestBox;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A box, one of its listening rooms, and a runtime to attack it from.
pub struct Stage {
    pub tested: TestBox,
    pub room: Room,
    pub process: u32,
    attackers: AtomicUsize,
    runtime: tokio::runtime::Runtime,
}

/// The rooms that listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Gateway,
    Console,
}

impl Stage {
    pub fn new(room: Room) -> Self {
        let mut tested = TestBox::start();
        let name = if room == Room::Gateway { "gateway" } else { "console" };
        let process = tested.stage.rooms().process(name).expect("the room runs");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let stage = Self { tested, room, process, attackers: AtomicUsize::new(0), runtime };
        stage.run(stage.site_is_seen());
        stage
    }

    /// The rooms look at their site now and then; until then the gateway knows no dataset.
    async fn site_is_seen(&self) {
        let bench = self.tested.bench("lee").await;
        let begun = Instant::now();
        while bench.datasets().await.expect("the gateway answers").is_empty() {
            assert!(begun.elapsed() < harness::PATIENCE, "the gateway sees the dataset");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a test's steps: what attacks, on this thread; a bystander works on another.
    ///
    /// An attacker computes on a machine of its own. Here it shares the processors with the room and the bystander, so it
    /// gets what these leave: otherwise the bystander would mostly wait for the attacker's own handshakes.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        rustix::process::setpriority_process(None, 19).expect("anyone may come last");
        self.runtime.block_on(work)
    }

    pub fn address(&self) -> SocketAddr {
        let endpoints = self.tested.stage.endpoints();
        if self.room == Room::Gateway { endpoints.gateway } else { endpoints.console }
    }

    /// Who attacks: someone with a certificate that the room takes. Each comes from another address than the one before
    /// and than the bystander, so that what is counted for an address is taken from nobody else.
    pub fn attacker(&self) -> Attacker {
        let number = self.attackers.fetch_add(1, Ordering::Relaxed);
        let from = Ipv4Addr::new(127, 0, 9, (number % 250) as u8 + 1);
        self.person(if self.room == Room::Gateway { "kim" } else { "ana" }, from)
    }

    /// Someone with a certificate, at an address of the loopback.
    pub fn person(&self, person: &str, from: Ipv4Addr) -> Attacker {
        let files = self.tested.stage.key_files(person);
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.tested.stage.home.tls("ca", "pem")).unwrap();
        roots.add(authority).unwrap();
        let chain = CertificateDer::pem_file_iter(files.tls_certificate()).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(files.tls_key()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Attacker { tls: TlsConnector::from(Arc::new(tls)), room: self.address(), from: IpAddr::V4(from) }
    }

    /// How many descriptors the room has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process)).expect("the room runs").count()
    }

    /// How many of its descriptors are sockets. The others are files, which an upload opens and closes.
    pub fn sockets(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.process)).expect("the room runs");
        let is_socket = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
        descriptors
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(is_socket)
            .count()
    }

    /// Memory of the room that is in use, in bytes.
    pub fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process)).expect("the room runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes << 10
    }

    /// Waits until the room has no more descriptors open than before. Ten seconds are the promise, and a busy machine
    /// gets more; what is never given back fails.
    pub async fn gives_back(&self, before: usize, attack: &str) {
        let begun = Instant::now();
        while self.descriptors() > before {
            let waited = begun.elapsed();
            let held = self.descriptors();
            assert!(waited < Duration::from_secs(60), "{attack}: {held} descriptors, {before} before");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Someone who can open connections to the room.
#[derive(Clone)]
pub struct Attacker {
    tls: TlsConnector,
    room: SocketAddr,
    pub from: IpAddr,
}

impl Attacker {
    /// The same person at another address.
    pub fn at(&self, from: Ipv4Addr) -> Self {
        Self { from: IpAddr::V4(from), ..self.clone() }
    }

    /// A connection on which nothing was said.
    pub async fn tcp(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.room).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection after the handshake, as the client believes; with TLS 1.3 the room may think otherwise.
    pub async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls.connect(ServerName::try_from("localhost").unwrap(), self.tcp().await?).await
    }
}
