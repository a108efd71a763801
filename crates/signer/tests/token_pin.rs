//! The real program with its keys in a token of SoftHSM (Debian's `softhsm2`), whose PIN is right or wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use test_formats::story::{Story, key};

const PIN: &str = "482913";

struct Room(tempfile::TempDir);

impl Room {
    /// A room whose two keys are in a token, and whose file has this PIN.
    fn new(pin: &str) -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        fs::create_dir(room.path("tokens")).unwrap();
        let tokens = format!("directories.tokendir = {}\nlog.level = ERROR\n", room.path("tokens").display());
        fs::write(room.path("softhsm2.conf"), tokens).unwrap();
        room.tool(&["--init-token", "--free", "--so-pin", "271828", "--label", "databox"]);
        for (name, label, id) in [("signer", "release", "01"), ("log", "log", "02")] {
            let file = room.path("key.pem");
            fs::write(&file, key(name).to_pkcs8_pem().as_bytes()).unwrap();
            let file = file.display().to_string();
            room.tool(&["--import", &file, "--token", "databox", "--label", label, "--id", id]);
        }
        fs::write(room.path("pin"), pin).unwrap();
        fs::set_permissions(room.path("pin"), fs::Permissions::from_mode(0o400)).unwrap();
        fs::write(room.path("signer.toml"), room.configuration()).unwrap();
        room
    }

    /// The commented example, with its token and without the lines of the files.
    fn configuration(&self) -> String {
        let text = fs::read_to_string(deploy("signer.toml")).unwrap();
        let (before, token) = text.split_once("# [token]\n").unwrap();
        let without_files = before.lines().filter(|line| !line.contains("_key_file"));
        let home = self.0.path().display().to_string();
        format!("{}\n[token]\n{}", without_files.collect::<Vec<_>>().join("\n"), token.replace("# ", ""))
            .replace(
                "/run/credentials/databox-signer.service/token-pin",
                &self.path("pin").display().to_string(),
            )
            .replace("/var/lib/databox/run/signer", &home)
            .replace("/var/lib/databox", &home)
            .replace("databox-console", "0")
            .replace(&"0".repeat(64), &Story::default().tell().pin.to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tool(&self, arguments: &[&str]) {
        let mut tool = Command::new("softhsm2-util");
        tool.args(arguments).args(["--pin", PIN]).env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        let output = tool.output().expect("softhsm2-util is installed; .ci/run names the packages");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn start(&self) -> Child {
        let mut signer = Command::new(env!("CARGO_BIN_EXE_signer"));
        signer.arg("--config").arg(self.path("signer.toml")).env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        let journal = fs::File::create(self.path("journal")).unwrap();
        signer.stdin(Stdio::null()).stderr(journal).spawn().unwrap()
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.path("journal")).unwrap()
    }
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

/// How it ended; `None` if it became ready, after which it is ended.
fn ended(room: &Room, mut signer: Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = signer.try_wait().unwrap() {
            return Some(status);
        }
        if room.journal().contains(r#""event":"ready""#) {
            signer.kill().unwrap();
            signer.wait().unwrap();
            return None;
        }
        assert!(Instant::now() < deadline, "{}", room.journal());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn after_a_refused_pin_the_signer_ends_with_the_status_after_which_its_unit_does_not_start_it_again() {
    let wrong = Room::new("000000");
    let status = ended(&wrong, wrong.start()).expect("an end");
    assert!(wrong.journal().contains("does not take the PIN"), "{}", wrong.journal());
    let unit = fs::read_to_string(deploy("databox-signer.service")).unwrap();
    let named = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus="));
    assert_eq!(named.map(str::parse), Some(Ok(status.code().unwrap())));
    assert!(unit.contains("Restart=on-failure"));
    // Another mistake has another status: with that the unit may try again.
    fs::remove_file(wrong.path("pin")).unwrap();
    let status = ended(&wrong, wrong.start()).expect("an end");
    assert_eq!(status.code(), Some(1), "{}", wrong.journal());

    let right = Room::new(PIN);
    assert_eq!(ended(&right, right.start()), None, "{}", right.journal());
}
