//! TLS 1.3 with a certificate on both sides, and nothing that outlives a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

/// Files of the transport, PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authority that clients' certificates must come from.
    pub authority: PathBuf,
    /// The room's own certificate, with its chain.
    pub certificate: PathBuf,
    /// The room's own key, PKCS#8.
    pub key: PathBuf,
}

/// Transport files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{path} cannot be read as PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The authority's certificate is not accepted.
    #[error("the authority's certificate is not accepted")]
    Authority(#[source] rustls::server::VerifierBuilderError),
    /// Certificate and key are not accepted.
    #[error("the transport certificate or key is not accepted")]
    NotAccepted(#[from] rustls::Error),
}

impl Tls {
    pub(crate) fn configuration(&self) -> Result<ServerConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(TlsError::Authority)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::Pem { path: self.key.clone(), source })?;
        let mut configuration = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates(&self.certificate)?, key)?;
        configuration.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session brings back the client's chain without checking it again, past expiry and revocation.
        configuration.send_tls13_tickets = 0;
        configuration.session_storage = Arc::new(NoServerSessionStorage {});
        configuration.max_early_data_size = 0;
        Ok(configuration)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() { Err(failed(rustls_pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}
