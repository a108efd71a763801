//! Who may not even ask.

use std::fs;

use api::v1::job_service_client::JobServiceClient;
use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{ListJobsRequest, ListReviewsRequest};
use databox::site::SiteKind;
use harness::TestBox;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use time::Duration;

use crate::command;
use crate::table::Table;
use crate::wire::{Identity, answer_name, authority, connect, identity, said};

const GROUP: &str = "certificate";
const KIM: &str = "spiffe://demo.databox.example/researcher/kim";
/// What the box's own authority is called.
const NAMESAKE: &str = "demo.databox.example data box authority";
const ANA: &str = "spiffe://demo.databox.example/steward/ana";

async fn at_gateway(tested: &TestBox, identity: Option<Identity>) -> Result<(), String> {
    let channel = connect(tested, tested.stage.endpoints().gateway, identity).await?;
    said(JobServiceClient::new(channel).list_jobs(ListJobsRequest::default()).await.map(drop))
}

async fn at_console(tested: &TestBox, identity: Identity) -> Result<(), String> {
    let channel = connect(tested, tested.stage.endpoints().console, Some(identity)).await?;
    said(ReviewServiceClient::new(channel).list_reviews(ListReviewsRequest::default()).await.map(drop))
}

/// An authority that is not the box's, but can have its name.
fn foreign(name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    Issuer::new(params, KeyPair::generate().unwrap())
}

fn past(params: &mut CertificateParams) {
    (params.not_before, params.not_after) =
        (params.not_before - Duration::days(2), params.not_before - Duration::days(1));
}

fn future(params: &mut CertificateParams) {
    (params.not_before, params.not_after) =
        (params.not_after + Duration::days(1), params.not_after + Duration::days(2));
}

pub async fn cases(tested: &TestBox, table: &mut Table) {
    let ours = authority(tested);
    let kim = |change: fn(&mut CertificateParams)| identity(&ours, &[KIM], change);
    let at_the_gateway = [
        ("none at all", "TLS/CertificateRequired", None),
        (
            "of another authority",
            "TLS/UnknownCA",
            Some(identity(&foreign("another authority"), &[KIM], |_| {})),
        ),
        (
            "of another authority of the same name",
            "TLS/DecryptError",
            Some(identity(&foreign(NAMESAKE), &[KIM], |_| {})),
        ),
        ("expired", "TLS/CertificateExpired", Some(kim(past))),
        ("not yet valid", "TLS/CertificateExpired", Some(kim(future))),
        (
            "a server's",
            "TLS/UnsupportedCertificate",
            Some(kim(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        ),
        (
            "an authority's own",
            "TLS/CertificateUnknown",
            Some(kim(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)))),
        ),
        ("with two people in it", "CERTIFICATE/uri-count", Some(identity(&ours, &[KIM, ANA], |_| {}))),
        ("with nobody in it", "CERTIFICATE/uri-count", Some(identity(&ours, &[], |_| {}))),
        (
            "in a role that is none",
            "CERTIFICATE/uri",
            Some(identity(&ours, &["spiffe://demo.databox.example/operator/kim"], |_| {})),
        ),
        (
            "for another site",
            "CERTIFICATE/site",
            Some(identity(&ours, &["spiffe://other.example/researcher/kim"], |_| {})),
        ),
        ("a steward's at the gateway", "ROLE", Some(identity(&ours, &[ANA], |_| {}))),
    ];
    for (case, expected, identity) in at_the_gateway {
        let found = at_gateway(tested, identity).await.err().unwrap_or("TAKEN".to_owned());
        table.refused(GROUP, case, expected, &found);
    }
    let found = at_console(tested, kim(|_| {})).await.err().unwrap_or("TAKEN".to_owned());
    table.refused(GROUP, "a researcher's at the console", "ROLE", &found);
    table.taken(GROUP, "researcher's at the gateway", at_gateway(tested, Some(kim(|_| {}))).await);
    let ana = identity(&ours, &[ANA], |_| {});
    table.taken(GROUP, "steward's at the console", at_console(tested, ana).await);
    revoked(tested, table).await;
    at_the_command_line(tested, table);
}

/// A revocation names the serial number of a certificate; the person's other certificates stay good.
async fn revoked(tested: &TestBox, table: &mut Table) {
    let ours = authority(tested);
    let lost = identity(&ours, &[KIM], |params| params.serial_number = Some(vec![0x4c, 0x05, 0x07].into()));
    let serial = server::Principal::from_certificate(&lost.leaf).unwrap().serial;
    let channel = connect(tested, tested.stage.endpoints().gateway, Some(lost)).await.unwrap();
    let mut open = JobServiceClient::new(channel);
    table.taken(
        GROUP,
        "certificate before it is revoked",
        said(open.list_jobs(ListJobsRequest::default()).await),
    );
    let text = format!("site = \"demo.databox.example\"\ncertificates = [\"{serial}\"]\n");
    tested.stage.state_as(SiteKind::Revocation, "revocation-2", &text, &["ana"], None).unwrap();
    let mut found = String::new();
    for _ in 0..200 {
        found = answer_name(open.list_jobs(ListJobsRequest::default()).await);
        if found != "TAKEN" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    table.refused(GROUP, "revoked, on a connection that stood before", "REVOKED", &found);
    let other = identity(&ours, &[KIM], |_| {});
    table.taken(GROUP, "person's other certificate", at_gateway(tested, Some(other)).await);
}

/// The command knows of its own certificate what TLS has one word for.
fn at_the_command_line(tested: &TestBox, table: &mut Table) {
    let ours = authority(tested);
    let certificate = tested.stage.key_files("lee").tls_certificate();
    let key = tested.stage.key_files("lee").tls_key();
    let kept = [&certificate, &key].map(|path| (path.clone(), fs::read(path).unwrap()));
    let profile = command::profile(tested, "lee");
    let list = || command::run(&["--profile", profile.to_str().unwrap(), "job", "ls"]);
    type Change = fn(&mut CertificateParams);
    let unchanged: Change = |_| {};
    let changes = [
        ("expired, at the command line", "CERTIFICATE_EXPIRED", past as Change, authority(tested)),
        ("not yet valid, at the command line", "CERTIFICATE_NOT_YET_VALID", future, ours),
        ("of another authority, at the command line", "CERTIFICATE_FOREIGN", unchanged, foreign(NAMESAKE)),
    ];
    for (case, expected, change, issuer) in changes {
        let identity = identity(&issuer, &["spiffe://demo.databox.example/researcher/lee"], change);
        fs::write(&certificate, pem("CERTIFICATE", &identity.leaf)).unwrap();
        fs::write(&key, pem("PRIVATE KEY", identity.key.secret_der())).unwrap();
        table.refused(GROUP, case, expected, &command::name(&list()));
    }
    fs::remove_file(&certificate).unwrap();
    table.refused(GROUP, "no file, at the command line", "CERTIFICATE", &command::name(&list()));
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
    table.taken(GROUP, "certificate at the command line", command::said(&list()));
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
