//! An enclave that was taken over has the data. The gateway serves nothing that it lays into the outbox by itself, and
//! believes no move of a job that is not in the table.

use std::path::Path;

use blobs::{BlobStore, Digest};
use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::file::ReleaseFile;
use release::key::SecretKey;
use release::statement::Manifest;
use release::value::Count;

use crate::held::approve;
use crate::{Liar, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-enclave");

async fn job_in_review(tested: &TestBox, name: &str, value: &str) -> String {
    let bundle =
        tested.bundle(name, &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric(value))]);
    let job = tested.run_job("kim", &bundle).await;
    assert_eq!(state(&job), State::InReview);
    job.job
}

/// The release with the rows in the place of its file, signed with the one key that an enclave has.
fn made_up(tested: &TestBox, genuine: &[u8], rows: &[u8]) -> Vec<u8> {
    let mut file = ReleaseFile::parse(genuine).unwrap();
    let mut manifest: Manifest = file.manifest.unverified().unwrap();
    manifest.files[0].sha256 = Digest::of(rows);
    manifest.files[0].bytes = Count(rows.len() as u64);
    let key = std::fs::read_to_string(tested.stage.home.key("enclave")).unwrap();
    let key = SecretKey::from_pkcs8_pem(&key).unwrap();
    file.manifest = Envelope::sign(&manifest, &[&key]).unwrap();
    file.to_bytes()
}

fn file_of(release_file: &[u8]) -> Digest {
    let file = ReleaseFile::parse(release_file).unwrap();
    file.manifest.unverified::<Manifest>().unwrap().files[0].sha256
}

async fn state_of(tested: &TestBox, job: &str) -> State {
    state(&tested.bench("kim").await.job(job).await.unwrap())
}

async fn get(tested: &TestBox, job: &str, out: &str) -> Result<Vec<u8>, String> {
    let out = tested.directory().join(out);
    match tested.shelf("kim").await.get(job, &out).await {
        Ok(_) => Ok(std::fs::read(out.join("metrics.json")).unwrap()),
        Err(failure) => Err(failure.reason),
    }
}

#[test]
fn what_a_lying_enclave_lays_into_the_outbox_is_not_served_and_moves_off_the_table_are_not_believed() {
    let mut tested = TestBox::start_with_users();
    let (released, before, waiting) = wait(async {
        let released = job_in_review(&tested, "released", "1").await;
        let before = approve(&tested, &released).await;
        assert_eq!(tested.wait("kim", &released, State::Released).await, State::Released);
        assert_eq!(get(&tested, &released, "first").await.unwrap(), b"{\"value\":1}\n");
        (released, before, job_in_review(&tested, "waiting", "2").await)
    });
    tested.stage.rooms().kill("enclave");
    // The stewards' consent is there, the true release too; only the enclave is not what it was.
    let (genuine, submitted) = wait(async {
        let genuine = approve(&tested, &waiting).await;
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("3"))];
        let bench = tested.bench("kim").await;
        let prepared = bench.prepare(&tested.bundle("submitted", &files)).await.unwrap();
        (genuine, bench.submit(&prepared).await.unwrap().job)
    });

    let rows = std::fs::read(tested.directory().join("data/hie.csv")).unwrap();
    let outbox = tested.stage.home.join("hand-over/enclave-to-gateway");
    let names = lay(&tested, &outbox, &genuine, &before, &rows);
    let script = script(&names, [&waiting, &submitted, &released]);
    let socket = tested.stage.home.join("run/gateway/gateway.sock").display().to_string();
    let mut arguments = vec!["gateway".to_owned(), socket];
    arguments.extend(script);
    let liar = Liar::start(&tested, "enclave", PROGRAM, "enclave", &arguments);
    // The gateway takes one message after the other, and this is the last.
    let fence = format!("transition-taken {submitted} 1");
    let heard = liar.until("the answer to a true report", |heard| heard.contains(&fence));
    let acknowledged: Vec<_> = heard.iter().filter(|line| *line != "submit").collect();
    // The release that was taken before the enclave was taken over is acknowledged again, and changes nothing.
    assert_eq!(acknowledged, [&format!("release-taken {}", names.before), &fence]);
    wait(async {
        assert_eq!(state_of(&tested, &waiting).await, State::InReview);
        assert_eq!(get(&tested, &waiting, "stolen").await, Err("NOT_FOUND".to_owned()));
        assert_eq!(state_of(&tested, &released).await, State::Released);
        assert_eq!(get(&tested, &released, "again").await.unwrap(), b"{\"value\":1}\n");
    });
    drop(liar);
    for kept in std::fs::read_dir(tested.stage.home.join("gateway/served")).unwrap().flatten() {
        let bytes = std::fs::read(kept.path()).unwrap();
        let row = bytes.windows(8).any(|window| window == b"patient-");
        assert!(!row, "the room that faces the network keeps a row, served or not");
    }

    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "enclave").unwrap();
    wait(async {
        assert_eq!(tested.wait("kim", &waiting, State::Released).await, State::Released);
        assert_eq!(get(&tested, &waiting, "second").await.unwrap(), b"{\"value\":2}\n");
    });
}

/// Release files of the outbox, by their digests.
struct Names {
    /// The rows themselves.
    rows: Digest,
    /// A release that nobody signed.
    made_up: Digest,
    /// A true release, whose file was replaced.
    genuine: Digest,
    /// The true release of another job.
    before: Digest,
}

fn lay(tested: &TestBox, outbox: &Path, genuine: &[u8], before: &[u8], rows: &[u8]) -> Names {
    let store = BlobStore::open(outbox, 0o640).unwrap();
    let names = Names {
        rows: store.put(rows).unwrap(),
        made_up: store.put(&made_up(tested, genuine, rows)).unwrap(),
        genuine: store.put(genuine).unwrap(),
        before: store.put(before).unwrap(),
    };
    store.put(&std::fs::read(tested.directory().join("first/metrics.json")).unwrap()).unwrap();
    std::fs::write(outbox.join(file_of(genuine).to_string()), rows).unwrap();
    names
}

fn script(names: &Names, [waiting, submitted, released]: [&str; 3]) -> Vec<String> {
    let Names { rows, made_up, genuine, before } = names;
    let mut script = Vec::new();
    for move_off_the_table in ["RELEASED", "RUNNING", "QUEUED", "SUBMITTED", "IN_REVIEW", "BLOCKED", "FAILED"]
    {
        script.push(format!("transition:{waiting}:3:1:{move_off_the_table}"));
    }
    for not_yet_answered in ["QUEUED", "RUNNING", "IN_REVIEW", "APPROVED", "RELEASED"] {
        script.push(format!("transition:{submitted}:1:1:{not_yet_answered}"));
    }
    // Numbers without a gap, steps that rise, and no answer that differs from the first.
    script.push(format!("transition:{waiting}:4:1:CANCELLED"));
    script.push(format!("transition:{waiting}:3:1:CANCELLED:-86400"));
    script.push(format!("answer:{waiting}:REASON_GRANT"));
    script.push(format!("answer:{released}:REASON_GRANT"));
    script.push("ready".to_owned());
    // That cancels were taken which nobody signed.
    for job in [waiting, submitted, released, waiting] {
        script.push(format!("cancel-taken:{job}"));
    }
    // What came before cannot be said differently, and nothing can be said about nobody's job.
    script.push(format!("transition:{waiting}:2:1:RELEASED"));
    script.push(format!("transition:{rows}:1:1:RUNNING"));
    for job in [waiting, submitted, released] {
        for file in [rows, made_up] {
            script.push(format!("release:{job}:{file}"));
        }
    }
    script.push(format!("release:{waiting}:{genuine}"));
    script.push(format!("release:{submitted}:{genuine}"));
    script.push(format!("release:{waiting}:{before}"));
    script.push(format!("answer:{submitted}"));
    script.push(format!("answer:{submitted}:REASON_GRANT"));
    script.push(format!("release:{submitted}:{made_up}"));
    // Numbers past their bounds, which would be room for rows; the same move without them is taken.
    for numbers in ["99:1:1", "0:1:1", "-1:1:1", "10:1024:1", "10:1:16384", "10:1:4294967295"] {
        script.push(format!("failure:{submitted}:{numbers}"));
    }
    for numbers in ["8:0", "0:8", "4294967295:4294967295"] {
        script.push(format!("used:{submitted}:{numbers}"));
    }
    script.push(format!("transition:{submitted}:1:1:RUNNING"));
    script
}
