//! The connection to a gateway or console: gRPC over TLS 1.3, both sides with a certificate.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use crate::certificate;
use crate::failure::{Exit, Failure, file_failure, whole};
use crate::profile::Profile;
use crate::review::printable;

/// Largest message either way, in bytes.
pub const MESSAGE_LIMIT: usize = 2 << 20;

/// How a person gets a certificate.
const ISSUE: &str = "the operator's `databox cert issue` makes one from your NAME.tls.csr, valid for 24 hours; \
    the machine's clock must be right, too";

/// Connects as the profile says.
pub async fn connect(profile: &Profile) -> Result<Channel, Failure> {
    let address = profile.endpoint.strip_prefix("https://").ok_or_else(|| {
        Failure::new("ENDPOINT", format!("{} is not an address", profile.endpoint))
            .hint("write https://HOST:PORT in the profile")
            .exit(Exit::Usage)
    })?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    let server = ServerName::try_from(host).map_err(|error| Failure::new("ENDPOINT", whole(&error)))?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(tls(profile)?));
    let target = address.to_owned();
    let connector = tower::service_fn(move |_| {
        let (tls, server, target) = (tls.clone(), server.clone(), target.clone());
        async move {
            let stream = TcpStream::connect(&target).await?;
            stream.set_nodelay(true)?;
            begun(tls.connect(server, stream).await?).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Failure::new("ENDPOINT", whole(&error)))?
        .connect_timeout(Duration::from_secs(10));
    endpoint.connect_with_connector(connector).await.map_err(|error| {
        if let Some(failure) = alerted(&error).or_else(|| distrusted(&error)) {
            return failure;
        }
        if find::<NoPlace>(&error).is_some() {
            return cut();
        }
        Failure::new("UNAVAILABLE", format!("{} does not answer: {}", profile.endpoint, whole(&error)))
            .hint("is the box up, and is your certificate still valid (24 hours)? `databox cert issue` makes a new one")
            .exit(Exit::Unavailable)
    })
}

fn tls(profile: &Profile) -> Result<ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    let owner = "`authority` in the profile names the box's tls/ca.pem, which its operator hands out";
    for certificate in certificates(&profile.authority, owner)? {
        roots.add(certificate).map_err(file_failure(&profile.authority))?;
    }
    let files = profile.key_files();
    let chain = certificates(&files.tls_certificate(), ISSUE)?;
    in_force(&files.tls_certificate(), &chain)?;
    let key = PrivateKeyDer::from_pem_file(files.tls_key())
        .map_err(|error| Failure::new("FILE", format!("{}: {error}", files.tls_key().display())))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::new("TLS", whole(&error)))?;
    let mut config = builder
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| Failure::new("TLS", whole(&error)))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Says by name, before anything is sent, that one's own certificate is not valid now.
fn in_force(path: &std::path::Path, chain: &[CertificateDer<'_>]) -> Result<(), Failure> {
    let Some(leaf) = chain.first() else {
        return Err(Failure::new("CERTIFICATE", format!("{} holds no certificate", path.display()))
            .hint(ISSUE)
            .exit(Exit::NotSignedIn));
    };
    let validity = certificate::validity(leaf)?;
    let now = daemon::now_seconds();
    let (reason, text) = match now {
        now if now >= validity.end => ("CERTIFICATE_EXPIRED", "your certificate has expired"),
        now if now < validity.start => ("CERTIFICATE_NOT_YET_VALID", "your certificate is not valid yet"),
        _ => return Ok(()),
    };
    Err(Failure::new(reason, format!("{}: {text}", path.display())).hint(ISSUE).exit(Exit::NotSignedIn))
}

fn certificates(path: &std::path::Path, hint: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failure = |error: rustls_pki_types::pem::Error| {
        Failure::new("CERTIFICATE", format!("{}: {error}", path.display())).hint(hint).exit(Exit::NotSignedIn)
    };
    CertificateDer::pem_file_iter(path).map_err(failure)?.collect::<Result<_, _>>().map_err(failure)
}

/// Waits for the server's first bytes, its HTTP/2 settings (RFC 9113, section 3.4). With TLS 1.3 a server looks at the
/// client's certificate after the client believes that the connection stands: what it thinks of it arrives here.
async fn begun(mut stream: TlsStream<TcpStream>) -> io::Result<TlsStream<TcpStream>> {
    let begun = match tokio::time::timeout(Duration::from_secs(10), stream.fill_buf()).await {
        Ok(begun) => begun?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    if is_turned_away(begun) { Err(io::Error::other(NoPlace)) } else { Ok(stream) }
}

/// The server ended the connection with its first words.
#[derive(Debug, thiserror::Error)]
#[error("the box has no place for this connection")]
struct NoPlace;

/// True for empty settings and a GOAWAY behind them. It is looked at here, because calls on a connection that ends
/// while they begin fail in one way or another.
fn is_turned_away(begun: &[u8]) -> bool {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    begun.strip_prefix(&SETTINGS).and_then(|next| next.get(3)) == Some(&GOAWAY)
}

/// What a server's TLS alert about the client's certificate means (RFC 8446, section 6.2), if an error holds one.
pub fn alert(error: &(dyn Error + 'static)) -> Option<rustls::AlertDescription> {
    match find::<rustls::Error>(error) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

/// An error of this type among the causes of another, also where one of the machine's errors is around it.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = error.downcast_ref().or_else(|| inner?.downcast_ref()) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn alerted(error: &(dyn Error + 'static)) -> Option<Failure> {
    alert(error).map(of_alert)
}

fn of_alert(alert: rustls::AlertDescription) -> Failure {
    use rustls::AlertDescription as Alert;
    let (reason, text) = match alert {
        Alert::CertificateRequired => {
            ("CERTIFICATE_MISSING", "the box wants a certificate, and none was shown")
        }
        Alert::CertificateExpired => {
            ("CERTIFICATE_EXPIRED", "by the box's clock your certificate is not valid now")
        }
        // An authority of the same name and another key: its signature does not verify.
        Alert::UnknownCA | Alert::DecryptError => {
            ("CERTIFICATE_FOREIGN", "your certificate is not from this box's authority")
        }
        Alert::UnsupportedCertificate => ("CERTIFICATE_USE", "your certificate is not one for a person"),
        _ => ("CERTIFICATE", "the box does not accept your certificate"),
    };
    Failure::new(reason, text).hint(ISSUE).exit(Exit::NotSignedIn)
}

/// The box's own certificate is not accepted here. Nothing was sent to it.
fn distrusted(error: &(dyn Error + 'static)) -> Option<Failure> {
    let Some(rustls::Error::InvalidCertificate(why)) = find::<rustls::Error>(error) else { return None };
    use rustls::CertificateError as Why;
    let (text, hint) = match why {
        Why::UnknownIssuer | Why::BadSignature => (
            "who answers has no certificate from the authority in your profile",
            "`authority` in the profile must be this box's tls/ca.pem, and `endpoint` its address",
        ),
        Why::NotValidForName | Why::NotValidForNameContext { .. } => (
            "the certificate of who answers names another host",
            "`endpoint` in the profile must name the host as the box's certificate does",
        ),
        _ => (
            "the box's certificate is not valid now",
            "its operator renews it; is this machine's clock right?",
        ),
    };
    Some(Failure::new("BOX_CERTIFICATE", text).hint(hint).exit(Exit::NotSignedIn))
}

/// A GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, section 7): the room ended the connection, not the call.
fn cut() -> Failure {
    Failure::new("QUOTA", "the box ended the connection")
        .hint("you have too many connections at the same time, or a program sends too many frames without a call")
        .exit(Exit::Denied)
}

/// A box's answer that says no, as a failure with the same reason word.
pub fn refused(status: Status) -> Failure {
    if status.code() == tonic::Code::Unimplemented {
        return Failure::new("OTHER_ROOM", "this room does not answer such a question")
            .hint("`endpoint` in the profile: researchers call the gateway, stewards the console")
            .exit(Exit::Usage);
    }
    let details = status.get_error_details();
    if status.code() == tonic::Code::ResourceExhausted && details.error_info().is_none() {
        return cut();
    }
    // The room may be of another mind: what it says reaches a terminal.
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let reason = details.error_info().map(|info| info.reason.clone()).filter(|reason| is_word(reason));
    let exit = match status.code() {
        tonic::Code::PermissionDenied | tonic::Code::FailedPrecondition | tonic::Code::ResourceExhausted => {
            Exit::Denied
        }
        tonic::Code::Unauthenticated => Exit::NotSignedIn,
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => Exit::Unavailable,
        // Without a reason it is not the gateway's word, but a line that broke.
        tonic::Code::Unknown | tonic::Code::Cancelled if reason.is_none() => Exit::Unavailable,
        tonic::Code::Aborted | tonic::Code::AlreadyExists => Exit::Conflict,
        _ => Exit::Failure,
    };
    let reason = reason.unwrap_or_else(|| format!("{:?}", status.code()).to_uppercase());
    let mut failure = Failure::new(&reason, printable(status.message())).exit(exit);
    let about = details.error_info().map(|info| &info.metadata);
    if let Some(rule) = about.and_then(|about| about.get("refusal").or_else(|| about.get("certificate"))) {
        failure.text = format!("{} ({})", failure.text, printable(rule));
    }
    if let Some(request) = details.request_info() {
        let advice =
            format!("{}; request {} in the box's journal", failure.advice(), printable(&request.request_id));
        failure = failure.hint(advice);
    }
    failure
}
