//! The example `examples/python-client`: the same path, driven by a client in another language made from `proto/`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::{questions, wait};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn succeeded(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The directory with the virtual environment and the generated stubs. Packages are fetched once for each list of
/// requirements; the stubs are made anew in each run, since `proto/` may have changed.
fn environment() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = harness::programs().join("../../python-client");
        let requirements = root().join("examples/python-client/requirements.txt");
        let wanted = std::fs::read(&requirements).unwrap();
        let installed = directory.join("installed.txt");
        if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
            let venv = directory.join("venv");
            succeeded(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv));
            let mut install = Command::new(venv.join("bin/pip"));
            succeeded(install.args(["install", "--quiet", "--requirement"]).arg(&requirements));
            std::fs::write(&installed, &wanted).unwrap();
        }
        let stubs = directory.join("stubs");
        std::fs::create_dir_all(&stubs).unwrap();
        let mut generate = Command::new(directory.join("venv/bin/python"));
        generate.args(["-m", "grpc_tools.protoc", "-I"]).arg(root().join("proto"));
        generate.arg("--python_out").arg(&stubs).arg("--grpc_python_out").arg(&stubs);
        let public = std::fs::read_dir(root().join("proto/databox/v1")).unwrap();
        succeeded(generate.args(public.map(|file| file.unwrap().path())));
        directory
    })
}

/// Python with the generated stubs and the example on its path.
fn python(script: &Path) -> Command {
    let environment = environment();
    let mut command = Command::new(environment.join("venv/bin/python"));
    let example = root().join("examples/python-client");
    let path = std::env::join_paths([environment.join("stubs"), example]).unwrap();
    command.arg(script).env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut programs = vec![harness::programs()];
    programs.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    command.env("PATH", std::env::join_paths(programs).unwrap());
    command
}

fn profile(tested: &TestBox, researcher: &str) -> PathBuf {
    let path = tested.directory().join(format!("{researcher}.toml"));
    if !path.exists() {
        tested.stage.profile(researcher).write_new(&path).unwrap();
    }
    path
}

/// The example's command line.
fn client(tested: &TestBox, researcher: &str) -> Command {
    let mut command = python(&root().join("examples/python-client/client.py"));
    command.arg("--profile").arg(profile(tested, researcher));
    command
}

/// One step of the script beside this file.
fn step(tested: &TestBox, bundle: &Path, work: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/path/python_client.py");
    succeeded(python(&script).arg(profile(tested, "kim")).arg(bundle).arg(work))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_python_client_takes_a_job_from_its_bundle_to_files_that_an_auditor_verifies() {
    let mut tested = TestBox::start();
    let text = manifest(ONE_METRIC);
    let bundle = tested.bundle("python", &[("databox.toml", &text), ("job.py", &write_metric("0.12345678"))]);
    let job = succeeded(client(&tested, "kim").arg("submit").arg(&bundle));
    let mut watch = client(&tested, "kim").args(["watch", &job]).stdout(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event: &String| !event.ends_with(" IN_REVIEW")) {
        seen.push(events.next().expect("the watch goes on to the review"));
    }
    // The stream breaks here, and is taken up where it was.
    tested.stage.kill_and_restart("gateway").unwrap();
    wait(async {
        tested.approve("ana").await;
        tested.approve("ben").await;
    });
    seen.extend(events);
    assert!(watch.wait().unwrap().success());
    let numbers: Vec<_> = seen.iter().map(|event| event.split(' ').next().unwrap().to_owned()).collect();
    let expected: Vec<_> = (1..=seen.len()).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected, "each event once and none left out");
    assert!(seen.last().unwrap().ends_with(" RELEASED"), "{seen:?}");

    let out = tested.directory().join("released");
    let file = succeeded(client(&tested, "kim").args(["get", &job, "--out"]).arg(&out));
    assert_eq!(std::fs::read_to_string(out.join("metrics.json")).unwrap(), "{\"value\":0.1235}\n");
    let mut verify = Command::new(harness::programs().join("databox-verify"));
    verify.arg(&file).arg("--files").arg(&out).args(["--roles", &tested.stage.pin.to_string()]);
    assert!(succeeded(verify.arg("--accept-on-box-witness")).contains("VERIFIED"));
}

#[test]
fn a_python_client_asks_a_question_that_the_box_answers_and_is_told_by_name_what_is_not_answered() {
    let tested = wait(questions::start());
    let sql = "SELECT plan, COUNT(*) FROM hie GROUP BY plan";
    let bundle = tested.bundle("asked", &[("databox.toml", &questions::manifest(sql))]);
    let job = succeeded(client(&tested, "kim").arg("submit").arg(&bundle));
    let reached = wait(tested.wait("kim", &job, State::InReview));
    assert_eq!(reached, State::InReview);
    let opened = wait(tested.opened("ana", &job));
    assert_eq!(
        String::from_utf8_lossy(&opened.content.canonical[0].1),
        "plan,units\ndeductible,100\nfree,100\nshared,100\n"
    );
    let wrong = questions::manifest("SELECT MAX(visits) FROM hie");
    let bundle = tested.bundle("wrong", &[("databox.toml", &wrong)]);
    let refused = client(&tested, "kim").arg("submit").arg(&bundle).output().unwrap();
    assert!(!refused.status.success());
    assert!(said(&refused).contains("QUERY: MAX(visits) is one person's value"), "{}", said(&refused));
}

#[test]
fn a_python_client_goes_on_with_an_upload_that_broke_off_and_calls_its_job_off() {
    let tested = TestBox::start();
    let text = manifest(ONE_METRIC);
    let slow = format!("import time\ntime.sleep(20)\n{}", write_metric("1"));
    let bundle = tested.bundle("large", &[("databox.toml", &text), ("job.py", &slow)]);
    // Bytes that do not compress: each is the digest of a number.
    let noise: Vec<u8> =
        (0..100_000_u32).flat_map(|number| *blobs::Digest::of(&number.to_le_bytes()).as_bytes()).collect();
    std::fs::write(bundle.join("noise.dat"), noise).unwrap();
    step(&tested, &bundle, "break-upload");
    let begin: usize = step(&tested, &bundle, "upload").parse().unwrap();
    assert!(begin >= api::CHUNK_BYTES, "what was on disk is not sent again: {begin}");

    let first = succeeded(client(&tested, "kim").arg("submit").arg(&bundle));
    let second = succeeded(client(&tested, "kim").arg("submit").arg(&bundle));
    assert_ne!(first, second, "each request is one of its own");
    let cancelled = [&second, &first].map(|job| {
        succeeded(client(&tested, "kim").args(["cancel", job]));
        wait(tested.wait("kim", job, State::Cancelled))
    });
    assert_eq!(cancelled, [State::Cancelled; 2]);
    assert_eq!(step(&tested, &bundle, "pages"), "2");
    assert_eq!(succeeded(client(&tested, "kim").arg("ls")).lines().count(), 2);
}

#[test]
fn a_python_client_is_told_the_name_of_each_refusal() {
    let tested = TestBox::start();
    let text = manifest(ONE_METRIC);
    let bundle = tested.bundle("refused", &[("databox.toml", &text), ("job.py", &write_metric("1"))]);
    let job = succeeded(client(&tested, "kim").arg("submit").arg(&bundle));
    let ended = wait(async { tested.bench("kim").await.job(&job).await.unwrap() });
    assert!(!state(&ended).is_end(), "the job is there for its own requester");
    let foreign = client(&tested, "lee").args(["watch", &job]).output().unwrap();
    assert!(!foreign.status.success() && said(&foreign).contains("NOT_FOUND"), "{}", said(&foreign));
    let cancel = client(&tested, "lee").args(["cancel", &job]).output().unwrap();
    assert!(!cancel.status.success(), "nobody else calls a job off");
    assert!(said(&cancel).starts_with("error: NOT_FOUND"), "{}", said(&cancel));
    assert_eq!(step(&tested, &bundle, "page-size"), "PAGE_SIZE");
}
