//! The real program on its real socket. The story's site expired long ago, so it signs nothing here; what it must do
//! is start, speak to the console alone, refuse by name, hold its lock and stop.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blobs::Digest;
use release::key::Sign;
use release::log::socket::{self, Answer, Decision, Get, Message, SignerRefusal, Submit};
use release::refusal::Refusal;
use release::site::file_name;
use release::value::Count;
use test_formats::story::{Story, Told, key};

struct Room {
    directory: tempfile::TempDir,
    user: u32,
}

impl Room {
    fn new(told: &Told, user: u32) -> Self {
        let room = Self { directory: tempfile::tempdir().unwrap(), user };
        let release = &told.release;
        let statements = [&release.revocation, &release.policy, &release.grant];
        for envelope in statements.into_iter().chain(&release.roles).chain(&release.catalogue) {
            let path = room.path("site").join(file_name(envelope).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, envelope.to_bytes()).unwrap();
        }
        let policy = room.path("site").join(file_name(&release.policy).unwrap()).with_extension("toml");
        fs::write(policy, &release.policy_file).unwrap();
        for name in ["signer", "log"] {
            fs::write(room.path(&format!("{name}.pem")), key(name).to_pkcs8_pem().as_bytes()).unwrap();
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/signer.toml");
        let text = fs::read_to_string(example).unwrap();
        let home = room.directory.path().display().to_string();
        let text = text
            .replace("/var/lib/databox/keys", &home)
            .replace("/var/lib/databox/run/signer", &home)
            .replace("/var/lib/databox", &home)
            .replace("databox-console", &user.to_string())
            .replace(&"0".repeat(64), &told.pin.to_string());
        fs::write(room.path("signer.toml"), text).unwrap();
        room
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    fn spawn(&self) -> Child {
        let journal = fs::File::create(self.path("journal")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_signer"));
        command
            .arg("--config")
            .arg(self.path("signer.toml"))
            .stdin(Stdio::null())
            .stderr(journal)
            .spawn()
            .unwrap()
    }

    fn start(&self) -> Running {
        let mut running = Running(self.spawn());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.journal().contains(r#""event":"ready""#) {
            assert!(
                running.0.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "{}",
                self.journal()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.path("journal")).unwrap()
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path("signer.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(&self, message: &Message) -> Answer {
        socket::ask(&mut self.connect(), message).unwrap()
    }
}

struct Running(Child);

impl Running {
    fn signal(&mut self, signal: rustix::process::Signal) -> std::process::ExitStatus {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, signal).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn own_user() -> u32 {
    rustix::process::getuid().as_raw()
}

fn unknown() -> Message {
    Message::Get(Get { verdict: Digest::of(b"nothing"), witnessed: Count(0) })
}

#[test]
fn the_room_starts_answers_by_name_and_stops() {
    let told = Story::default().tell();
    let room = Room::new(&told, own_user());
    let mut running = room.start();
    assert_eq!(room.ask(&unknown()), Answer::Refused(SignerRefusal::VerdictUnknown));
    let submit = Message::Submit(Submit {
        request: told.release.request.clone(),
        verdict: told.release.verdict.clone(),
        code_approvals: told.release.code_approvals.clone(),
        decision: Decision::Approvals(told.release.approvals.clone()),
        compared: Vec::new(),
        witnessed: Count(0),
    });
    assert_eq!(room.ask(&submit), Answer::Refused(SignerRefusal::Rule(Refusal::OutOfForce)));

    let mut stream = room.connect();
    stream.write_all(b"\0\0\0\x02{}").unwrap();
    let answer: Answer = socket::read(&mut stream).unwrap();
    assert_eq!(answer, Answer::Refused(SignerRefusal::MessageForm));
    let mut stream = room.connect();
    stream.write_all(&[0xff; 4]).unwrap();
    let answer: Answer = socket::read(&mut stream).unwrap();
    assert_eq!(answer, Answer::Refused(SignerRefusal::MessageForm));
    // One that goes away in the middle does not stop the room.
    room.connect().write_all(&[0, 0, 1]).unwrap();
    assert_eq!(room.ask(&unknown()), Answer::Refused(SignerRefusal::VerdictUnknown));

    assert!(running.signal(rustix::process::Signal::TERM).success(), "{}", room.journal());
}

#[test]
fn a_killed_room_starts_again_and_there_is_never_a_second_one() {
    let room = Room::new(&Story::default().tell(), own_user());
    let mut running = room.start();
    let size = |room: &Room| {
        room.journal().lines().find(|line| line.contains("ready")).unwrap().contains(r#""size":7"#)
    };
    assert!(size(&room));
    running.signal(rustix::process::Signal::KILL);
    let running = room.start();
    assert!(size(&room));
    assert!(!room.spawn().wait().unwrap().success());
    assert!(room.journal().contains("another signer holds"), "{}", room.journal());
    drop(running);
    // A log that is gone although its head is not is an old copy, and never a new log.
    fs::remove_dir_all(room.path("signer")).unwrap();
    assert!(!room.spawn().wait().unwrap().success());
    assert!(room.journal().contains("older than the head"), "{}", room.journal());
}

#[test]
fn another_user_than_the_consoles_gets_no_answer() {
    let room = Room::new(&Story::default().tell(), own_user() + 1);
    let _running = room.start();
    let mut stream = room.connect();
    // The room may close before it has read this.
    let _ = socket::write(&mut stream, &unknown());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert!(room.journal().contains("someone else spoke on the socket"), "{} {}", room.user, room.journal());
}

#[test]
fn keys_of_the_configuration_are_read_or_the_room_says_which_is_wrong() {
    let room = Room::new(&Story::default().tell(), own_user());
    fs::write(room.path("log.pem"), "no key").unwrap();
    assert!(!room.spawn().wait().unwrap().success());
    assert!(room.journal().contains("log.pem"), "{}", room.journal());
    let public = key("log").public();
    assert!(!room.journal().contains(&public.public.to_string()));
}
