//! A steward whose key is in OpenSSH's own `ssh-agent`: enrolled, asked for a decision, and in a release that others verify.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use databox::certificate::{self, CertificateRole};
use databox::key::{KeyArguments, KeyFiles};
use databox::profile::Profile;
use harness::TestBox;
use lifecycle::State;
use release::envelope::Envelope;
use release::file::ReleaseFile;
use release::statement::{Person, Suite};
use release::value::{Count, Name};

use crate::site_changes::{approve, console_has, in_review, install_envelope, key, site};
use crate::wait;

/// An agent that holds one key, whose file is gone.
struct Agent {
    process: Child,
    socket: PathBuf,
    public: PathBuf,
}

fn ran(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("OpenSSH's programs are installed")
}

impl Agent {
    fn start(directory: &Path) -> Self {
        let (socket, secret) = (directory.join("agent"), directory.join("id_ed25519"));
        let made = ran(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&secret));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent is installed");
        let agent = Self { process, socket, public: secret.with_extension("pub") };
        let deadline = std::time::Instant::now() + harness::PATIENCE;
        while !agent.socket.exists() {
            assert!(std::time::Instant::now() < deadline, "no agent");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let added = ran(agent.with("ssh-add").arg(&secret));
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        std::fs::remove_file(secret).unwrap();
        agent
    }

    /// A program that finds the agent.
    fn with(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes cleo's files beside her agent, and gives what roles say of her, and her profile.
fn enrolled(tested: &TestBox, agent: &Agent) -> (Person, Profile) {
    let (id, organisation): (Name, Name) = ("cleo".parse().unwrap(), "hospital".parse().unwrap());
    let directory = tested.stage.people();
    let arguments = KeyArguments {
        id: id.clone(),
        directory: directory.clone(),
        organisation,
        passphrase_file: Some(directory.join("passphrase")),
        ssh_key: Some(agent.public.clone()),
        require_pin: false,
    };
    databox::key::new_for_agent(&arguments, &agent.public).unwrap();
    let files = KeyFiles::new(&directory, &id);
    assert!(!files.signing().exists(), "no signing key is made");
    let request = std::fs::read_to_string(files.tls_request()).unwrap();
    let name = site(tested).name().clone();
    let issued =
        certificate::issue(&tested.stage.home, &name, &request, CertificateRole::Steward, &id, 24).unwrap();
    std::fs::write(files.tls_certificate(), issued).unwrap();
    let public = databox::key::read_public(&files.public()).unwrap();
    assert_eq!(public.keys[0].suite, Suite::Sshsig);
    let person =
        Person { organisation: public.organisation, keys: public.keys, review_key: Some(public.review_key) };
    (person, Profile { id, ..tested.stage.profile("ana") })
}

/// The next roles, in which cleo is a steward and a root person, signed by ana and ben and through the agent.
fn install_roles(tested: &TestBox, agent: &Agent, profile: &Path, person: Person) {
    let cleo: Name = "cleo".parse().unwrap();
    let mut roles = site(tested).roles().clone();
    (roles.version, roles.issued_at) = (Count(2), databox::site::now());
    roles.people.insert(cleo.clone(), person);
    roles.root.people.push(cleo.clone());
    roles.root.threshold = Count(3);
    roles.datasets.values_mut().for_each(|dataset| dataset.stewards.push(cleo.clone()));
    let [ana, ben] = ["ana", "ben"].map(|steward| key(tested, steward));
    let drawn_up = Envelope::sign(&roles, &[&ana, &ben]).unwrap();
    let file = tested.directory().join("roles-2.json");
    std::fs::write(&file, drawn_up.to_bytes()).unwrap();
    let signed = ran(agent
        .with(harness::programs().join("databox"))
        .args(["site", "sign"])
        .arg(&file)
        .arg("--profile")
        .arg(profile));
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    install_envelope(tested, &Envelope::parse(&std::fs::read(&file).unwrap()).unwrap());
}

#[test]
fn a_steward_whose_key_is_in_an_ssh_agent_is_enrolled_approves_and_the_release_verifies() {
    let tested = TestBox::start();
    let agent = Agent::start(tested.directory());
    let (person, profile) = enrolled(&tested, &agent);
    let cleo = tested.directory().join("cleo.toml");
    profile.write_new(&cleo).unwrap();
    install_roles(&tested, &agent, &cleo, person);
    let out = tested.directory().join("out");
    wait(async {
        console_has(&tested, "ben", |site| site.roles().version.0 == 2).await;
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ben", &job).await.unwrap();
        let review = tested.opened("ben", &job).await.digest.to_string();
        let decide = |command: &mut Command| {
            let words = ["review", "approve", &review, "--confirm", &review, "--profile"];
            ran(command.args(words).arg(&cleo))
        };
        let databox = harness::programs().join("databox");
        let without = decide(Command::new(&databox).env_remove("SSH_AUTH_SOCK"));
        let said = String::from_utf8_lossy(&without.stderr).into_owned();
        assert!(!without.status.success() && said.contains("NO_SSH_AGENT"), "{said}");
        let with = decide(&mut agent.with(&databox));
        assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        tested.shelf("kim").await.get(&job, &out).await.unwrap();
    });
    let release = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let release = release.into_iter().find(|path| path.to_string_lossy().ends_with(".release.json")).unwrap();
    let file = ReleaseFile::parse(&std::fs::read(&release).unwrap()).unwrap();
    assert_eq!((file.roles.len(), file.approvals.len()), (2, 2));
    let mut auditor = Command::new(harness::programs().join("databox-verify"));
    auditor.arg(&release).args(["--roles", &tested.stage.pin.to_string(), "--accept-on-box-witness"]);
    let verified = ran(auditor.arg("--files").arg(&out));
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && text.contains("ben, cleo"), "{text}");
}
