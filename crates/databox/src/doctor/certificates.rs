//! Transport certificates: the authority, and the servers that people connect to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Check;
use super::configurations::Configurations;
use crate::failure::whole;
use crate::home::Home;

const DAY: i64 = 24 * 3600;

pub fn examine(home: &Home, configurations: &Configurations) -> Vec<Check> {
    let authority = home.tls("ca", "pem");
    let mut checks = vec![told("certificate", &authority, lifetime(&authority, 90))];
    for (room, address) in configurations.listen {
        let path = home.tls(room, "pem");
        let result = lifetime(&path, 30).and_then(|found| {
            fits(&path, &authority, address.ip()).map_err(Found::Wrong)?;
            own_key(&path, &home.tls(room, "key")).map_err(Found::Wrong)?;
            Ok(found)
        });
        checks.push(told("certificate", &path, result));
    }
    checks
}

enum Found {
    Wrong(String),
    Soon(String),
}

fn told(name: &'static str, path: &Path, result: Result<String, Found>) -> Check {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let remedy =
        "make another: keep tls/ aside, and see README for how a box gets its transport certificates";
    match result {
        Ok(found) => Check::ok(name, format!("{file}: {found}")),
        Err(Found::Soon(found)) => Check::warn(name, format!("{file}: {found}"), remedy),
        Err(Found::Wrong(found)) => Check::fail(name, format!("{file}: {found}"), remedy),
    }
}

fn read(path: &Path) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_file(path).map_err(|error| whole(&error))
}

/// How long it is valid still.
fn lifetime(path: &Path, warned_days: i64) -> Result<String, Found> {
    let der = read(path).map_err(Found::Wrong)?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| Found::Wrong(whole(&error)))?;
    let now = daemon::now_seconds();
    let validity = certificate.validity();
    let left = (validity.not_after.timestamp() - now) / DAY;
    match () {
        () if validity.not_before.timestamp() > now => Err(Found::Wrong("it is not valid yet".to_owned())),
        () if validity.not_after.timestamp() <= now => {
            Err(Found::Wrong(format!("it expired {} days ago", -left)))
        }
        () if left < warned_days => Err(Found::Soon(format!("it expires in {left} days"))),
        () => Ok(format!("valid for {left} days")),
    }
}

/// Whether clients that trust the authority would accept it under the address that it listens on.
fn fits(path: &Path, authority: &Path, address: std::net::IpAddr) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(read(authority)?).map_err(|error| whole(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| whole(&error))?;
    // A wildcard address is reached under names that only the operator knows.
    let name = match address {
        address if address.is_unspecified() => {
            ServerName::try_from("localhost").map_err(|error| whole(&error))?
        }
        address => ServerName::IpAddress(address.into()),
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(daemon::now_seconds().max(0) as u64));
    verifier.verify_server_cert(&read(path)?, &[], &name, &[], now).map(drop).map_err(|error| whole(&error))
}

fn own_key(path: &Path, key: &Path) -> Result<(), String> {
    let pem = zeroize::Zeroizing::new(
        std::fs::read_to_string(key).map_err(|error| format!("its key cannot be read: {error}"))?,
    );
    let pair =
        rcgen::KeyPair::from_pem(&pem).map_err(|error| format!("its key is none: {}", whole(&error)))?;
    let der = read(path)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|error| whole(&error))?;
    let same = certificate.public_key().raw == rcgen::PublicKeyData::subject_public_key_info(&pair);
    if same { Ok(()) } else { Err(format!("{} is the key of another certificate", key.display())) }
}
