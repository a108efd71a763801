//! A whole life of a box: every way in which a job ends that a job or a steward can bring about, restarts in between,
//! and what people were told.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::{DenialDecision, DenialReason};

use crate::canaries::Secret;

/// How many rows have a secret.
const ROWS: usize = 1000;

/// A box after its life, what it must keep to itself, and what it said.
pub struct Lived {
    pub tested: TestBox,
    pub secrets: Vec<Secret>,
    /// To whom, and what.
    pub said: Vec<(String, String)>,
}

/// Leads a box through its life.
pub fn live() -> Lived {
    let rows: Vec<String> = (0..ROWS).map(|_| token()).collect();
    let mut csv = String::from("zper,plan,visits,note\n");
    for (person, row) in rows.iter().enumerate() {
        let plan = ["free", "shared", "deductible"][person % 3];
        csv += &format!("{},{plan},{},{row}\n", 100_000 + person, person % 7);
    }
    let tested = TestBox::with_data(&csv, "zper", &["plan"]);
    let mut secrets: Vec<Secret> =
        rows.into_iter().map(|row| Secret { name: "row".to_owned(), bytes: row.into_bytes() }).collect();
    secrets.extend(keys(&tested));
    let mut lived = Lived { tested, secrets, said: Vec::new() };
    lived.jobs();
    lived
}

/// 40 letters that stand nowhere else.
fn token() -> String {
    let mut bytes = [0; 40];
    getrandom::fill(&mut bytes).expect("randomness");
    bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

impl Lived {
    fn jobs(&mut self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let honest = write_metric("0.25");
        runtime.block_on(async {
            let released = self.run("released", &honest, State::InReview).await;
            self.tested.approve("ana").await;
            self.tested.approve("ben").await;
            assert_eq!(self.tested.wait("kim", &released, State::Released).await, State::Released);
            let fetched = self.tested.directory().join("fetched");
            self.tested.shelf("kim").await.get(&released, &fetched).await.expect("its files");
            let blocked = self.run("blocked", THEFT, State::Blocked).await;
            self.open("ana", &blocked).await;
            self.run("failed", FAILURE, State::Failed).await;
            self.run("killed", SUICIDE, State::Failed).await;
            for (name, decision) in
                [("rejected", DenialDecision::Reject), ("returned", DenialDecision::Return)]
            {
                let job = self.run(name, &write_metric("0.5"), State::InReview).await;
                let opened = self.tested.opened("ben", &job).await;
                let mut desk = self.tested.desk("ben").await;
                desk.deny(&opened, decision, vec![DenialReason::TooMuch], None).await.expect("a denial");
            }
            self.call_off().await;
        });
        for room in databox::home::ROOMS {
            self.tested.stage.kill_and_restart(room).expect("a room that starts again");
        }
        runtime.block_on(async {
            // So that memory holds what rooms hold at work, not what they hold when fresh.
            self.run("after", THEFT, State::Blocked).await;
            let waiting = self.run("waiting", &honest, State::InReview).await;
            self.open("ana", &waiting).await;
        });
    }

    /// Runs a job to its end, and keeps what its requester was told.
    async fn run(&mut self, name: &str, code: &str, end: State) -> String {
        let text = manifest(ONE_METRIC);
        let bundle = self.tested.bundle(name, &[("databox.toml", &text), ("job.py", code)]);
        let job = self.tested.run_job("kim", &bundle).await;
        assert_eq!(state(&job), end, "{name}: {:?}", job.outcome);
        self.said.push((format!("what kim was told of {name}"), format!("{job:?}")));
        job.job
    }

    /// A job that its requester calls off while it runs, with rows in its memory and its files.
    async fn call_off(&mut self) {
        let text = manifest(ONE_METRIC);
        let bundle = self.tested.bundle("cancelled", &[("databox.toml", &text), ("job.py", SLOW_THEFT)]);
        let bench = self.tested.bench("lee").await;
        let prepared = bench.prepare(&bundle).await.expect("a request");
        let job = bench.submit(&prepared).await.expect("a job").job;
        bench.wait(&job, &[State::Running], harness::PATIENCE).await.expect("it runs");
        bench.cancel(&job).await.expect("a cancel");
        let ended = bench.wait(&job, &[State::Cancelled], harness::PATIENCE).await.expect("its end");
        self.said.push(("what lee was told of cancelled".to_owned(), format!("{ended:?}")));
    }

    /// What a steward's tool says of a review. (The packet itself is the steward's to read.)
    async fn open(&mut self, steward: &str, job: &str) {
        let opened = self.tested.opened(steward, job).await;
        self.said.push((format!("what {steward} read of {job}"), databox::review::words(&opened)));
    }
}

/// Every private key, from the file in which it is kept.
fn keys(tested: &TestBox) -> Vec<Secret> {
    let home = &tested.stage.home;
    let witness = tested.directory().join("witness/witness.pem");
    let mut files = vec![
        ("enclave".to_owned(), home.key("enclave")),
        ("signer".to_owned(), home.key("signer")),
        ("log".to_owned(), home.key("log")),
        ("ca".to_owned(), home.tls("ca", "key")),
        ("gateway".to_owned(), home.tls("gateway", "key")),
        ("console".to_owned(), home.tls("console", "key")),
        ("witness".to_owned(), witness),
    ];
    for person in ["kim", "lee", "ana", "ben"] {
        let people = tested.stage.people();
        files.push((format!("{person} signing"), people.join(format!("{person}.signing.pem"))));
        files.push((format!("{person} review"), people.join(format!("{person}.review.pem"))));
        files.push((format!("{person} tls"), people.join(format!("{person}.tls.key"))));
    }
    files.into_iter().map(|(name, path)| Secret { name: format!("key {name}"), bytes: key(&path) }).collect()
}

/// The 32 bytes of an Ed25519, X25519 or P-256 key: in PKCS#8 (RFC 8410, RFC 5915) they follow the octets 04 20.
fn key(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).expect("a key file");
    let der = if text.contains("ENCRYPTED") { decrypted(path) } else { decoded(&text) };
    let at = der.windows(2).position(|two| two == [0x04, 0x20]).expect("a key of 32 bytes") + 2;
    let key = der[at..at + 32].to_vec();
    assert!(key.iter().any(|byte| *byte != 0));
    key
}

/// The key of a person, by the tool that everybody has.
fn decrypted(path: &Path) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(["pkey", "-passin", "pass:demonstration", "-outform", "DER", "-in"])
        .arg(path)
        .output()
        .expect("openssl: apt install openssl");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What stands between the lines of PEM.
fn decoded(text: &str) -> Vec<u8> {
    let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(lines).expect("PEM")
}

/// Rows in the one declared output, and wherever else a job can write.
const THEFT: &str = r#"
import sys
rows = open("/data/hie/hie.csv").read()
open("/out/metrics.json", "w").write('{"value": 1, "' + rows.split("\n")[5] + '": 2}')
for place in ("/out/", "/tmp/"):
    open(place + rows.split(",")[-1].strip()[:40], "w").write(rows)
print(rows)
print(rows, file=sys.stderr)
"#;

/// Rows in the text of an error, in the name of its class and in the exit code.
const FAILURE: &str = r#"
rows = open("/data/hie/hie.csv").read().split("\n")
note = rows[7].split(",")[-1]
raise type(note, (Exception,), {})(rows[8])
"#;

/// A death by signal, with rows everywhere in memory.
const SUICIDE: &str = r#"
import os
rows = open("/data/hie/hie.csv").read()
print(rows)
os.abort()
"#;

const SLOW_THEFT: &str = r#"
import time
rows = open("/data/hie/hie.csv").read()
open("/out/metrics.json", "w").write(rows)
print(rows)
time.sleep(60)
"#;
