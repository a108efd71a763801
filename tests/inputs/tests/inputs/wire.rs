//! gRPC as an attacker speaks it: any certificate, any message. And the names of what comes back.

use std::sync::Arc;

use harness::TestBox;
use hyper_util::rt::TokioIo;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ED25519,
    SanType,
};
use release::key::SecretKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// A certificate and its key.
pub struct Identity {
    pub leaf: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

/// A client certificate with these URIs, changed as told before it is signed.
pub fn identity(
    issuer: &Issuer<'_, KeyPair>,
    uris: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Identity {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "a person");
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = time::OffsetDateTime::from_unix_timestamp(daemon::now_seconds()).unwrap();
    (params.not_before, params.not_after) = (now - time::Duration::hours(1), now + time::Duration::hours(1));
    change(&mut params);
    let leaf = params.signed_by(&key, issuer).unwrap().der().clone();
    Identity { leaf, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
}

/// The box's own authority: its operator could issue any of these by mistake.
pub fn authority(tested: &TestBox) -> Issuer<'static, KeyPair> {
    let read = |extension| std::fs::read_to_string(tested.stage.home.tls("ca", extension)).unwrap();
    Issuer::from_ca_cert_pem(&read("pem"), KeyPair::from_pem(&read("key")).unwrap()).unwrap()
}

/// A connection with this certificate, or with none.
pub async fn connect(
    tested: &TestBox,
    to: std::net::SocketAddr,
    identity: Option<Identity>,
) -> Result<Channel, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tested.stage.home.tls("ca", "pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match identity {
        Some(identity) => builder.with_client_auth_cert(vec![identity.leaf], identity.key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let service = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(to).await?;
            let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
            // The server's word about the certificate comes with its first bytes, or in their place.
            stream.fill_buf().await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(service).await.map_err(|error| {
        databox::client::alert(&error).map_or_else(|| error.to_string(), |alert| format!("TLS/{alert:?}"))
    })
}

/// The name of a refused call: its reason, and the rule, field or part that it is about.
pub fn name(status: &Status) -> String {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else {
        return format!("{:?}: {}", status.code(), status.message());
    };
    let field =
        details.bad_request().and_then(|bad| bad.field_violations.first()).map(|bad| bad.field.clone());
    let subject =
        details.quota_failure().and_then(|quota| quota.violations.first()).map(|quota| quota.subject.clone());
    let about = ["refusal", "certificate"].into_iter().find_map(|key| info.metadata.get(key).cloned());
    match about.or(field).or(subject) {
        Some(about) => format!("{}/{about}", info.reason),
        None => info.reason.clone(),
    }
}

/// The name of an answer that should have been a refusal.
pub fn answer_name<T>(answer: Result<T, Status>) -> String {
    answer.map_or_else(|status| name(&status), |_| "TAKEN".to_owned())
}

/// For a twin: what was said if it was not taken.
pub fn said<T>(answer: Result<T, Status>) -> Result<T, String> {
    answer.map_err(|status| name(&status))
}

/// A person's signing key.
pub fn key(tested: &TestBox, person: &str) -> SecretKey {
    let passphrase = std::fs::read_to_string(tested.stage.people().join("passphrase")).unwrap();
    packet::key::read_signing(&tested.stage.key_files(person).signing(), passphrase.trim_end()).unwrap()
}

/// A request that is well made but for its grant, for places where no request belongs.
pub fn any_request(tested: &TestBox) -> release::statement::Request {
    let files = [("databox.toml", &harness::manifest(harness::ONE_METRIC)[..]), ("job.py", "")];
    let bundle = tested.bundle("any", &files);
    let prepared = crate::wait(async { tested.bench("kim").await.prepare(&bundle).await.unwrap() });
    prepared.envelope.unverified().unwrap()
}
