//! A gateway as a process, with a site and a release of the example, told as if they happened now.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use api::internal::gateway_enclave_service_client::GatewayEnclaveServiceClient;
use api::internal::{LinkRequest, LinkResponse, Ready, link_request, link_response};
use blobs::Digest;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ED25519, SanType,
};
use release::envelope::Envelope;
use release::value::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use test_formats::log_story::cosigner;
use test_formats::story::{POLICY_FILE, Story, Told, WITNESS};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

pub const MIA: &str = "spiffe://example-hospital/researcher/researcher-mia";
pub const EVE: &str = "spiffe://example-hospital/researcher/researcher-eve";
pub const STEWARD: &str = "spiffe://example-hospital/steward/steward-ana";

/// The grant that names her, and not Eve.
pub const GRANT: &str = "visits-study";

/// The bundle that the example's request names.
pub const BUNDLE: &[u8] = b"example bundle";
/// Its purpose, and the salt.
pub const PURPOSE: (&str, [u8; 32]) = ("Visits by plan, for the example", [7; 32]);

/// The example with all times around now, and a time grid of one second.
pub fn story() -> Story {
    let now = Timestamp::from_seconds(daemon::now_seconds()).unwrap();
    let (ago, soon) = (move |seconds: i64| now.plus(-seconds), move |seconds: i64| now.plus(seconds));
    let far: Timestamp = "2199-01-01T00:00:00Z".parse().unwrap();
    let policy_file = POLICY_FILE.replace("time_grid_seconds = 600", "time_grid_seconds = 1");
    let policy_digest = Digest::of(policy_file.as_bytes());
    let witnessed = ago(10).to_string();
    Story::default()
        .first_roles(move |roles| roles.expires = far)
        .second_roles(move |roles| roles.expires = far)
        .revocation(move |revocation| (revocation.issued_at, revocation.expires) = (ago(600), soon(86_400)))
        .grant(move |grant| grant.expires = far)
        .policy(move |policy| (policy.expires, policy.file) = (far, policy_digest.into()))
        .request(move |request| (request.issued_at, request.expires) = (ago(60), soon(3600)))
        .verdict(move |verdict| (verdict.issued_at, verdict.expires) = (ago(50), soon(86_400)))
        .approvals(move |approvals| {
            for approval in approvals {
                (approval.issued_at, approval.expires) = (ago(40), soon(3600));
            }
        })
        .manifest(move |manifest| manifest.issued_at = ago(30))
        .log(move |log| log.cosigners = vec![cosigner(WITNESS, &witnessed)])
        .release(move |release| release.policy_file = policy_file.clone().into_bytes())
}

/// The home of a gateway.
pub struct Stage {
    pub directory: tempfile::TempDir,
    pub told: Told,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
}

impl Stage {
    pub fn new(story: Story) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let told = story.tell();
        for name in ["outbox", "to-enclave"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let key = KeyPair::generate().unwrap();
        let mut params = named("the box's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let stage =
            Self { told, authority: certificate.der().clone(), issuer: Issuer::new(params, key), directory };
        stage.write("authority.pem", certificate.pem().as_bytes());
        stage.install_site();
        stage.configure();
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn install_site(&self) {
        let release = &self.told.release;
        let statements = [&release.revocation, &release.grant, &release.policy].into_iter();
        for envelope in statements.chain(&release.roles).chain(&release.catalogue) {
            self.install(envelope);
        }
        let policy = release::site::file_name(&release.policy).unwrap().with_extension("toml");
        self.write(&format!("site/{}", policy.display()), &release.policy_file);
    }

    /// Lays a statement into the site directory.
    pub fn install(&self, envelope: &Envelope) {
        let path = release::site::file_name(envelope).unwrap();
        self.write(&format!("site/{}", path.display()), &envelope.to_bytes());
    }

    fn configure(&self) {
        let key = KeyPair::generate().unwrap();
        let mut params = named("the gateway");
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write("gateway.pem", certificate.pem().as_bytes());
        self.write("gateway.key", key.serialize_pem().as_bytes());
        let user = rustix::process::getuid().as_raw();
        let pin = self.told.release.roles[0].payload_digest();
        let text = format!(
            r#"listen = "127.0.0.1:0"
enclave_socket = "HOME/gateway.sock"
enclave_user = "{user}"
site_directory = "HOME/site"
site_pin = "{pin}"
state_directory = "HOME/state"
to_enclave_directory = "HOME/to-enclave"
from_enclave_directory = "HOME/outbox"
[tls]
authority = "HOME/authority.pem"
certificate = "HOME/gateway.pem"
key = "HOME/gateway.key"
"#
        );
        let home = self.directory.path().display().to_string();
        self.write("gateway.toml", text.replace("HOME", &home).as_bytes());
    }

    /// Lays the release and its files into the outbox, as an enclave does.
    pub fn fill_outbox(&self) {
        for bytes in self.told.files.values().chain([&self.told.bytes]) {
            self.write(&format!("outbox/{}", Digest::of(bytes)), bytes);
        }
    }

    /// Starts the gateway.
    pub fn start(&self) -> Gateway {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg("--config")
            .arg(self.path("gateway.toml"))
            .arg("--die-with-parent")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told = Vec::new();
        let port = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {told:?}")).unwrap();
            if let Some((_, port)) = line.split_once(r#""event":"ready","port":"#) {
                break port.trim_end_matches('}').parse().unwrap();
            }
            told.push(line);
        };
        // Nobody reads the rest, and a full pipe would stop the gateway.
        std::thread::spawn(move || lines.for_each(drop));
        Gateway { child, port, socket: self.path("gateway.sock") }
    }

    /// A connection of the person with this URI.
    pub async fn connect(&self, gateway: &Gateway, uri: &str) -> Channel {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = named("a person");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let port = gateway.port;
        let service = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(service).await.unwrap()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A running gateway.
pub struct Gateway {
    child: Child,
    port: u16,
    socket: PathBuf,
}

impl Gateway {
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it without warning, as a power cut does to a process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What speaks in the enclave's place.
pub struct Enclave {
    pub outgoing: mpsc::Sender<LinkRequest>,
    pub incoming: Streaming<LinkResponse>,
}

impl Enclave {
    pub async fn connect(gateway: &Gateway) -> Result<Self, tonic::Status> {
        let socket = gateway.socket().to_owned();
        let service = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://gateway").connect_with_connector(service).await;
        let mut client = GatewayEnclaveServiceClient::new(channel.expect("the socket"));
        let (outgoing, receiver) = mpsc::channel(16);
        let incoming = client.link(ReceiverStream::new(receiver)).await?.into_inner();
        let enclave = Self { outgoing, incoming };
        enclave.say(link_request::Message::Ready(Ready {})).await;
        Ok(enclave)
    }

    pub async fn say(&self, message: link_request::Message) {
        self.outgoing.send(LinkRequest { message: Some(message) }).await.unwrap();
    }

    /// The next message; None if there is none for a while.
    pub async fn hear(&mut self) -> Option<link_response::Message> {
        let message = tokio::time::timeout(Duration::from_secs(3), self.incoming.message()).await.ok()?;
        message.unwrap().unwrap().message
    }
}
