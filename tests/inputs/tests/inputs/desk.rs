//! What people get wrong at their desk: each error has its name, says what to do, and is one object with `--json`.

use std::fs;
use std::path::Path;

use harness::{ONE_METRIC, TestBox, manifest, write_metric};

use crate::{command, wait};

/// A box and the people around it, who type.
struct Typist {
    tested: TestBox,
}

impl Typist {
    fn path(&self, below: &str) -> String {
        self.tested.directory().join(below).display().to_string()
    }

    fn profile(&self, person: &str) -> String {
        command::profile(&self.tested, person).display().to_string()
    }

    /// The innocent twin.
    fn taken(&self, words: &[&str]) {
        assert_eq!(command::said(&command::run(words)), Ok(()), "{words:?}");
    }

    /// Types it for people and for scripts; returns what was said.
    fn refused(&self, words: &[&str], name: &str, exit: i32) -> String {
        let output = command::run(words);
        assert_eq!((command::name(&output).as_str(), output.status.code()), (name, Some(exit)), "{words:?}");
        let told = self.told(words, exit);
        assert_eq!(told["error"], name, "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The one object of the same command with `--json`.
    fn told(&self, words: &[&str], exit: i32) -> serde_json::Value {
        let output = command::run(&[words, &["--json"]].concat());
        assert!(output.stdout.is_empty(), "{words:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stderr)
            .unwrap_or_else(|_| panic!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!((told["exit"].as_i64(), output.status.code()), (Some(exit.into()), Some(exit)));
        assert!(told["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{told}");
        told
    }
}

#[test]
fn every_mistake_at_the_desk_has_its_name_and_says_what_to_do() {
    let typist = Typist { tested: TestBox::start() };
    files_that_are_there(&typist);
    keys(&typist);
    statements(&typist);
    jobs(&typist);
    homes(&typist);
    usage(&typist);
}

fn files_that_are_there(typist: &Typist) {
    let (home, request) = (typist.path("box"), typist.path("people/kim.tls.csr"));
    let out = typist.path("again.pem");
    let issue =
        ["cert", "issue", "--home", &home, "--request", &request, "--role", "researcher", "--id", "kim"];
    let issue = [&issue[..], &["--out", &out]].concat();
    typist.taken(&issue);
    let before = fs::read(&out).unwrap();
    let said = typist.refused(&issue, "ALREADY_THERE", 6);
    assert!(said.contains("nothing was overwritten") && fs::read(&out).unwrap() == before, "{said}");

    let (answer, out) = (typist.path("box/drafts/runtime-host-python.json"), typist.path("drafted.json"));
    let draft = ["site", "draft", &answer, "--out", &out];
    typist.taken(&draft);
    typist.refused(&draft, "ALREADY_THERE", 6);
    typist.refused(&["site", "draft", &request, "--out", &typist.path("no.json")], "DRAFT", 1);

    let (from, out, site) = (typist.path("r.toml"), typist.path("r.json"), typist.path("box/site"));
    fs::write(&from, "site = \"demo.databox.example\"\n").unwrap();
    let new = ["site", "new", "revocation", "--from", &from, "--out", &out, "--site-directory", &site];
    typist.taken(&new);
    typist.refused(&new, "ALREADY_THERE", 6);
    let missing = typist.path("missing.toml");
    let from_nothing = ["site", "new", "grant", "--from", &missing, "--out", "x", "--site-directory", &site];
    assert!(typist.refused(&from_nothing, "FILE", 1).contains("nothing is there"));
    let directory = typist.path("people");
    assert!(
        typist.refused(&["site", "sign", &directory, "--as", "ana"], "FILE", 1).contains("a file is wanted")
    );
}

fn keys(typist: &Typist) {
    let (people, right, wrong) =
        (typist.path("people"), typist.path("people/passphrase"), typist.path("wrong"));
    fs::write(&wrong, "another passphrase\n").unwrap();
    let new =
        ["key", "new", "kim", "--organisation", "university", "--out", &people, "--passphrase-file", &right];
    typist.refused(&new, "ALREADY_THERE", 6);
    let draft = typist.path("r.json");
    let sign = |id, passphrase| {
        ["site", "sign", &draft, "--as", id, "--keys", &people, "--passphrase-file", passphrase]
            .map(str::to_owned)
    };
    let typed = |words: &[String; 9], name| {
        typist.refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), name, 1)
    };
    assert!(typed(&sign("ana", &wrong), "WRONG_PASSPHRASE").contains("--passphrase-file"));
    typed(&sign("nobody", &right), "KEY_MISSING");
    let words = sign("ana", &right);
    typist.taken(&words.iter().map(String::as_str).collect::<Vec<_>>());
}

fn statements(typist: &Typist) {
    // Signed above.
    let (revocation, site, pin) =
        (typist.path("r.json"), typist.path("box/site"), typist.tested.stage.pin.to_string());
    let install = ["site", "install", &revocation, "--site-directory", &site];
    let said = typist.refused(&install, "PIN_MISSING", 2);
    assert!(said.contains("--pin DIGEST") && said.contains(&pin), "{said}");
    let with_policy = ["--pin", &pin, "--policy-file", &revocation];
    typist.refused(&[&install[..], &with_policy].concat(), "POLICY_FILE", 2);
    typist.taken(&[&install[..], &["--pin", &pin]].concat());
}

fn jobs(typist: &Typist) {
    let (kim, ana) = (typist.profile("kim"), typist.profile("ana"));
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1"))];
    let bundle = typist.tested.bundle("desk", &files);
    let job = wait(typist.tested.run_job("kim", &bundle)).job;
    let out = typist.path("release");
    for named in [&job[..], &job[..12]] {
        typist.taken(&["job", "show", named, "--profile", &kim]);
        let said =
            typist.refused(&["release", "get", named, "--out", &out, "--profile", &kim], "NOT_RELEASED", 8);
        assert!(said.contains("IN_REVIEW") && said.contains("databox job watch"), "{said}");
    }
    let other = if job.starts_with("0000") { "1111" } else { "0000" };
    assert!(typist.refused(&["job", "show", "0", "--profile", &kim], "NO_SUCH_JOB", 2).contains("too short"));
    assert!(typist.refused(&["job", "show", other, "--profile", &kim], "NO_SUCH_JOB", 1).contains("job ls"));
    let absent = "0".repeat(64);
    typist.refused(&["job", "show", &absent, "--profile", &kim], "NOT_FOUND", 1);
    typist.refused(&["release", "get", &absent, "--out", &out, "--profile", &kim], "NOT_FOUND", 1);
    typist.refused(&["review", "ls", "--profile", &kim], "OTHER_ROOM", 2);
    typist.refused(&["job", "ls", "--profile", &ana], "OTHER_ROOM", 2);
    typist.refused(&["job", "ls", "--profile", &typist.path("nobody.toml")], "NO_PROFILE", 4);
    let broken = typist.path("broken.toml");
    fs::write(&broken, "endpoint = 1\n").unwrap();
    typist.refused(&["job", "ls", "--profile", &broken], "FILE", 1);
}

fn homes(typist: &Typist) {
    let home = typist.path("other");
    let init = |witness| {
        ["init", "--dir", &home, "--site", "other.example", "--witness", witness].map(str::to_owned)
    };
    let typed = |words: &[String]| words.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let bad = typed(&init("witness.example:7445"));
    let said = typist.refused(&bad.split('\n').collect::<Vec<_>>(), "WITNESS_ADDRESS", 2);
    assert!(said.contains("http://HOST:PORT") && !Path::new(&home).exists(), "{said}");
    let good = typed(&init("http://witness.example:7445"));
    typist.taken(&good.split('\n').collect::<Vec<_>>());
    typist.refused(&good.split('\n').collect::<Vec<_>>(), "HOME_NOT_EMPTY", 1);
    let (own, pin, zeros) = (typist.path("box"), typist.tested.stage.pin.to_string(), "0".repeat(64));
    let said = typist.refused(&["site", "pin", "--home", &home, &pin], "FILE", 1);
    assert!(said.contains("databox site install"), "{said}");
    assert!(typist.refused(&["site", "pin", "--home", &own, &zeros], "PIN", 3).contains(&pin));
    typist.taken(&["site", "pin", "--home", &own, &pin]);
    let stranger = typist.path("stranger.toml");
    let text = fs::read_to_string(typist.profile("kim")).unwrap();
    fs::write(&stranger, text.replace(&typist.path("box/tls/ca.pem"), &format!("{home}/tls/ca.pem")))
        .unwrap();
    let said = typist.refused(&["job", "ls", "--profile", &stranger], "BOX_CERTIFICATE", 4);
    assert!(said.contains("`authority`"), "{said}");
    typist.refused(&["fsck", "--dir", "/nonexistent"], "FILE", 1);
}

/// What the command line itself does not understand is for people as it always was, and one object for scripts.
fn usage(typist: &Typist) {
    let cases: [(&[&str], &str); 5] = [
        (&["jobs"], "jobs"),
        (&["job", "show"], "JOB"),
        (&["job", "show", "1", "--loud"], "--loud"),
        (&["cert", "issue", "--role", "king"], "king"),
        (&["site", "pin", "--home", "x", "no-digest"], "no-digest"),
    ];
    for (words, about) in cases {
        let told = typist.told(words, 2);
        assert_eq!(told["error"], "USAGE", "{words:?}");
        assert!(told["text"].as_str().unwrap().contains(about), "{told}");
        assert!(told["hint"].as_str().unwrap().contains("--help"), "{told}");
        let plain = command::run(words);
        assert!(plain.stderr.starts_with(b"error: ") && plain.status.code() == Some(2));
    }
    let help = command::run(&["--help", "--json"]);
    assert!(help.status.success() && help.stderr.is_empty() && !help.stdout.is_empty());
}
