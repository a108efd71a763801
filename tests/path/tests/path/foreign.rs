//! The witness protocol with somebody else's programs on the other side: a witness and a log in `foreign/`, in Python's
//! standard library and the `openssl` command, written from the specifications of C2SP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use harness::TestBox;
use lifecycle::State;
use release::statement::Witness;

use crate::roles::renew;
use crate::site_changes::{approve, console_has, in_review, site, until};
use crate::wait;

fn python(script: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/path/foreign").join(script);
    // No byte code beside the sources.
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-B").arg(script).stdin(Stdio::null());
    command
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The witness in Python, alone named by the roles of a box in the place of the box's own.
struct ForeignWitness {
    directory: PathBuf,
    _process: Running,
}

impl ForeignWitness {
    /// Starts it, and gives it and its entry in roles.
    fn start(tested: &TestBox, address: SocketAddr) -> (Self, Witness) {
        let directory = tested.directory().join("foreign-witness");
        std::fs::create_dir(&directory).unwrap();
        let log = site(tested).roles().log.clone();
        let mut command = python("witness.py");
        command.arg(&directory).arg(address.port().to_string()).arg(&log.origin).arg(log.public.to_string());
        let said = directory.join("said");
        let mut process = Running(command.stdout(std::fs::File::create(&said).unwrap()).spawn().unwrap());
        let line = wait(until("the witness's key", async || {
            assert!(process.0.try_wait().unwrap().is_none(), "the witness ended");
            let text = std::fs::read_to_string(&said).unwrap();
            text.split_once('\n').map(|(first, _)| first.to_owned())
        }));
        let (name, public) = line.split_once(' ').unwrap();
        let (name, public) = (name.to_owned(), public.parse().unwrap());
        (Self { directory, _process: process }, Witness { name, public, on_box_machine: false })
    }

    /// Starts it on the port of the box's own witness, which ends, and has roles and console name it.
    fn instead_of_own(tested: &mut TestBox) -> Self {
        tested.stage.kill_witness();
        let address = tested.stage.endpoints().witness;
        let (started, witness) = Self::start(tested, address);
        renew(tested, |roles| roles.witnesses = vec![witness]);
        ask_instead_of_own(tested, &format!("\"http://{address}/submit\""));
        wait(console_has(tested, "ben", |site| site.roles().version.0 == 2));
        started
    }

    fn be(&self, how: &str) {
        std::fs::write(self.directory.join("how"), how).unwrap();
    }

    /// What it answered, a line a request.
    fn said(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("said")).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    }
}

/// Has the console ask witnesses at these addresses in the place of the box's own.
fn ask_instead_of_own(tested: &mut TestBox, addresses: &str) {
    let console = tested.stage.home.configuration("console");
    let text = std::fs::read_to_string(&console).unwrap();
    let own = format!("\"http://{}\"", tested.stage.endpoints().witness);
    assert!(text.contains(&own), "{text}");
    std::fs::write(&console, text.replace(&own, addresses)).unwrap();
    tested.stage.kill_and_restart("console").unwrap();
}

/// As an auditor does who counts no witness on the box's machine.
fn verify(tested: &TestBox, file: &Path) -> Output {
    let mut verify = Command::new(harness::programs().join("databox-verify"));
    verify.arg(file).arg("--files").arg(file.parent().unwrap());
    verify.args(["--roles", &tested.stage.pin.to_string()]).output().unwrap()
}

#[test]
fn a_witness_in_python_cosigns_releases_that_the_verifier_accepts() {
    let mut tested = TestBox::start();
    let witness = ForeignWitness::instead_of_own(&mut tested);
    wait(async {
        for (name, value) in [("one", "1"), ("two", "2")] {
            let job = in_review(&tested, name, value).await;
            approve(&tested, "ana", &job).await.unwrap();
            approve(&tested, "ben", &job).await.unwrap();
            assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
            let file = tested.shelf("kim").await.get(&job, &tested.directory().join(name)).await.unwrap();
            let verified = verify(&tested, &file);
            let told = String::from_utf8_lossy(&verified.stdout);
            assert!(verified.status.success() && told.contains("VERIFIED"), "{told}");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains("python.example/witness"), "the release is under its cosignature");
        }
    });
    let said = witness.said();
    assert!(said.iter().any(|line| line == "refused 409"), "the console learned the size: {said:?}");
    let proven = |line: &String| {
        let words: Vec<_> = line.split(' ').collect();
        matches!(words[..], ["honest", old, hashes, _] if old != "0" && hashes != "0")
    };
    assert!(said.iter().any(proven), "and proved that the log only grew: {said:?}");
}

#[test]
fn nothing_is_released_on_a_foreign_witness_that_signs_another_size_or_with_another_key() {
    let mut tested = TestBox::start();
    let witness = ForeignWitness::instead_of_own(&mut tested);
    wait(async {
        witness.be("other-key");
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        let opened = tested.opened("ben", &job).await;
        // The last approval is answered once the log has the release; nobody waits for that here.
        let patience = std::time::Duration::from_secs(2);
        let _ = tokio::time::timeout(patience, tested.desk("ben").await.approve(&opened)).await;
        for how in ["other-key", "other-size"] {
            witness.be(how);
            let (asked, refused) = (count(&witness, how), refusals(&tested));
            let twice = format!("a second question to the witness that is {how}");
            until(&twice, async || (count(&witness, how) > asked + 1).then_some(())).await;
            until("the signer's refusal", async || (refusals(&tested) > refused).then_some(())).await;
            let found = databox::job::state(&tested.bench("kim").await.job(&job).await.unwrap());
            assert_eq!(found, State::InReview, "{how}");
            let released = tested.stage.home.join("public/releases");
            assert_eq!(std::fs::read_dir(released).map_or(0, Iterator::count), 0, "{how}");
        }
        witness.be("honest");
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    });
}

#[test]
fn a_witness_that_answers_nonsense_keeps_no_other_from_counting() {
    let mut tested = TestBox::start();
    let (foreign, own) =
        (databox::throwaway::Endpoints::free().unwrap().witness, tested.stage.endpoints().witness);
    let (witness, _) = ForeignWitness::start(&tested, foreign);
    witness.be("nonsense");
    ask_instead_of_own(&mut tested, &format!("\"http://{foreign}/submit\", \"http://{own}\""));
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    });
    assert!(witness.said().iter().any(|line| line == "nonsense"), "{:?}", witness.said());
}

/// How often it has answered so.
fn count(witness: &ForeignWitness, how: &str) -> usize {
    witness.said().iter().filter(|line| line.starts_with(&format!("{how} "))).count()
}

/// How often the signer has refused for want of a witness.
fn refusals(tested: &TestBox) -> usize {
    let journal = std::fs::read_to_string(tested.stage.home.journal("signer")).unwrap();
    journal.lines().filter(|line| line.contains("\"log-witnesses\"")).count()
}

/// The key of the log in Python that has this directory.
fn log_key(directory: &Path) -> String {
    let key = python("log.py").arg("key").arg(directory).output().unwrap();
    String::from_utf8(key.stdout).unwrap().trim_end().to_owned()
}

/// The key of the witness that has this state.
fn witness_key(state: &Path) -> String {
    let text = std::fs::read(state.join("witness.public.json")).unwrap();
    let public: serde_json::Value = serde_json::from_slice(&text).unwrap();
    public["verifierKey"].as_str().unwrap().to_owned()
}

/// The log in Python, and `databox witness` that watches it.
struct ForeignLog {
    directory: tempfile::TempDir,
    address: String,
    witness: String,
    process: Option<Running>,
}

impl ForeignLog {
    fn watched() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = databox::throwaway::Endpoints::free().unwrap().witness.to_string();
        let mut log = Self { directory, address, witness: String::new(), process: None };
        log.start_witness();
        log
    }

    /// Starts the witness, or starts it again with the state that it has.
    fn start_witness(&mut self) {
        self.process = None;
        let key = log_key(self.directory.path());
        let state = self.directory.path().join("witness");
        let mut command = Command::new(harness::programs().join("databox"));
        command.args(["witness", "--name", "witness.example/w", "--die-with-parent"]);
        command.args(["--listen", &self.address, "--log-key", &key]).arg("--state").arg(&state);
        let public = state.join("witness.public.json");
        let _ = std::fs::remove_file(&public);
        self.process = Some(Running(command.stdin(Stdio::null()).spawn().unwrap()));
        wait(until("the witness", async || public.is_file().then_some(())));
        self.witness = witness_key(&state);
    }

    /// Asks for a cosignature from one size to another, and gives status, content type and body, or `cosigned`.
    fn ask(&self, old: u64, new: u64, words: &str) -> String {
        let mut command = python("log.py");
        command.arg("ask").arg(self.directory.path()).args([&self.address, &self.witness]);
        command.args([old.to_string(), new.to_string()]).args(words.split_whitespace());
        let asked = command.output().unwrap();
        let error = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{old} {new} {words}: {error}");
        let said = String::from_utf8(asked.stdout).unwrap();
        match said.split_once(' ').unwrap() {
            ("cosigned", seconds) => {
                let seconds: i64 = seconds.trim_end().parse().unwrap();
                let now = databox::site::now().seconds();
                assert!((now - 60..=now).contains(&seconds), "{seconds} is not now, {now}");
                "cosigned".to_owned()
            }
            _ => said.trim_end().to_owned(),
        }
    }

    fn is_refused(&self, status: u16, (old, new): (u64, u64), words: &str) {
        let said = self.ask(old, new, words);
        assert!(said.starts_with(&format!("{status} text/plain")), "{old} {new} {words}: {said}");
    }
}

#[test]
fn a_log_in_python_gets_cosignatures_that_openssl_verifies_and_what_is_no_growth_is_refused_by_its_status() {
    let log = ForeignLog::watched();
    log.is_refused(422, (0, 0), "root");
    log.is_refused(422, (0, 3), "surplus");
    assert_eq!(log.ask(0, 0, ""), "cosigned", "an empty log");
    assert_eq!(log.ask(0, 3, ""), "cosigned");
    for (old, new) in [(3, 7), (7, 7), (7, 8)] {
        assert_eq!(log.ask(old, new, ""), "cosigned", "{old} {new}");
    }
    // Rolled back, or not where the witness is: it tells the size from which to go on.
    for (old, new) in [(0, 8), (3, 7), (5, 9), (9, 11)] {
        assert_eq!(log.ask(old, new, ""), "409 text/x.tlog.size 8", "{old} {new}");
    }
    log.is_refused(400, (8, 5), "");
    log.is_refused(400, (8, 11), "no-old");
    // Another past, of a larger tree and of the same.
    log.is_refused(422, (8, 11), "fork");
    log.is_refused(422, (8, 8), "fork");
    log.is_refused(422, (8, 11), "no-proof");
    log.is_refused(422, (8, 11), "surplus");
    log.is_refused(403, (8, 11), "stranger");
    log.is_refused(404, (8, 11), "unknown");
    assert_eq!(log.ask(8, 11, ""), "cosigned", "nothing that was refused has moved it");
    assert_eq!(log.ask(11, 200, "others"), "cosigned", "of unknown keys it takes no notice");
}

#[test]
fn a_witness_cosigns_all_lines_of_a_checkpoint_that_has_more_than_the_boxs_own() {
    let mut log = ForeignLog::watched();
    assert_eq!(log.ask(0, 3, "extension"), "cosigned");
    log.start_witness();
    assert_eq!(log.ask(0, 3, "extension"), "409 text/x.tlog.size 3", "it remembers such a head");
    log.is_refused(422, (3, 5), "extension fork");
    assert_eq!(log.ask(3, 5, ""), "cosigned");
    assert_eq!(log.ask(5, 6, "extension"), "cosigned");
}

#[test]
fn one_witness_watches_a_box_and_a_foreign_log_and_an_examination_of_the_box_finds_nothing_wrong_with_it() {
    let mut tested = TestBox::start();
    tested.stage.kill_witness();
    let directory = tempfile::tempdir().unwrap();
    let mut command = tested.stage.witness_command().unwrap();
    command.args(["--log-key", &log_key(directory.path())]).stdin(Stdio::null());
    let process = Some(Running(command.spawn().unwrap()));
    let address = tested.stage.endpoints().witness.to_string();
    wait(until("the witness", async || std::net::TcpStream::connect(&address).ok()));
    let state = tested.directory().join("witness");
    let log = ForeignLog { directory, address, witness: witness_key(&state), process };
    assert_eq!(log.ask(0, 3, "extension"), "cosigned");
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    });
    drop(log);
    tested.stage.stop();
    let found = databox::fsck::examine(&tested.stage.home, &[state]).unwrap();
    assert!(found.broken().is_empty(), "{:?}", found.broken());
}
