//! The verifier as it is installed, in a process that has no network at all: every vector comes out as it says.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use release::json;
use test_formats::vector::{Vector, directory};

/// A program in a network namespace of its own, in which not even the loopback is up. Whoever is not root gets it with a
/// user namespace around it.
fn without_network(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]).arg(program);
    command
}

/// Set for this test when it is run by itself in such a process.
const CONNECT_TO: &str = "DATABOX_VERIFY_TEST_CONNECT_TO";

fn vectors() -> Vec<(String, Vector)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory()).expect("vectors").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, Vector::parse(&fs::read(path).expect("a vector")))
    };
    paths.into_iter().map(read).collect()
}

fn verify(vector: &Vector, directory: &Path) -> Output {
    let release = directory.join("example.release.json");
    fs::write(&release, vector.release_bytes()).expect("a release file");
    let mut command = without_network(Path::new(env!("CARGO_BIN_EXE_databox-verify")));
    command.arg(&release).arg("--roles").arg(vector.roles.to_string());
    if vector.accept_on_box_witness {
        command.arg("--accept-on-box-witness");
    }
    if let Some(seen) = &vector.remember {
        let memory = directory.join("memory.json");
        fs::write(&memory, json::to_bytes(seen)).expect("a memory");
        command.arg("--remember").arg(memory);
    }
    if let Some(files) = &vector.files {
        let folder = directory.join("files");
        fs::create_dir(&folder).expect("a directory");
        files.iter().for_each(|(name, bytes)| fs::write(folder.join(name.as_str()), bytes).expect("a file"));
        command.arg("--files").arg(folder);
    }
    command.output().expect("unshare is installed")
}

#[test]
fn without_any_network_the_program_itself_verifies_and_refuses_each_vector_by_its_code() {
    for (name, vector) in vectors() {
        let directory = tempfile::tempdir().expect("a directory");
        let output = verify(&vector, directory.path());
        let expected = vector.expect.map_or(0, |refusal| i32::from(refusal.code()));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{name}: {said}{:?}", output.stderr);
        assert!(output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Without this the test above would pass on a machine whose `unshare` takes nothing away.
#[test]
fn what_is_started_without_network_reaches_nobody_and_beside_it_the_same_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    assert!(TcpStream::connect(&address).is_ok());
    let this = std::env::current_exe().expect("this program");
    let connect = |mut command: Command| {
        let test = ["--exact", "--ignored", "connects"];
        command.args(test).env(CONNECT_TO, &address).output().expect("a process").status.success()
    };
    assert!(connect(Command::new(&this)));
    assert!(!connect(without_network(&this)));
}

#[test]
#[ignore = "the other test starts it, in a process of its own"]
fn connects() {
    let address = std::env::var(CONNECT_TO).expect("an address from the test that starts this");
    TcpStream::connect(address).expect("a connection");
}
