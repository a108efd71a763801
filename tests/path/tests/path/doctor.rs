//! `databox doctor`: a sound box has nothing that fails, and each defect is named by its own check.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use blobs::Digest;
use databox::doctor::{Check, Grade, examine};
use databox::site::SiteKind;
use databox::throwaway::POLICY;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::outages::Hanging;
use crate::wait;

/// What was found that is not as it should be.
fn failing(tested: &TestBox) -> Vec<Check> {
    examine(&tested.stage.home).into_iter().filter(|check| check.grade == Grade::Fail).collect()
}

fn assert_sound(tested: &TestBox, after: &str) {
    let failing = failing(tested);
    assert!(failing.is_empty(), "after {after}: {failing:#?}");
}

/// Asserts that a check of this name and grade says these words, with a remedy.
fn assert_named(tested: &TestBox, what: &str, grade: Grade, name: &str, words: &str) {
    let checks = examine(&tested.stage.home);
    let found = checks.iter().find(|check| {
        check.name == name && check.grade == grade && check.found.contains(words) && check.remedy.is_some()
    });
    assert!(found.is_some(), "{what}: {checks:#?}");
}

/// Changes a file, looks, and puts it back.
fn with_text(tested: &TestBox, below: &str, change: impl Fn(&str) -> String, expected: (Grade, &str, &str)) {
    let path = tested.stage.home.join(below);
    let before = fs::read_to_string(&path).unwrap();
    let changed = change(&before);
    assert_ne!(changed, before, "{below} was changed");
    fs::write(&path, changed).unwrap();
    assert_named(tested, below, expected.0, expected.1, expected.2);
    fs::write(&path, before).unwrap();
}

fn with_mode(tested: &TestBox, below: &str, mode: u32) {
    let path = tested.stage.home.join(below);
    let before = fs::metadata(&path).unwrap().permissions();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    assert_named(tested, below, Grade::Fail, "permissions", below);
    fs::set_permissions(&path, before).unwrap();
}

pub fn moved_away(tested: &TestBox, path: &Path, expected: (&str, &str)) {
    let aside = path.with_extension("aside");
    fs::rename(path, &aside).unwrap();
    assert_named(tested, &path.display().to_string(), Grade::Fail, expected.0, expected.1);
    fs::rename(&aside, path).unwrap();
}

fn only_entry(directory: &Path) -> PathBuf {
    fs::read_dir(directory).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_sound_box_has_nothing_that_fails_and_each_of_its_defects_is_named() {
    let mut tested = TestBox::start();
    // So that the log has a head that witnesses have seen, and an older one.
    let older = first_head(&tested);
    let text = manifest(ONE_METRIC);
    let bundle = tested.bundle("honest", &[("databox.toml", &text), ("job.py", &write_metric("0.25"))]);
    wait(async {
        let job = tested.run_job("kim", &bundle).await.job;
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    });
    assert_sound(&tested, "its start");
    permissions(&tested);
    configurations(&tested);
    quorum(&tested);
    certificates(&tested);
    site(&tested);
    drafts(&tested);
    stores(&tested);
    assert_sound(&tested, "every defect of its files was put back");
    witnesses(&mut tested);
    heads(&tested, &older);
    tested.stage.rooms().kill("console");
    assert_named(&tested, "a room that is down", Grade::Fail, "rooms", "the console does not answer");
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "console").unwrap();
    assert_sound(&tested, "the console came back");
    for room in ["gateway", "console", "signer"] {
        let hanging = Hanging::room(&mut tested, room);
        let words = format!("the {room} does not answer");
        assert_named(&tested, "a room that stands still", Grade::Fail, "rooms", &words);
        drop(hanging);
    }
    assert_sound(&tested, "every room went on");
    tested.stage.stop();
    assert_named(&tested, "all rooms down", Grade::Warn, "rooms", "no room runs");
}

fn permissions(tested: &TestBox) {
    for key in ["keys/enclave.pem", "keys/signer.pem", "keys/log.pem", "tls/gateway.key", "tls/ca.key"] {
        with_mode(tested, key, 0o640);
    }
    for (directory, mode) in
        [("gateway", 0o750), ("enclave", 0o701), ("keys", 0o755), ("hand-over/enclave-to-console", 0o755)]
    {
        with_mode(tested, directory, mode);
    }
    with_mode(tested, "site", 0o775);
    with_mode(tested, "signer.toml", 0o666);
    moved_away(tested, &tested.stage.home.key("log"), ("permissions", "log.pem"));
}

fn configurations(tested: &TestBox) {
    let fail = |name, words| (Grade::Fail, name, words);
    with_text(tested, "gateway.toml", |text| format!("{text}\n=="), fail("configuration", "gateway.toml"));
    with_text(
        tested,
        "signer.toml",
        |text| text.replace("site_pin", "site_pim"),
        fail("configuration", "signer.toml has no usable site_pin"),
    );
    with_text(
        tested,
        "enclave.toml",
        |text| format!("slots = 100000\n{}", without(text, "slots")),
        fail("memory", "100000 slots"),
    );
    with_text(
        tested,
        "enclave.toml",
        |text| {
            format!(
                "{}\n[limits]\nrun_disk_bytes = 1000000000000000\n",
                text.split("[limits]").next().unwrap()
            )
        },
        fail("disk", "enclave"),
    );
    with_text(
        tested,
        "signer.toml",
        |text| text.replace("heads/signer", "signer"),
        fail("heads", "lies within a room's own directory"),
    );
}

/// The one witness is on the box's machine.
fn quorum(tested: &TestBox) {
    for room in ["signer.toml", "gateway.toml", "enclave.toml"] {
        let found = format!("by {room} 0 of 1 witnesses count");
        let refuse =
            |text: &str| text.replace("accept_on_box_witness = true", "accept_on_box_witness = false");
        with_text(tested, room, refuse, (Grade::Fail, "witness-quorum", &found));
    }
    let stage = &tested.stage;
    let standard = include_str!("../../../../policies/egress/standard.toml");
    let file = tested.directory().join("statements/standard.toml");
    fs::write(&file, standard).unwrap();
    let text = "site = \"demo.databox.example\"\nname = \"standard\"\nfile = \"standard.toml\"\n";
    stage.state_as(SiteKind::Policy, "standard", text, &["ana", "ben"], Some(file)).unwrap();
    let words = "by policy standard 0 of 1 witnesses count";
    assert_named(tested, "a policy that no grant names", Grade::Warn, "witness-quorum", words);
    assert_sound(tested, "a policy that no grant names");
    let grant = fs::read_to_string(tested.directory().join("statements/grant.from.toml")).unwrap();
    let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
    let grant = grant
        .replace("grant-1", "grant-2")
        .replace("name = \"demo\"", "name = \"standard\"")
        .replace(&digest(POLICY), &digest(standard));
    stage.state_as(SiteKind::Grant, "grant-2", &grant, &["ana", "ben"], None).unwrap();
    let words = "grant grant-2: no release can leave, held up by log-witnesses";
    assert_named(tested, "a grant under it", Grade::Fail, "witness-quorum", words);
    fs::remove_dir_all(stage.home.site().join("grants/grant-2")).unwrap();
    assert_sound(tested, "the grant was taken out");
}

/// A configuration without a key.
fn without(text: &str, key: &str) -> String {
    let kept = text.lines().filter(|line| line.split(" = ").next() != Some(key));
    kept.map(|line| format!("{line}\n")).collect()
}

fn certificates(tested: &TestBox) {
    let home = &tested.stage.home;
    let fail = |words| (Grade::Fail, "certificate", words);
    let console = fs::read_to_string(home.tls("console", "pem")).unwrap();
    with_text(tested, "tls/gateway.pem", |_| console.clone(), fail("is the key of another certificate"));
    with_text(tested, "tls/gateway.pem", |_| "no certificate".to_owned(), fail("gateway.pem"));
    let ours = signed(home, -2, -1);
    with_text(tested, "tls/gateway.pem", |_| ours.clone(), fail("it expired"));
    let soon = signed(home, -2, 3);
    with_text(tested, "tls/gateway.pem", |_| soon.clone(), (Grade::Warn, "certificate", "it expires in"));
    let foreign = foreign();
    with_text(tested, "tls/ca.pem", |_| foreign.clone(), fail("UnknownIssuer"));
}

/// A certificate of the gateway's own key and the box's authority, valid between these days from now.
fn signed(home: &databox::home::Home, from: i64, until: i64) -> String {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let authority = rcgen::KeyPair::from_pem(&read(home.tls("ca", "key"))).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read(home.tls("ca", "pem")), authority).unwrap();
    let key = rcgen::KeyPair::from_pem(&read(home.tls("gateway", "key"))).unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let now = SystemTime::now();
    let day = |days: i64| match u64::try_from(days) {
        Ok(days) => now + Duration::from_secs(days * 86_400),
        Err(_) => now - Duration::from_secs(days.unsigned_abs() * 86_400),
    };
    (params.not_before, params.not_after) = (day(from).into(), day(until).into());
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.signed_by(&key, &issuer).unwrap().pem()
}

/// Another authority.
fn foreign() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.self_signed(&key).unwrap().pem()
}

fn site(tested: &TestBox) {
    let home = &tested.stage.home;
    let other = "0".repeat(64);
    let pin = tested.stage.pin.to_string();
    with_text(tested, "signer.toml", |text| text.replace(&pin, &other), (Grade::Fail, "site", "roles"));
    let stray = home.site().join("notes.txt");
    fs::write(&stray, "x").unwrap();
    assert_named(tested, "a stray file", Grade::Warn, "site-set-aside", "notes.txt");
    fs::remove_file(&stray).unwrap();
    std::os::unix::fs::symlink("/etc/hosts", &stray).unwrap();
    assert_named(tested, "a link", Grade::Fail, "site", "not a file of a site directory");
    fs::remove_file(&stray).unwrap();
    without_a_revocation(tested);
    let grant = home.site().join("grants/grant-1/1.json");
    let text = fs::read_to_string(&grant).unwrap();
    let changed = text.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1);
    fs::write(&grant, &changed).unwrap();
    assert_named(tested, "a grant that nobody signed", Grade::Warn, "site-set-aside", "grant-1");
    fs::write(&grant, from_the_future(&text)).unwrap();
    assert_named(tested, "a statement of tomorrow", Grade::Fail, "clock", "behind the moment");
    fs::write(&grant, &text).unwrap();
}

/// Nothing else that may be wrong with a site passes for it.
fn without_a_revocation(tested: &TestBox) {
    let (path, aside) = (tested.stage.home.site().join("revocations"), tested.directory().join("aside"));
    fs::rename(&path, &aside).unwrap();
    let checks: Vec<_> = failing(tested).into_iter().filter(|check| check.name == "site").collect();
    let [check] = &checks[..] else { panic!("one check of the site fails: {checks:#?}") };
    assert_eq!(check.found, "the site has no revocation: nothing is admitted, approved or signed");
    assert!(check.remedy.as_ref().unwrap().contains("databox site new revocation"), "{check:?}");
    fs::rename(&aside, &path).unwrap();
}

/// The statement as if it had been signed long after now.
fn from_the_future(envelope: &str) -> String {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut envelope: serde_json::Value = serde_json::from_str(envelope).unwrap();
    let payload = base64.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let mut statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    statement["predicate"]["issuedAt"] = "2190-01-01T00:00:00Z".into();
    envelope["payload"] = base64.encode(serde_json::to_vec(&statement).unwrap()).into();
    envelope.to_string()
}

fn drafts(tested: &TestBox) {
    let drafts = tested.stage.home.drafts();
    for (draft, name) in [("hie.packet", "hie"), ("runtime-host-python.json", "host-python")] {
        let mark = drafts.join(format!("{draft}.done"));
        let tree = fs::read(&mark).unwrap();
        fs::write(&mark, format!("{}\n", "0".repeat(64))).unwrap();
        let words = format!("{name} is drafted and not in the catalogue");
        assert_named(tested, "a draft that nobody installed", Grade::Warn, "drafts", &words);
        fs::write(&mark, tree).unwrap();
    }
    let answer = drafts.join("hie.answer.json");
    let taken = fs::read(&answer).unwrap();
    let refused = r#"{"state": "REFUSED", "reason": "HEADER", "detail": "visits.csv has no header"}"#;
    fs::write(&answer, refused).unwrap();
    assert_named(
        tested,
        "refused data",
        Grade::Warn,
        "drafts",
        "hie: REFUSED HEADER: visits.csv has no header",
    );
    fs::write(&answer, taken).unwrap();
}

fn stores(tested: &TestBox) {
    let home = &tested.stage.home;
    let runtime = only_entry(&home.join("enclave/runtimes"));
    let added = runtime.join("added.py");
    let mode = fs::metadata(&runtime).unwrap().permissions();
    fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
    fs::write(&added, "x").unwrap();
    assert_named(tested, "a changed runtime", Grade::Fail, "runtimes", "has another digest");
    fs::remove_file(&added).unwrap();
    fs::set_permissions(&runtime, mode).unwrap();
    moved_away(tested, &home.join("enclave/runtimes"), ("runtimes", "is not in the enclave's store"));
    moved_away(tested, &home.join("enclave/datasets"), ("datasets", "is not in the enclave's store"));
    let left = home.join("hand-over/enclave-to-gateway/.writing-x");
    let file = File::create(&left).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    assert_named(tested, "a half-written file", Grade::Warn, "half-written", ".writing-x");
    fs::remove_file(&left).unwrap();
}

fn witnesses(tested: &mut TestBox) {
    with_text(
        tested,
        "console.toml",
        |text| text.replace("http://", "https://"),
        (Grade::Fail, "witness", "not of the form"),
    );
    stranger(tested);
    tested.stage.kill_witness();
    assert_named(tested, "a witness that is down", Grade::Fail, "witness", "refused");
    tested.stage.start_witness().unwrap();
    let home = tested.stage.home.clone();
    wait(async {
        for _ in 0..100 {
            if !examine(&home).iter().any(|check| check.name == "witness" && check.grade == Grade::Fail) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_sound(tested, "the witness came back");
}

/// The first head of the log that was published.
fn first_head(tested: &TestBox) -> String {
    let path = tested.stage.home.join("public/log/checkpoint");
    let begun = std::time::Instant::now();
    loop {
        if let Ok(head) = fs::read_to_string(&path) {
            return head;
        }
        assert!(begun.elapsed() < harness::PATIENCE, "the first head is published");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An old copy of the log is known by a witness that has seen more; a head that is just being published is none.
fn heads(tested: &TestBox, older: &str) {
    let path = tested.stage.home.join("public/log/checkpoint");
    let newest = fs::read_to_string(&path).unwrap();
    assert_ne!(newest, older);
    fs::write(&path, older).unwrap();
    assert_named(tested, "an old copy of the log", Grade::Fail, "witness", "leaves of this log, and");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            fs::write(&path, &newest).unwrap();
        });
        assert_sound(tested, "a head that witnesses had seen was published");
    });
}

/// A witness that the roles do not name.
fn stranger(tested: &TestBox) {
    let state = tested.directory().join("stranger");
    fs::create_dir(&state).unwrap();
    let address = databox::throwaway::Endpoints::free().unwrap().witness;
    let mut witness = Command::new(harness::programs().join("databox"))
        .args(["witness", "--name", "stranger.example/witness", "--die-with-parent", "--state"])
        .arg(&state)
        .args(["--listen", &address.to_string(), "--log"])
        .arg(tested.stage.home.public_keys())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ours = tested.stage.endpoints().witness.to_string();
    with_text(
        tested,
        "console.toml",
        |text| text.replace(&ours, &address.to_string()),
        (Grade::Fail, "witness", "a key that the roles do not name"),
    );
    witness.kill().unwrap();
    witness.wait().unwrap();
}

#[test]
fn the_command_ends_by_the_worst_that_it_found_and_tells_it_as_json_too() {
    let tested = TestBox::start();
    let home = tested.stage.home.directory().to_owned();
    let doctor = |program: &Path, json: bool| {
        let mut command = Command::new(program);
        command.args(["doctor", "--dir"]).arg(&home);
        if json {
            command.arg("--json");
        }
        command.output().unwrap()
    };
    let program = harness::programs().join("databox");
    // The witness of a throw-away box is on its own machine, of which the doctor warns.
    let output = doctor(&program, true);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(11), "{said}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["grade"], "warn");
    assert!(output.stderr.is_empty(), "one object and nothing else: {output:?}");
    let output = doctor(&program, false);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(11), "{said}");
    assert!(said.contains("warn witness-independent"), "{said}");
    // A program that was installed without the others.
    let alone = tested.directory().join("databox");
    fs::copy(&program, &alone).unwrap();
    let output = doctor(&alone, true);
    assert_eq!(output.status.code(), Some(10));
    assert!(output.stderr.is_empty(), "one object and nothing else: {output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["grade"], "fail");
    let checks = told["checks"].as_array().unwrap();
    let named = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!((&named("programs")["grade"], &named("permissions")["grade"]), (&"fail".into(), &"ok".into()));
    assert!(named("wall")["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()));
}

#[test]
fn a_machine_without_user_namespaces_is_told_so_with_the_remedy() {
    let tested = TestBox::start();
    // A user who is not root, in the one namespace that may still be made.
    let script = "echo 1 > /proc/sys/user/max_user_namespaces && \
        exec unshare --user --map-user=65534 --map-group=65534 \"$0\" doctor --json --dir \"$1\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(harness::programs().join("databox"))
        .arg(tested.stage.home.directory())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let wall = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "wall").unwrap();
    assert_eq!(wall["grade"], "fail");
    assert!(wall["remedy"].as_str().unwrap().contains("max_user_namespaces"), "{wall}");
}
