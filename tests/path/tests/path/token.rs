//! A whole box whose signer has its keys in a token (SoftHSM): the release key was made there and was never in a file, the
//! log's key was brought in from the file that `init` made, and both files are gone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use databox::up::Rooms;
use harness::TestBox;
use lifecycle::State;

use crate::foreign::Running;
use crate::roles::renew;
use crate::site_changes::{approve, console_has, in_review, until};
use crate::wait;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "482913";

/// A token, and where SoftHSM is told to find it.
struct Token {
    directory: PathBuf,
}

impl Token {
    fn new(tested: &TestBox) -> Self {
        let directory = tested.directory().join("token");
        fs::create_dir_all(directory.join("tokens")).unwrap();
        let tokens = directory.join("tokens");
        fs::write(directory.join("conf"), format!("directories.tokendir = {}\n", tokens.display())).unwrap();
        fs::write(directory.join("pin"), PIN).unwrap();
        fs::set_permissions(directory.join("pin"), fs::Permissions::from_mode(0o400)).unwrap();
        let token = Self { directory };
        token.tool("softhsm2-util", &["--init-token", "--free", "--label", "databox", "--so-pin", "271828"]);
        token
    }

    /// Runs a tool with the PIN, and gives what it printed.
    fn tool(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let mut tool = Command::new(program);
        tool.args(arguments).args(["--pin", PIN]).env("SOFTHSM2_CONF", self.directory.join("conf"));
        let output = tool.output().expect("softhsm2 and opensc are installed; .ci/run names the packages");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key pair on the token and gives its public half, by the commands that the decision's page gives.
    fn make(&self, label: &str) -> [u8; 32] {
        let of = ["--module", MODULE, "--token-label", "databox", "--label", label];
        let with = |more: &[&str]| self.tool("pkcs11-tool", &[&of[..], more].concat());
        with(&["--login", "--keypairgen", "--key-type", "EC:edwards25519"]);
        let public = with(&["--read-object", "--type", "pubkey"]);
        let file = self.directory.join("public");
        fs::write(&file, public).unwrap();
        let mut openssl = Command::new("openssl");
        let read = openssl.args(["pkey", "-pubin", "-pubout", "-outform", "DER", "-in"]).arg(&file).output();
        // RFC 8410: the key is what the SubjectPublicKeyInfo ends in.
        *read.unwrap().stdout.last_chunk().expect("a public key that openssl reads")
    }

    /// The configuration of a signer with both keys here, and none in a file.
    fn configure(&self, tested: &TestBox) {
        let path = tested.stage.home.configuration("signer");
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.contains("_key_file ="));
        let pin = self.directory.join("pin");
        let table = format!(
            "[token]\nmodule = {MODULE:?}\nlabel = \"databox\"\npin_file = {pin:?}\nrelease_key = \"release\"\nlog_key = \"log\"\n"
        );
        fs::write(&path, lines.map(|line| format!("{line}\n")).collect::<String>() + &table).unwrap();
    }

    fn take_out(&self) {
        fs::rename(self.directory.join("tokens"), self.directory.join("taken-out")).unwrap();
    }

    fn put_back(&self) {
        fs::rename(self.directory.join("taken-out"), self.directory.join("tokens")).unwrap();
    }

    fn journal(&self) -> PathBuf {
        self.directory.join("signer.log")
    }

    /// Starts the signer where SoftHSM finds the token, as a line of a unit would (`Environment=`).
    fn spawn_signer(&self, tested: &TestBox) -> Child {
        let mut command = Rooms::command(&tested.stage.home, "signer").unwrap();
        command.env("SOFTHSM2_CONF", self.directory.join("conf"));
        let journal = fs::File::create(self.journal()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal).spawn().unwrap()
    }

    fn signer(&self, tested: &TestBox) -> Running {
        let signer = Running(self.spawn_signer(tested));
        wait(until("the signer", async || self.told("\"event\":\"ready\"").then_some(())));
        signer
    }

    fn told(&self, words: &str) -> bool {
        fs::read_to_string(self.journal()).unwrap().contains(words)
    }
}

#[test]
fn with_the_signers_keys_in_a_token_a_job_becomes_a_verified_release_and_without_the_token_it_waits() {
    let mut tested = TestBox::start();
    let token = Token::new(&tested);
    tested.stage.rooms().kill("signer");
    let release_key = token.make("release");
    let log_file = tested.stage.home.key("log");
    let log_text = log_file.display().to_string();
    token.tool(
        "softhsm2-util",
        &["--import", &log_text, "--token", "databox", "--label", "log", "--id", "02"],
    );
    fs::remove_file(log_file).unwrap();
    fs::remove_file(tested.stage.home.key("signer")).unwrap();
    token.configure(&tested);
    renew(&tested, |roles| roles.box_keys.signer.public.0 = release_key);
    wait(console_has(&tested, "ben", |site| site.roles().version.0 == 2));

    let signer = token.signer(&tested);
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        verifies(&tested, &job).await;
    });

    let second = wait(in_review(&tested, "two", "2"));
    token.take_out();
    wait(async {
        approve(&tested, "ana", &second).await.unwrap();
        let opened = tested.opened("ben", &second).await;
        // The last approval is answered once the log has the release; nobody waits for that here.
        let patience = std::time::Duration::from_secs(2);
        let _ = tokio::time::timeout(patience, tested.desk("ben").await.approve(&opened)).await;
        until("the signer's refusal", async || token.told("key-unavailable").then_some(())).await;
        let found = tested.bench("kim").await.job(&second).await.unwrap();
        assert_eq!(databox::job::state(&found), State::InReview);
    });
    drop(signer);
    let ended = token.spawn_signer(&tested).wait().unwrap();
    assert!(!ended.success() && !token.told("\"event\":\"ready\""), "without the token it does not start");

    token.put_back();
    let _signer = token.signer(&tested);
    wait(async {
        assert_eq!(tested.wait("kim", &second, State::Released).await, State::Released);
        verifies(&tested, &second).await;
    });
}

async fn verifies(tested: &TestBox, job: &str) {
    let out = tested.directory().join(job);
    let file = tested.shelf("kim").await.get(job, &out).await.unwrap();
    let mut verify = Command::new(harness::programs().join("databox-verify"));
    verify.arg(&file).arg("--files").arg(&out).args(["--roles", &tested.stage.pin.to_string()]);
    let verified = verify.arg("--accept-on-box-witness").output().unwrap();
    let told = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && told.contains("VERIFIED"), "{told}");
}
