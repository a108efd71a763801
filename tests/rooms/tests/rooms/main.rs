//! Rooms and children that were taken over. Each liar is a program of its own that stands in the place of one room, on
//! the real socket, as the real room's user and with its keys, and the rooms around it are the real ones. `table.rs` says which lie of which
//! message has which test, and fails on an empty row.

mod cancel;
mod changing_files;
mod children;
mod code_review;
mod console_to_enclave;
mod console_to_signer;
mod console_to_stewards;
mod enclave_to_console;
mod enclave_to_gateway;
mod evaluations;
mod gateway;
mod gateway_to_recipients;
mod gateway_to_researchers;
mod heads;
mod held;
mod separation;
mod signer;
mod table;
mod users_of_rooms;
mod witness;

use std::ffi::OsStr;
use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use databox::users;
use harness::TestBox;
use release::json;
use release::log::socket::Message;

/// Runs a test's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

/// Waits until something is there.
fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + harness::PATIENCE;
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Sets keys of a room's configuration; each must be there already.
fn configure(tested: &TestBox, room: &str, values: &[(&str, String)]) {
    let path = tested.stage.home.configuration(room);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (key, value) in values {
        let begin = format!("{key} = ");
        assert!(text.lines().any(|line| line.starts_with(&begin)), "{room} has no key {key}");
        let set = |line: &str| match line.starts_with(&begin) {
            true => format!("{begin}{value}\n"),
            false => format!("{line}\n"),
        };
        text = text.lines().map(set).collect();
    }
    std::fs::write(&path, text).unwrap();
}

/// Nothing of the data lies where a room without data could read it.
fn assert_no_row_outside(tested: &TestBox) {
    let mut open: Vec<PathBuf> = ["gateway", "console", "signer", "public", "hand-over", "run", "drafts"]
        .map(|below| tested.stage.home.join(below))
        .into();
    while let Some(place) = open.pop() {
        let found = std::fs::symlink_metadata(&place).unwrap();
        if found.is_dir() {
            open.extend(std::fs::read_dir(&place).unwrap().flatten().map(|entry| entry.path()));
        } else if found.is_file() {
            let bytes = std::fs::read(&place).unwrap_or_default();
            let row = bytes.windows(8).any(|window| window == b"patient-");
            assert!(!row, "{} holds a row", place.display());
        }
    }
}

/// What a room wrote into its journal on lines with this text, from the value of this field on to its end.
fn told(tested: &TestBox, room: &str, text: &str, field: &str) -> Vec<String> {
    let journal = std::fs::read_to_string(tested.stage.home.journal(room)).unwrap();
    let begin = format!("\"{field}\":\"");
    let lines = journal.lines().filter(|line| line.contains(text));
    lines.filter_map(|line| Some(line.split(&begin).nth(1)?.split('"').next()?.to_owned())).collect()
}

/// Has the lying console put these messages to the signer, and gives the answers.
fn put_to_signer(tested: &TestBox, messages: &[Message]) -> Vec<String> {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let lay = |message: &Message| {
        let name = format!("message-{}", WRITTEN.fetch_add(1, Ordering::Relaxed));
        let path = tested.directory().join(name);
        std::fs::write(&path, json::to_bytes(message)).unwrap();
        path
    };
    let home = &tested.stage.home;
    let mut command = users::command_as(home, "console", env!("CARGO_BIN_EXE_lying-console")).unwrap();
    command.arg("signer").arg(home.join("run/signer/signer.sock")).args(messages.iter().map(lay));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A running liar. Dropping it kills it.
struct Liar {
    child: Child,
    said: PathBuf,
}

impl Liar {
    /// Starts a liar in the place of a room, as that room's user, or in the place of the witness. It writes what it hears
    /// to `<name>.heard` in the test's directory.
    fn start<A: AsRef<OsStr>>(
        tested: &TestBox,
        place: &str,
        program: &str,
        name: &str,
        arguments: &[A],
    ) -> Self {
        let said = tested.directory().join(format!("{name}.heard"));
        let file = std::fs::File::create(&said).expect("a new file");
        let mut command = match place {
            "witness" => Command::new(program),
            room => users::command_as(&tested.stage.home, room, program).expect("a room of the box"),
        };
        let child = command.args(arguments).stdout(file).spawn().expect("the liar starts");
        Self { child, said }
    }

    /// Starts the liar that stands where researchers look for the gateway, which is gone. Its answers lie in files of the
    /// directory that is given back.
    fn before_researchers(tested: &mut TestBox) -> (Self, PathBuf) {
        tested.stage.rooms().kill("gateway");
        let answers = tested.directory().join("answers");
        std::fs::create_dir(&answers).expect("a new directory");
        let tls = tested.stage.home.join("tls");
        let address = tested.stage.endpoints().gateway.to_string();
        let arguments = [address, tls.display().to_string(), answers.display().to_string()];
        let liar = Self::start(tested, "gateway", env!("CARGO_BIN_EXE_lying-front"), "front", &arguments);
        liar.until("the gateway's address", |heard| !heard.is_empty());
        (liar, answers)
    }

    /// What it has heard up to now.
    fn heard(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.said).expect("the liar's file");
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until it has heard enough.
    fn until(&self, what: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + harness::PATIENCE;
        loop {
            let heard = self.heard();
            if enough(&heard) {
                return heard;
            }
            assert!(Instant::now() < deadline, "{what} did not come; heard {heard:#?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
