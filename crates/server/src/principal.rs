//! Who is at the other end, read from the client's certificate.
//!
//! A certificate names one person by exactly one URI, `spiffe://<site>/<role>/<id>` (SPIFFE X.509-SVID: more than one
//! URI must be refused, since two readers could pick different ones). It is transport: what counts later is the
//! signature of a key that a grant or the roles name.

use release::value::Name;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Refused;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Submits jobs and fetches releases.
    Researcher,
    /// Reviews outputs.
    Steward,
    /// Reads what auditors may read.
    Auditor,
}

/// A person at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The site that the certificate is for.
    pub site: Name,
    /// The role.
    pub role: Role,
    /// The person's id, as grants and roles name it.
    pub id: Name,
    /// The certificate's serial number in lower-case hexadecimal without leading zeros, as revocations name it.
    pub serial: String,
}

/// A person in a role, whichever of their certificates they show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Person {
    site: Name,
    role: Role,
    id: Name,
}

/// A certificate that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PrincipalError {
    /// Not an X.509 certificate, or one with an extension twice.
    #[error("the certificate cannot be read")]
    Form,
    /// An authority's own certificate is nobody's.
    #[error("the certificate is an authority's")]
    Authority,
    /// Not exactly one URI.
    #[error("the certificate has not exactly one URI")]
    UriCount,
    /// The URI is not `spiffe://<site>/<role>/<id>`.
    #[error("the URI of the certificate is not spiffe://<site>/<role>/<id>")]
    Uri,
    /// It names a person of another site.
    #[error("the certificate is for another site")]
    Site,
}

impl PrincipalError {
    /// Its name, in the metadata of the answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Authority => "authority",
            Self::UriCount => "uri-count",
            Self::Uri => "uri",
            Self::Site => "site",
        }
    }
}

impl Principal {
    /// The person whom a certificate names. The chain was verified before.
    pub fn from_certificate(der: &[u8]) -> Result<Self, PrincipalError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| PrincipalError::Form)?;
        if !rest.is_empty() {
            return Err(PrincipalError::Form);
        }
        let constraints = certificate.basic_constraints().map_err(|_| PrincipalError::Form)?;
        if constraints.is_some_and(|constraints| constraints.value.ca) {
            return Err(PrincipalError::Authority);
        }
        let names = certificate.subject_alternative_name().map_err(|_| PrincipalError::Form)?;
        let names = names.map_or(&[][..], |names| &names.value.general_names[..]);
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uri = match (uris.next(), uris.next()) {
            (Some(uri), None) => uri,
            _ => return Err(PrincipalError::UriCount),
        };
        Self::from_uri(uri, serial(certificate.raw_serial())).ok_or(PrincipalError::Uri)
    }

    /// The person, so that they are counted as one.
    pub(crate) fn person(&self) -> Person {
        Person { site: self.site.clone(), role: self.role, id: self.id.clone() }
    }

    fn from_uri(uri: &str, serial: String) -> Option<Self> {
        let mut parts = uri.strip_prefix("spiffe://")?.split('/');
        let (site, role, id) = (parts.next()?, parts.next()?, parts.next()?);
        let role = match role {
            "researcher" => Role::Researcher,
            "steward" => Role::Steward,
            "auditor" => Role::Auditor,
            _ => return None,
        };
        if parts.next().is_some() {
            return None;
        }
        Some(Self { site: site.parse().ok()?, role, id: id.parse().ok()?, serial })
    }
}

fn serial(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = text.trim_start_matches('0');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

/// Who makes this call.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, Refused> {
    request.extensions().get().cloned().ok_or(Refused::Certificate(PrincipalError::Form))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str], authority: bool) -> Result<Principal, PrincipalError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(vec![0x0a, 0xbc].into());
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.subject_alt_names.push(SanType::DnsName("desk.example".try_into().unwrap()));
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        Principal::from_certificate(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn a_certificate_names_one_person_in_one_role() {
        let ada = certificate(&["spiffe://hospital/researcher/ada"], false).unwrap();
        assert_eq!((ada.role, ada.id.as_str(), ada.site.as_str()), (Role::Researcher, "ada", "hospital"));
        assert_eq!(ada.serial, "abc");
    }

    #[test]
    fn two_uris_none_or_an_authority_name_nobody() {
        let ada = "spiffe://hospital/researcher/ada";
        let two = certificate(&[ada, "spiffe://hospital/steward/ada"], false);
        assert_eq!(two, Err(PrincipalError::UriCount));
        assert_eq!(certificate(&[ada, ada], false), Err(PrincipalError::UriCount));
        assert_eq!(certificate(&[], false), Err(PrincipalError::UriCount));
        assert_eq!(certificate(&[ada], true), Err(PrincipalError::Authority));
        assert_eq!(Principal::from_certificate(b"junk"), Err(PrincipalError::Form));
    }

    #[test]
    fn a_uri_that_is_only_nearly_right_names_nobody() {
        for uri in [
            "https://hospital/researcher/ada",
            "spiffe://hospital/operator/ada",
            "spiffe://hospital/researcher/ada/more",
            "spiffe://hospital/researcher/",
            "spiffe://hospital/researcher",
            "spiffe:///researcher/ada",
            "spiffe://hospital/researcher/..",
            "spiffe://hospital/researcher/a%64a",
            "spiffe://hospital/Researcher/ada",
        ] {
            assert_eq!(certificate(&[uri], false), Err(PrincipalError::Uri), "{uri}");
        }
    }
}
