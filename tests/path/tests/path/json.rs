//! `--json` on every command: one JSON object on standard output, and for an error one on standard error.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use serde_json::Value;

use crate::wait;

/// Commands that stay, and answer nothing that could be one object.
const STAY: [&str; 3] = ["demo", "up", "witness"];

fn databox(words: &[&str]) -> Output {
    Command::new(harness::programs().join("databox")).args(words).output().unwrap()
}

/// Every command, as the help names them: `job show` and its like.
fn commands(of: &[&str]) -> BTreeSet<String> {
    let help = databox(&[of, &["--help"]].concat());
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "));
    // A description that goes on in the next line is indented further.
    let names: Vec<&str> = listed
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    if names.is_empty() {
        return [of.join(" ")].into();
    }
    names.iter().flat_map(|name| commands(&[of, &[name]].concat())).collect()
}

/// A box, its people's profiles, and the commands that were tried.
struct Typed {
    tested: TestBox,
    tried: BTreeSet<String>,
}

impl Typed {
    fn profile(&self, person: &str) -> String {
        let path = self.tested.directory().join(format!("{person}.toml"));
        if !path.exists() {
            self.tested.stage.profile(person).write_new(&path).unwrap();
        }
        path.display().to_string()
    }

    fn path(&self, below: &str) -> String {
        self.tested.directory().join(below).display().to_string()
    }

    fn home(&self) -> String {
        self.tested.stage.home.directory().display().to_string()
    }

    /// Types a command with `--json`, and reads the one object that it answered.
    fn answer(&mut self, command: &str, words: &[&str], exit: i32) -> Value {
        self.tried.insert(command.to_owned());
        let typed: Vec<&str> = command.split(' ').chain(words.iter().copied()).chain(["--json"]).collect();
        let output = databox(&typed);
        let (said, erred) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(output.status.code(), Some(exit), "{command}: {said}{erred}");
        assert_eq!(said.lines().count(), 1, "{command} answers one line: {said}");
        let value: Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command}: {error}: {said}"));
        assert!(value.is_object(), "{command}: {said}");
        value
    }

    fn submit(&mut self, name: &str, code: &str, wait: &str, exit: i32) -> String {
        let text = manifest(ONE_METRIC);
        let bundle = self.tested.bundle(name, &[("databox.toml", &text), ("job.py", code)]);
        let kim = self.profile("kim");
        let mut words = vec![bundle.to_str().unwrap(), "--profile", &kim];
        if !wait.is_empty() {
            words.push(wait);
        }
        self.answer("job submit", &words, exit)["job"].as_str().unwrap().to_owned()
    }
}

#[test]
fn every_command_answers_one_json_object_and_waits_end_by_how_the_job_did() {
    let mut typed = Typed { tested: TestBox::start(), tried: BTreeSet::new() };
    people(&mut typed);
    site(&mut typed);
    jobs(&mut typed);
    operator(&mut typed);
    let mut left = commands(&[]);
    left.retain(|command| !typed.tried.contains(command) && !STAY.contains(&command.as_str()));
    assert!(left.is_empty(), "commands that no one tried: {left:?}");
    for command in STAY {
        let words: &[&str] = match command {
            "demo" => &["demo"],
            "up" => &["up", "--dir", "nowhere"],
            _ => &[
                "witness",
                "--name",
                "w",
                "--state",
                "nowhere",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "nowhere",
            ],
        };
        let output = databox(&[words, &["--json"]].concat());
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((&told["error"], output.status.code()), (&"NO_JSON".into(), Some(2)), "{command}");
    }
}

#[test]
fn an_error_is_one_json_object_with_its_name_and_what_to_do() {
    let nowhere = Path::new("/nonexistent");
    let output = databox(&["fsck", "--dir", nowhere.to_str().unwrap(), "--json"]);
    assert!(output.stdout.is_empty());
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(told["exit"].as_i64(), output.status.code().map(i64::from));
    assert!(told["error"].is_string() && told["text"].is_string() && told["hint"].is_string(), "{told}");
}

#[test]
fn a_line_that_no_command_understands_is_one_json_object_too() {
    for command in commands(&[]) {
        let typed: Vec<&str> = command.split(' ').chain(["--no-such-option", "--json"]).collect();
        let output = databox(&typed);
        assert!(output.stdout.is_empty() && output.status.code() == Some(2), "{command}: {output:?}");
        let told: Value =
            serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{command}: {output:?}"));
        assert_eq!((&told["error"], &told["exit"]), (&"USAGE".into(), &2.into()), "{command}");
        assert!(told["text"].as_str().unwrap().contains("--no-such-option"), "{command}: {told}");
        assert!(!told["hint"].as_str().unwrap().is_empty(), "{command}: {told}");
    }
}

fn people(typed: &mut Typed) {
    let passphrase = typed.path("people/passphrase");
    let out = typed.path("new-people");
    std::fs::create_dir(&out).unwrap();
    let made = typed.answer(
        "key new",
        &["zoe", "--organisation", "university", "--out", &out, "--passphrase-file", &passphrase],
        0,
    );
    assert_eq!(made["made"].as_array().unwrap().len(), 5);
    let (home, request, certificate) =
        (typed.home(), format!("{out}/zoe.tls.csr"), format!("{out}/zoe.tls.pem"));
    let issue = [
        "--home",
        &home,
        "--request",
        &request,
        "--role",
        "researcher",
        "--id",
        "zoe",
        "--out",
        &certificate,
    ];
    typed.answer("cert issue", &issue, 0);
    let draft = typed.path("revoked.json");
    typed.answer("cert revoke", &["--home", &home, "--certificate", &certificate, "--out", &draft], 0);
}

fn site(typed: &mut Typed) {
    let (site, people) = (typed.tested.stage.home.site().display().to_string(), typed.path("people"));
    let (passphrase, pin) = (typed.path("people/passphrase"), typed.tested.stage.pin.to_string());
    let (from, draft) = (typed.path("revocation.toml"), typed.path("revocation.json"));
    std::fs::write(&from, "site = \"demo.databox.example\"\n").unwrap();
    typed.answer(
        "site new",
        &["revocation", "--from", &from, "--out", &draft, "--site-directory", &site, "--days", "5"],
        0,
    );
    typed.answer(
        "site sign",
        &[&draft, "--as", "ana", "--keys", &people, "--passphrase-file", &passphrase],
        0,
    );
    typed.answer("site install", &[&draft, "--site-directory", &site, "--pin", &pin], 0);
    let found = typed.answer("site ls", &[&site, "--pin", &pin], 0);
    assert!(found["found"].as_array().unwrap().len() > 4);
    let home = typed.home();
    let (answer, out) = (typed.path("box/drafts/runtime-host-python.json"), typed.path("drafted.json"));
    typed.answer("site draft", &[&answer, "--out", &out], 0);
    typed.answer("site pin", &["--home", &home, &pin], 0);
}

fn jobs(typed: &mut Typed) {
    let (kim, ana, ben) = (typed.profile("kim"), typed.profile("ana"), typed.profile("ben"));
    typed.answer("data ls", &["--profile", &kim], 0);
    let published = typed.answer("data show", &["hie", "--profile", &kim], 0);
    assert!(published["tables"][0]["columns"].as_array().is_some_and(|columns| columns.len() > 2));
    assert_eq!(published["runtimes"][0]["answersQueries"], false);
    let unknown = databox(&["data", "show", "hei", "--profile", &kim, "--json"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", String::from_utf8_lossy(&unknown.stderr));
    let new = typed.path("new-job");
    typed.answer("job new", &[&new], 0);
    let waits = ["--wait", ""];
    let released = typed.submit("released", &write_metric("0.25"), waits[0], 0);
    typed.submit("failed", "raise KeyError(1)", waits[0], 20);
    typed.submit("blocked", THEFT, waits[0], 21);
    let (bundle, data, out) =
        (typed.path("bundles/released"), format!("hie={}", typed.path("data")), typed.path("desk"));
    let ran = typed.answer("job run", &["--local", &bundle, "--data", &data, "--out", &out], 0);
    assert_eq!((&ran["state"], &ran["check"]["result"]), (&"PASS".into(), &"PASS".into()));
    let inspected = packed(typed);
    let of_file = typed.answer("job inspect", &[inspected.to_str().unwrap()], 0);
    assert_eq!(of_file, typed.answer("job inspect", &[&bundle], 0), "a directory is packed first");
    typed.answer("job ls", &["--profile", &kim], 0);
    let shown = typed.answer("job show", &[&released, "--profile", &kim], 0);
    assert_eq!(shown["state"], "IN_REVIEW");
    let review = typed.answer("review ls", &["--profile", &ana], 0)["reviews"].as_array().unwrap().clone();
    let open = review.iter().find(|review| review["state"] == "OPEN").unwrap();
    assert_eq!((&open["job"], &open["requester"]), (&released[..].into(), &"kim".into()), "{open}");
    let review = open["review"].as_str().unwrap().to_owned();
    let looked = typed.answer("review show", &[&review, "--profile", &ana], 0);
    assert!(looked["words"].as_str().unwrap().contains("PASS"));
    // With --json nobody is asked.
    let output = databox(&["review", "approve", &review, "--profile", &ana, "--json"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("NOT_CONFIRMED"));
    for profile in [&ana, &ben] {
        typed.answer("review approve", &[&review, "--confirm", &review, "--profile", profile], 0);
    }
    let output = databox(&["review", "show", &review, "--profile", &ana, "--json"]);
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&told["error"], output.status.code()), (&"DECIDED".into(), Some(6)), "{told}");
    wait(typed.tested.wait("kim", &released, State::Released));
    typed.answer("release ls", &["--profile", &kim], 0);
    let out = typed.path("release");
    let got = typed.answer("release get", &[&released, "--out", &out, "--profile", &kim], 0);
    assert_eq!(got["verified"], true);
    checked(typed, &out);
    let rejected = typed.submit("rejected", &write_metric("0.5"), waits[0], 0);
    let opened = wait(typed.tested.opened("ana", &rejected));
    let review = opened.digest.to_string();
    let denied = typed.answer("review reject", &[&review, "--reason", "too-much", "--profile", &ana], 0);
    assert_eq!(denied["witnessedDenial"], true);
    watched(typed, &released, &kim);
    let slow = typed.submit("slow", "import time\ntime.sleep(25)", waits[1], 0);
    wait(typed.tested.wait("kim", &slow, State::Running));
    let cancelled = typed.answer("job cancel", &[&slow, "--profile", &kim], 0);
    assert_eq!(cancelled["cancelRequested"], true);
}

/// A watch answers one object a line, and ends with the job.
fn watched(typed: &mut Typed, job: &str, profile: &str) {
    typed.tried.insert("job watch".to_owned());
    let output = databox(&["job", "watch", job, "--profile", profile, "--json"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["event"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap()["state"], "RELEASED");
    let after = databox(&["job", "watch", job, "--after", "2", "--profile", profile, "--json"]);
    let rest = String::from_utf8(after.stdout).unwrap();
    assert_eq!(rest.lines().count(), events.len() - 2);
}

/// What `databox check` says of released files.
fn checked(typed: &mut Typed, outputs: &str) {
    let text = typed.path("bundles/released/databox.toml");
    let only = PathBuf::from(typed.path("only-outputs"));
    std::fs::create_dir(&only).unwrap();
    std::fs::copy(Path::new(outputs).join("metrics.json"), only.join("metrics.json")).unwrap();
    let result = typed.answer("check", &["--manifest", &text, "--outputs", only.to_str().unwrap()], 0);
    assert_eq!(result["result"], "PASS");
    let standard = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/standard.toml");
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/demo.toml");
    let model = typed.path("public.safetensors");
    let head = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    std::fs::write(
        &model,
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &[0, 0, 128, 63]].concat(),
    )
    .unwrap();
    let tensors = typed.answer("tensors", &[&model], 0);
    assert_eq!((&tensors["precision"], &tensors["tensors"][0]["name"]), (&"bf16".into(), &"w".into()));
    // SHA-256 of 1.0 in bfloat16: 80 3f.
    let sha256 = blobs::Digest::of(&[0x80, 0x3f]).to_string();
    assert_eq!(tensors["tensors"][0]["sha256"], sha256);
    let said = String::from_utf8(databox(&["tensors", &model]).stdout).unwrap();
    assert!(
        said.starts_with("# as bf16") && said.contains(&format!("shape = [1], sha256 = \"{sha256}\" }}")),
        "{said}"
    );
    assert_eq!(typed.answer("policy lint", &[demo], 0)["weaker"][0]["key"], "time_grid_seconds");
    let examples = typed.answer("policy test", &[standard], 0)["examples"].as_array().unwrap().len();
    assert!(examples > 30, "{examples}");
    let explained = typed.answer("policy explain", &["table.smallest-count"], 0);
    assert_eq!(explained["rules"][0]["limits"][0], "smallest_count = 10");
}

/// A bundle file, as the gateway keeps it.
fn packed(typed: &Typed) -> PathBuf {
    let directory = typed.tested.stage.home.join("gateway");
    let mut open = vec![directory, typed.tested.stage.home.join("hand-over/gateway-to-enclave")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if std::fs::read(&path).unwrap_or_default().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                return path;
            }
        }
    }
    panic!("no bundle is kept");
}

fn operator(typed: &mut Typed) {
    let home = typed.home();
    typed.answer("doctor", &["--dir", &home], 11);
    let other = typed.path("other-box");
    typed.answer("init", &["--dir", &other, "--site", "other.example"], 0);
    let data = typed.path("data");
    let add = [
        "more",
        &data,
        "--home",
        &other,
        "--unit-column",
        "zper",
        "--release-bits",
        "1",
        "--answer-bits",
        "1000",
    ];
    typed.answer("data add", &[&add[..], &["--licence", "none", "--source", "a test"]].concat(), 0);
    typed.answer("runtime add", &["python", "--home", &other, "--from-host-python"], 0);
    typed.tested.stage.stop();
    let report = typed.answer("fsck", &["--dir", &home], 0);
    assert_eq!(report["broken"], 0);
}

const THEFT: &str = r#"
row = open("/data/hie/hie.csv").read().split("\n")[5]
open("/out/metrics.json", "w").write('{"value": 1, "' + row + '": 2}')
"#;
