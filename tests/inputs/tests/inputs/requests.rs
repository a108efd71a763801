//! Signed requests that a client of ours would not make.

use api::reason::Word as _;
use api::v1::job_service_client::JobServiceClient;
use api::v1::{CreateJobRequest, Job};
use blobs::Digest;
use databox::job::{Prepared, state};
use databox::site::SiteKind;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::key::{SecretKey, Sign, key_id};
use release::statement::{DeclaredOutput, Request};
use release::value::{Bytes, Count};
use tonic::Status;
use tonic::transport::Channel;

use crate::table::Table;
use crate::wire::{answer_name, key, said};

const GROUP: &str = "request";

/// A good request, and kim's key.
struct Like {
    prepared: Prepared,
    request: Request,
    kim: SecretKey,
    channel: Channel,
}

impl Like {
    async fn make(tested: &TestBox) -> Self {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1"))];
        let bench = tested.bench("kim").await;
        let prepared = bench.prepare(&tested.bundle("request", &files)).await.unwrap();
        bench.submit(&prepared).await.unwrap();
        let request = prepared.envelope.unverified().unwrap();
        Self { prepared, request, kim: key(tested, "kim"), channel: bench.channel() }
    }

    /// The request, changed as told, under a nonce of its own.
    fn changed(&self, nonce: u8, change: impl FnOnce(&mut Request)) -> Request {
        let mut request = self.request.clone();
        request.nonce = Bytes([nonce; 32]);
        change(&mut request);
        request
    }

    async fn hand_in(&self, envelope: &Envelope) -> Result<Job, Status> {
        self.send(envelope.to_bytes(), self.prepared.purpose.clone(), self.prepared.salt.to_vec()).await
    }

    async fn send(&self, request: Vec<u8>, purpose: String, purpose_salt: Vec<u8>) -> Result<Job, Status> {
        let request =
            CreateJobRequest { request: request.into(), purpose, purpose_salt: purpose_salt.into() };
        let mut client = JobServiceClient::new(self.channel.clone());
        Ok(client.create_job(request).await?.into_inner().job.unwrap_or_default())
    }
}

type Change = fn(&mut Request);

const CHANGES: [(&str, &str, Change); 19] = [
    ("expired", "request-time", |request| {
        (request.issued_at, request.expires) = (request.issued_at.plus(-7200), request.issued_at.plus(-3600));
    }),
    ("from the future", "request-time", |request| {
        (request.issued_at, request.expires) = (request.issued_at.plus(7200), request.issued_at.plus(9000));
    }),
    ("open for longer than a day", "request-time", |request| {
        request.expires = request.issued_at.plus(25 * 3600)
    }),
    ("for another site", "other-site", |request| request.site = "other.example".parse().unwrap()),
    ("for a grant that is not there", "request-grant", |request| {
        request.grant.id = "grant-9".parse().unwrap()
    }),
    ("for another version of its grant", "request-grant", |request| request.grant.version = Count(7)),
    ("for a grant of other content", "request-grant", |request| {
        request.grant.payload = Digest::of(b"other").into();
    }),
    ("for another project", "request-grant", |request| request.project = "other".parse().unwrap()),
    ("with an unknown snapshot", "request-data", |request| {
        request.datasets[0].tree = Digest::of(b"yesterday").into();
    }),
    ("with a dataset outside of its grant", "request-data", |request| {
        request.datasets[0].name = "other".parse().unwrap();
    }),
    ("with a dataset twice", "request-data", |request| request.datasets.push(request.datasets[0].clone())),
    ("with no dataset", "request-data", |request| request.datasets.clear()),
    ("with an unknown runtime", "request-runtime", |request| request.runtime.name = "perl".parse().unwrap()),
    ("with other bytes under a known runtime's name", "request-runtime", |request| {
        request.runtime.tree = Digest::of(b"other").into();
    }),
    ("with a zero byte in its command", "request-content", |request| request.command.push("a\0b".to_owned())),
    ("with no time to run", "request-content", |request| request.limits.seconds = Count(0)),
    ("with twin outputs", "request-content", |request| request.outputs.push(request.outputs[0].clone())),
    ("with a tensor whose size wraps", "request-content", |request| {
        request.outputs = vec![tensor(&[1 << 40, 1 << 40])];
    }),
    ("in the name of one who is no member", "request-signature", |request| {
        request.requester.id = "eve".parse().unwrap();
    }),
];

fn tensor(shape: &[u64]) -> DeclaredOutput {
    let text = format!(
        r#"{{"kind":"weights","path":"m.safetensors","tensors":[{{"name":"w","shape":{:?}}}]}}"#,
        shape.iter().map(u64::to_string).collect::<Vec<_>>()
    );
    serde_json::from_str(&text).unwrap()
}

pub async fn cases(tested: &TestBox, table: &mut Table) {
    let like = Like::make(tested).await;
    for (index, (case, expected, change)) in CHANGES.into_iter().enumerate() {
        let request = like.changed(index as u8, change);
        let envelope = Envelope::sign(&request, &[&like.kim]).unwrap();
        let found = answer_name(like.hand_in(&envelope).await);
        table.refused(GROUP, case, &format!("STATEMENT/{expected}"), &found);
    }
    signatures(tested, &like, table).await;
    forms(&like, table).await;
    in_the_enclave(tested, &like, table).await;
    table.taken(GROUP, "repeat of a request", said(like.hand_in(&like.prepared.envelope).await));
    let fresh = Envelope::sign(&like.changed(200, |_| {}), &[&like.kim]).unwrap();
    table.taken(GROUP, "new request for the same bundle", said(like.hand_in(&fresh).await));
    revoked(tested, &like, table).await;
}

async fn signatures(tested: &TestBox, like: &Like, table: &mut Table) {
    let [lee, stranger] = [key(tested, "lee"), SecretKey::generate().unwrap()];
    let mut case = async |case: &str, expected: &str, envelope: Envelope| {
        table.refused(GROUP, case, expected, &answer_name(like.hand_in(&envelope).await));
    };
    let request = like.changed(50, |_| {});
    let signed = |keys: &[&dyn Sign]| Envelope::sign(&request, keys).unwrap();
    case("signed with another's key", "STATEMENT/request-signature", signed(&[&stranger])).await;
    case("signed by nobody", "STATEMENT/signature-count", Envelope::unsigned(&request).unwrap()).await;
    case("signed by two", "STATEMENT/signature-count", signed(&[&like.kim, &lee])).await;
    let of_lee = like.changed(51, |request| {
        (request.requester.id, request.requester.key_id) = ("lee".parse().unwrap(), key_id(&lee.public()));
    });
    case("of another, rightly signed", "REQUESTER", Envelope::sign(&of_lee, &[&lee]).unwrap()).await;
}

async fn forms(like: &Like, table: &mut Table) {
    let good = Envelope::sign(&like.changed(60, |_| {}), &[&like.kim]).unwrap();
    let approval = good.to_bytes();
    let (purpose, salt) = (like.prepared.purpose.clone(), like.prepared.salt.to_vec());
    let mut case = async |case: &str, expected: &str, request: Vec<u8>, purpose: &str, salt: &[u8]| {
        let found = answer_name(like.send(request, purpose.to_owned(), salt.to_vec()).await);
        table.refused(GROUP, case, expected, &found);
    };
    case("that is no JSON", "STATEMENT/json-form", b"not a request".to_vec(), &purpose, &salt).await;
    let unknown = String::from_utf8(approval.clone()).unwrap().replacen('{', "{\"more\":\"\",", 1);
    case("with a field that nobody knows", "STATEMENT/json-form", unknown.into_bytes(), &purpose, &salt)
        .await;
    let other_type = String::from_utf8(approval.clone()).unwrap().replacen("vnd.in-toto", "vnd.other", 1);
    case("of another payload type", "STATEMENT/envelope-form", other_type.into_bytes(), &purpose, &salt)
        .await;
    case("with another purpose than it signed", "MALFORMED/purpose", good.to_bytes(), "another", &salt).await;
    case("with a short salt", "MALFORMED/purpose_salt", good.to_bytes(), &purpose, &salt[1..]).await;
    let long = "x".repeat(1 << 16);
    case("with a purpose of 64 KiB", "TOO_LARGE/purpose", good.to_bytes(), &long, &salt).await;
    let none = like.changed(61, |request| request.bundle = Digest::of(b"nothing").into());
    let none = Envelope::sign(&none, &[&like.kim]).unwrap().to_bytes();
    case("for a bundle that is not here", "BUNDLE_MISSING", none, &purpose, &salt).await;
}

/// What the gateway cannot know: nonces that were used, and accounts.
async fn in_the_enclave(tested: &TestBox, like: &Like, table: &mut Table) {
    let bench = tested.bench("kim").await;
    let mut case = async |case: &str, expected: &str, request: Request| {
        let envelope = Envelope::sign(&request, &[&like.kim]).unwrap();
        let found = match like.hand_in(&envelope).await {
            Ok(job) => {
                let job = bench.wait(&job.job, &[State::InReview], PATIENCE).await.unwrap();
                format!("{} {}", state(&job).word(), job.outcome.unwrap_or_default().reason().word())
            }
            Err(status) => crate::wire::name(&status),
        };
        table.refused(GROUP, case, expected, &found);
    };
    let replayed = like.changed(0, |request| {
        request.nonce = like.request.nonce;
        request.job = "again".parse().unwrap();
    });
    case("replayed under another name", "REFUSED REQUEST", replayed).await;
    let poor =
        tested.stage.state_as(SiteKind::Grant, "grant-2", &poor_grant(tested).await, &["ana", "ben"], None);
    poor.unwrap();
    let site = tested.bench("kim").await.site().await.unwrap();
    let grant = site.grants().find(|grant| grant.statement().project.as_str() == "poor").unwrap();
    let poor = like.changed(70, |request| {
        request.project = "poor".parse().unwrap();
        request.grant = release::site::grant_id(grant);
    });
    case("over what its grant may still answer", "REFUSED ACCOUNT", poor).await;
    let huge = like.changed(71, |request| request.outputs = vec![tensor(&[1 << 30])]);
    case("for more than the policy lets out", "REFUSED LIMITS", huge).await;
}

/// A grant that allows one bit of answers.
async fn poor_grant(tested: &TestBox) -> String {
    let site = tested.bench("kim").await.site().await.unwrap();
    let policy = &site.grants().next().unwrap().statement().policy;
    format!(
        r#"site = "demo.databox.example"
id = "grant-2"
project = "poor"
leastWall = "native"
codeReview = "none"
policy = {{ name = "{}", version = {}, file = {{ sha256 = "{}" }} }}
approvals = {{ threshold = 2, organisations = 2, supervisors = [] }}

[members]
kim = {{ public = "PEOPLE/kim.public.json" }}

[datasets.hie]
releaseBits = 1000
answerBits = 1
"#,
        policy.name, policy.version, policy.file.sha256
    )
}

async fn revoked(tested: &TestBox, like: &Like, table: &mut Table) {
    let serials = tested.bench("kim").await.site().await.unwrap();
    let serials = &serials.revocation().certificates;
    let text = format!("site = \"demo.databox.example\"\npeople = [\"lee\"]\ncertificates = {serials:?}\n");
    tested.stage.state_as(SiteKind::Revocation, "revocation-3", &text, &["ana"], None).unwrap();
    let lee = key(tested, "lee");
    let request = like.changed(80, |request| {
        (request.requester.id, request.requester.key_id) = ("lee".parse().unwrap(), key_id(&lee.public()));
    });
    let envelope = Envelope::sign(&request, &[&lee]).unwrap();
    let mut found = String::new();
    for _ in 0..200 {
        found = answer_name(like.hand_in(&envelope).await);
        if found != "REQUESTER" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    table.refused(GROUP, "of a revoked person", "STATEMENT/revoked", &found);
    let bench = databox::job::Bench::connect(tested.stage.profile("lee")).await.unwrap();
    let found = bench.jobs().await.map_or_else(|failure| failure.reason, |_| "TAKEN".to_owned());
    table.refused(GROUP, "any call of a revoked person", "REVOKED", &found);
}
