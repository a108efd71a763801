//! Who gets in, over real sockets: TLS 1.3, a client certificate of the box's authority with one person in it, and
//! limits that hold before anything is believed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::v1::data_service_client::DataServiceClient;
use api::v1::data_service_server::{DataService, DataServiceServer};
use api::v1::{GetSiteRequest, GetSiteResponse, ListDatasetsRequest, ListDatasetsResponse};
use daemon::Journal;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ED25519, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use server::{Connections, Gate, Limits, Listener, Principal, Refused, Role, Tls};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

#[path = "doors/age.rs"]
mod age;

/// Answers with the caller's id; sleeps for as many milliseconds as the metadata `slow` says.
struct Echo;

#[tonic::async_trait]
impl DataService for Echo {
    async fn list_datasets(
        &self,
        request: Request<ListDatasetsRequest>,
    ) -> Result<Response<ListDatasetsResponse>, Status> {
        let principal = server::principal(&request)?;
        if let Some(slow) = request.metadata().get("slow") {
            tokio::time::sleep(Duration::from_millis(slow.to_str().unwrap().parse().unwrap())).await;
        }
        let dataset = api::v1::Dataset { name: principal.id.to_string(), ..Default::default() };
        Ok(Response::new(ListDatasetsResponse { datasets: vec![dataset] }))
    }

    type GetSiteStream = tokio_stream::Pending<Result<GetSiteResponse, Status>>;

    /// Stays open, as a watched job does.
    async fn get_site(&self, _: Request<GetSiteRequest>) -> Result<Response<Self::GetSiteStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[derive(Clone)]
struct Identity(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>);

fn identity(authority: &Authority, uris: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = named("a person");
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    Identity(vec![certificate.der().clone()], Arc::new(PrivateKeyDer::try_from(key.serialize_der()).unwrap()))
}

fn ada(authority: &Authority) -> Identity {
    identity(authority, &["spiffe://hospital/researcher/ada"], ExtendedKeyUsagePurpose::ClientAuth)
}

struct Door {
    address: SocketAddr,
    authority: Authority,
    turned_away: Arc<Mutex<Option<Principal>>>,
    _directory: tempfile::TempDir,
}

async fn open(limits: Limits) -> Door {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority("the box's authority");
    let tls = server_files(directory.path(), &authority);
    let listener =
        Listener::bind("127.0.0.1:0".parse().unwrap(), &tls, limits, Journal::new("test")).await.unwrap();
    let address = listener.address().unwrap();
    let turned_away: Arc<Mutex<Option<Principal>>> = Arc::default();
    let revoked = turned_away.clone();
    let gate: Gate = Arc::new(move |principal| {
        let is_revoked = revoked.lock().unwrap().as_ref() == Some(principal);
        if principal.role == Role::Researcher && !is_revoked { Ok(()) } else { Err(Refused::Role) }
    });
    let routes = Routes::new(DataServiceServer::new(Echo));
    tokio::spawn(server::serve(
        listener,
        gate,
        routes,
        &[DataServiceServer::<Echo>::NAME],
        std::future::pending(),
    ));
    Door { address, authority, turned_away, _directory: directory }
}

fn server_files(directory: &Path, authority: &Authority) -> Tls {
    let key = KeyPair::generate().unwrap();
    let mut params = named("the box");
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Tls {
        authority: write("authority.pem", &authority.pem),
        certificate: write("room.pem", &certificate.pem()),
        key: write("room.key", &key.serialize_pem()),
    }
}

fn client_tls(authority: &Authority, identity: Option<Identity>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer_certificate()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());

    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.0, identity.1.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    tls
}

impl Authority {
    fn issuer_certificate(&self) -> CertificateDer<'static> {
        use rustls_pki_types::pem::PemObject;
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }
}

async fn connect(door: &Door, tls: rustls::ClientConfig) -> Result<Channel, tonic::transport::Error> {
    connect_from("127.0.0.1", door, tls).await
}

async fn connect_from(
    from: &'static str,
    door: &Door,
    tls: rustls::ClientConfig,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let address = door.address;
    let service = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
            let stream = socket.connect(address).await?;
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(service).await
}

async fn call(door: &Door, identity: Option<Identity>) -> Result<String, Status> {
    let channel = connect(door, client_tls(&door.authority, identity))
        .await
        .map_err(|_| Status::unavailable("no connection"))?;
    let answer = DataServiceClient::new(channel).list_datasets(ListDatasetsRequest {}).await?;
    Ok(answer.into_inner().datasets.remove(0).name)
}

#[tokio::test]
async fn a_person_with_a_certificate_of_the_box_gets_in_and_is_known_by_id() {
    let door = open(Limits::default()).await;
    assert_eq!(call(&door, Some(ada(&door.authority))).await.unwrap(), "ada");
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let door = open(Limits::default()).await;
    let ours = &door.authority;
    let uri = "spiffe://hospital/researcher/ada";
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let attempts = [
        ("no certificate", None),
        ("another authority", Some(ada(&authority("another authority")))),
        ("a name-sake of the authority", Some(ada(&authority("the box's authority")))),
        ("two people", Some(identity(ours, &[uri, "spiffe://hospital/researcher/eve"], client.clone()))),
        ("nobody", Some(identity(ours, &[], client.clone()))),
        ("an unknown role", Some(identity(ours, &["spiffe://hospital/root/ada"], client))),
        ("a server's certificate", Some(identity(ours, &[uri], ExtendedKeyUsagePurpose::ServerAuth))),
    ];
    for (what, identity) in attempts {
        assert!(call(&door, identity).await.is_err(), "{what}");
    }
    let named = [
        ("uri-count", vec![uri, "spiffe://hospital/researcher/eve"]),
        ("uri-count", vec![]),
        ("uri", vec!["spiffe://hospital/root/ada"]),
    ];
    for (name, uris) in named {
        let identity = identity(ours, &uris, ExtendedKeyUsagePurpose::ClientAuth);
        let refused = call(&door, Some(identity)).await.unwrap_err();
        let details = refused.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["certificate"].as_str()), ("CERTIFICATE", name));
    }
    assert_eq!(call(&door, Some(ada(ours))).await.unwrap(), "ada");
}

#[tokio::test]
async fn an_older_tls_is_refused() {
    let door = open(Limits::default()).await;
    // rustls is built without TLS 1.2 here unless a dependency asks for it, so the bytes are written out: a
    // ClientHello that offers 1.2 only.
    let mut hello = vec![0x16, 0x03, 0x01, 0x00, 0x31, 0x01, 0x00, 0x00, 0x2d, 0x03, 0x03];
    hello.extend([7; 32]);
    hello.extend([0x00, 0x00, 0x02, 0xc0, 0x2b, 0x01, 0x00, 0x00, 0x02, 0x00, 0x00]);
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &hello[..]).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    // A fatal alert, or nothing at all; never a ServerHello (handshake record 0x16).
    assert_ne!(answer.first(), Some(&0x16));
}

#[tokio::test]
async fn a_revocation_reaches_a_connection_that_is_open() {
    let door = open(Limits::default()).await;
    let identity = ada(&door.authority);
    let principal = Principal::from_certificate(&identity.0[0]).unwrap();
    let channel = connect(&door, client_tls(&door.authority, Some(identity))).await.unwrap();
    let mut client = DataServiceClient::new(channel);
    client.list_datasets(ListDatasetsRequest {}).await.unwrap();
    *door.turned_away.lock().unwrap() = Some(principal);
    let refused = client.list_datasets(ListDatasetsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "ROLE");
    let header = refused.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    assert_eq!(details.request_info().unwrap().request_id, header);
}

#[tokio::test]
async fn an_open_stream_of_someone_who_is_turned_away_ends_by_name_and_another_s_goes_on() {
    let door = open(Limits::default()).await;
    let uri = "spiffe://hospital/researcher/bea";
    let bea = identity(&door.authority, &[uri], ExtendedKeyUsagePurpose::ClientAuth);
    let ada = ada(&door.authority);
    let principal = Principal::from_certificate(&ada.0[0]).unwrap();
    let mut streams = Vec::new();
    for identity in [ada, bea] {
        let channel = connect(&door, client_tls(&door.authority, Some(identity))).await.unwrap();
        let mut client = DataServiceClient::new(channel);
        streams.push(client.get_site(GetSiteRequest {}).await.unwrap().into_inner());
    }
    let [of_ada, of_bea] = &mut streams[..] else { panic!("two streams") };
    *door.turned_away.lock().unwrap() = Some(principal);
    let ended = tokio::time::timeout(Duration::from_secs(60), of_ada.message()).await;
    let refused = ended.expect("the stream ends").unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "ROLE");
    assert!(tokio::time::timeout(Duration::from_secs(3), of_bea.message()).await.is_err());
}

#[tokio::test]
async fn a_deadline_is_answered_as_one_whoever_set_it() {
    let limits = Limits { call: Duration::from_millis(300), ..Limits::default() };
    let door = open(limits).await;
    let identity = ada(&door.authority);
    let channel = connect(&door, client_tls(&door.authority, Some(identity))).await.unwrap();
    for own in [None, Some(Duration::from_millis(100))] {
        let mut request = Request::new(ListDatasetsRequest {});
        request.metadata_mut().insert("slow", "20000".parse().unwrap());
        if let Some(own) = own {
            // Only the header: the client itself waits longer, so what comes back is the server's word.
            request.metadata_mut().insert("grpc-timeout", format!("{}m", own.as_millis()).parse().unwrap());
        }
        let refused = DataServiceClient::new(channel.clone()).list_datasets(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{own:?}");
    }
}

#[tokio::test]
async fn silent_connections_are_closed_and_do_not_shut_others_out() {
    let limits = Limits {
        handshake: Duration::from_millis(300),
        handshakes_per_address: 8,
        connections: Connections { in_all: 16.try_into().unwrap(), ..Connections::default() },
        ..Limits::default()
    };
    let door = open(limits).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    for stream in &mut silent {
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
        assert!(matches!(closed.unwrap(), Ok(0) | Err(_)));
    }
    assert_eq!(call(&door, Some(ada(&door.authority))).await.unwrap(), "ada");
}

#[tokio::test]
async fn an_address_has_a_limited_number_of_connections_and_another_has_its_own() {
    let connections = Connections { per_address: 2.try_into().unwrap(), ..Connections::default() };
    let door = open(Limits { connections, ..Limits::default() }).await;
    let tls = client_tls(&door.authority, Some(ada(&door.authority)));
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(connect(&door, tls.clone()).await.unwrap());
    }
    assert!(connect(&door, tls.clone()).await.is_err());
    let other = connect_from("127.0.0.2", &door, tls).await.unwrap();
    DataServiceClient::new(other).list_datasets(ListDatasetsRequest {}).await.unwrap();
}

#[tokio::test]
async fn an_address_that_begins_handshakes_too_often_has_to_wait_and_another_has_not() {
    let door = open(Limits { handshakes_begun: (3, 1), ..Limits::default() }).await;
    let tls = client_tls(&door.authority, Some(ada(&door.authority)));
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(connect(&door, tls.clone()).await.is_err());
    }
    assert!(refused > 0);
    connect_from("127.0.0.2", &door, tls.clone()).await.unwrap();
    for _ in 0..50 {
        if connect(&door, tls.clone()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("who has waited is let in");
}

#[tokio::test]
async fn a_person_has_a_limited_number_of_connections() {
    let door = open(Limits {
        connections: Connections { per_person: 2.try_into().unwrap(), ..Connections::default() },
        ..Limits::default()
    })
    .await;
    let identity = ada(&door.authority);
    let mut held = Vec::new();
    for _ in 0..2 {
        let channel = connect(&door, client_tls(&door.authority, Some(identity.clone()))).await.unwrap();
        let mut client = DataServiceClient::new(channel);
        client.list_datasets(ListDatasetsRequest {}).await.unwrap();
        held.push(client);
    }
    assert!(call(&door, Some(identity.clone())).await.is_err());
    drop(held);
    for _ in 0..50 {
        if call(&door, Some(identity.clone())).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the places were not given back");
}

#[tokio::test]
async fn reflection_tells_people_of_the_site_what_they_may_call_and_nothing_between_rooms() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest as Ask;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse as Told;

    let door = open(Limits::default()).await;
    let ask = async |identity: Identity, asked: Ask| -> Result<Told, Status> {
        let channel = connect(&door, client_tls(&door.authority, Some(identity))).await.unwrap();
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
        let answers =
            ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await?;
        Ok(answers.into_inner().message().await?.unwrap().message_response.unwrap())
    };
    let Told::ListServicesResponse(listed) =
        ask(ada(&door.authority), Ask::ListServices(String::new())).await.unwrap()
    else {
        panic!("no list")
    };
    let names: Vec<_> = listed.service.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["databox.v1.DataService"]);
    let symbol = |name: &str| Ask::FileContainingSymbol(name.to_owned());
    let told = ask(ada(&door.authority), symbol("databox.v1.DataService")).await.unwrap();
    assert!(matches!(told, Told::FileDescriptorResponse(files) if !files.file_descriptor_proto.is_empty()));
    for hidden in ["databox.internal.v1.GatewayEnclaveService", "databox.internal.v1.LinkRequest"] {
        let refused = ask(ada(&door.authority), symbol(hidden)).await;
        assert_eq!(refused.unwrap_err().code(), Code::NotFound, "{hidden}");
    }
    let nobody = identity(&door.authority, &[], ExtendedKeyUsagePurpose::ClientAuth);
    let refused = ask(nobody, Ask::ListServices(String::new())).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "CERTIFICATE");
}
