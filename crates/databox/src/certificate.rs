//! Transport certificates: the box's own authority, server certificates, and client certificates for people.
//!
//! They say who is at the other end of a connection, and nothing more: what counts is the signature of a key that
//! roles or a grant name. The authority and servers have ECDSA P-256 keys, since some gRPC clients refuse an Ed25519
//! server; people's keys are Ed25519. A person's certificate has exactly one URI name,
//! `spiffe://<site>/<role>/<id>` (SPIFFE X.509-SVID), and is valid for 24 hours unless told otherwise.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use release::key::SecretKey;
use release::value::Name;

use crate::failure::{Exit, Failure, file_failure, whole};
use crate::home::Home;

/// The role that a certificate is for. It must match the service called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CertificateRole {
    /// May call the gateway.
    Researcher,
    /// May call the console.
    Steward,
    /// May read what auditors may read.
    Auditor,
}

impl CertificateRole {
    fn word(self) -> &'static str {
        match self {
            Self::Researcher => "researcher",
            Self::Steward => "steward",
            Self::Auditor => "auditor",
        }
    }
}

fn certificate_failure(error: rcgen::Error) -> Failure {
    Failure::new("CERTIFICATE", whole(&error))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    blobs::write_new_file_durably(path, text.as_bytes(), mode).map_err(file_failure(path))
}

fn named(common_name: &str) -> DistinguishedName {
    // Authority and leaf need different names: some clients take equal ones for a self-signed certificate.
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Makes the authority of a new home.
pub fn make_authority(home: &Home, site: &Name) -> Result<(), Failure> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate_failure)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("{site} data box authority"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = from_now(3650 * 24);
    let certificate = params.self_signed(&key).map_err(certificate_failure)?;
    write_new(&home.tls("ca", "key"), &key.serialize_pem(), 0o600)?;
    write_new(&home.tls("ca", "pem"), &certificate.pem(), 0o644)
}

fn authority(home: &Home) -> Result<Issuer<'static, KeyPair>, Failure> {
    let (key, certificate) = (home.tls("ca", "key"), home.tls("ca", "pem"));
    let key_pem = std::fs::read_to_string(&key).map_err(file_failure(&key))?;
    let certificate_pem = std::fs::read_to_string(&certificate).map_err(file_failure(&certificate))?;
    let key = KeyPair::from_pem(&key_pem).map_err(certificate_failure)?;
    Issuer::from_ca_cert_pem(&certificate_pem, key).map_err(certificate_failure)
}

/// Makes the server certificate of a room that listens on a network.
pub fn make_server(home: &Home, room: &str, names: &[String]) -> Result<(), Failure> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate_failure)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(certificate_failure)?;
    params.distinguished_name = named(&format!("data box {room}"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = from_now(365 * 24);
    let certificate = params.signed_by(&key, &authority(home)?).map_err(certificate_failure)?;
    write_new(&home.tls(room, "key"), &key.serialize_pem(), 0o600)?;
    write_new(&home.tls(room, "pem"), &certificate.pem(), 0o644)
}

/// Makes a person's own transport key and a certificate request for it.
pub fn make_request(key_path: &Path, request_path: &Path, id: &Name) -> Result<(), Failure> {
    // In the version of PKCS#8 without the public key (RFC 8410 section 7): OpenSSL, gRPC's own TLS and Python's
    // `cryptography` do not read the other, which `KeyPair` writes.
    let secret = SecretKey::generate().map_err(|error| Failure::new("RANDOM", whole(&error)))?;
    let pem = secret.to_pkcs8_pem();
    let key = KeyPair::from_pem(&pem).map_err(certificate_failure)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(id.as_str());
    let request = params.serialize_request(&key).map_err(certificate_failure)?;
    write_new(key_path, &pem, 0o600)?;
    write_new(request_path, &request.pem().map_err(certificate_failure)?, 0o644)
}

/// Issues a client certificate for a request. Everything but the public key comes from the operator; a request that
/// names someone else is refused, so that mixed-up files do not let one person in as another.
pub fn issue(
    home: &Home,
    site: &Name,
    request_pem: &str,
    role: CertificateRole,
    id: &Name,
    hours: i64,
) -> Result<String, Failure> {
    let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(|_| {
        Failure::new("CERTIFICATE_REQUEST", "the file is not a certificate request")
            .hint("`databox key new` writes one, NAME.tls.csr, beside the keys")
    })?;
    check_names(&request.params.distinguished_name, id)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("{} {id}", role.word()));
    let uri = format!("spiffe://{site}/{}/{id}", role.word());
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().map_err(certificate_failure)?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(new_serial()?);
    (params.not_before, params.not_after) = from_now(hours);
    let certificate =
        params.signed_by(&request.public_key, &authority(home)?).map_err(certificate_failure)?;
    Ok(certificate.pem())
}

/// A serial number that no other certificate has: 16 random octets (RFC 5280 section 4.1.2.2). Without one it would
/// follow from the key, and whoever had one certificate revoked could never have another for that key.
fn new_serial() -> Result<SerialNumber, Failure> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|error| Failure::new("CERTIFICATE", whole(&error)))?;
    // Positive, and not zero.
    octets[0] = octets[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

/// The serial number of a certificate (PEM), as revocations name it.
pub fn serial(path: &Path) -> Result<String, Failure> {
    use rustls_pki_types::pem::PemObject;
    let der = rustls_pki_types::CertificateDer::from_pem_file(path).map_err(file_failure(path))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(file_failure(path))?;
    // As RFC 5280 section 4.1.2.2 counts: the number, without the zero that DER puts before a high bit.
    let text: String = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    let text = text.trim_start_matches('0');
    Ok(if text.is_empty() { "0" } else { text }.to_owned())
}

fn check_names(subject: &DistinguishedName, id: &Name) -> Result<(), Failure> {
    let named = match subject.get(&DnType::CommonName) {
        Some(DnValue::Utf8String(text)) => Some(text.as_str()),
        Some(DnValue::PrintableString(text)) => Some(text.as_str()),
        _ => None,
    };
    if named == Some(id.as_str()) {
        return Ok(());
    }
    let named = named.map_or("nobody".to_owned(), |named| named.escape_debug().to_string());
    Err(Failure::new("CERTIFICATE_REQUEST", format!("the request names {named}, not {id}"))
        .hint(
            "ask for the request that `databox key new` wrote for this person, or give the id that it names",
        )
        .exit(Exit::Denied))
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub start: i64,
    /// The second after the last.
    pub end: i64,
}

/// Reads from when to when a certificate (DER) is valid.
pub fn validity(der: &[u8]) -> Result<Validity, Failure> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|_| Failure::new("CERTIFICATE", "the certificate cannot be read"))?;
    let validity = certificate.validity();
    // RFC 5280, section 4.1.2.5: the last second counts.
    Ok(Validity { start: validity.not_before.timestamp(), end: validity.not_after.timestamp() + 1 })
}

fn from_now(hours: i64) -> (time::OffsetDateTime, time::OffsetDateTime) {
    let now = time::OffsetDateTime::from_unix_timestamp(daemon::now_seconds())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    // Five minutes back, for clocks that are late.
    (now - time::Duration::minutes(5), now + time::Duration::hours(hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_a_certificate_for_the_person_whom_it_names_and_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("home"));
        std::fs::create_dir_all(home.tls("ca", "key").parent().unwrap()).unwrap();
        let site: Name = "example-hospital".parse().unwrap();
        make_authority(&home, &site).unwrap();
        let (ana, ben): (Name, Name) = ("ana".parse().unwrap(), "ben".parse().unwrap());
        let request = directory.path().join("ana.tls.csr");
        make_request(&directory.path().join("ana.tls.key"), &request, &ana).unwrap();
        let request = std::fs::read_to_string(request).unwrap();
        let other = issue(&home, &site, &request, CertificateRole::Steward, &ana, 24).unwrap();
        let issued = |id: &Name| issue(&home, &site, &request, CertificateRole::Steward, id, 24);
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("one.pem"), issued(&ana).unwrap()).unwrap();
        std::fs::write(path("other.pem"), other).unwrap();
        assert_ne!(serial(&path("one.pem")).unwrap(), serial(&path("other.pem")).unwrap());
        assert_eq!(issued(&ben).unwrap_err().reason, "CERTIFICATE_REQUEST");
    }
}
