//! Each layer of the wall is for something: without it an attempt succeeds that fails with it, or nothing starts. The
//! launcher of these tests is made of the true one's modules and leaves out what its name says; nothing can make the
//! true one do that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sandbox::{LayerName, Outcome, State};
use test_attacks::seen::Seen;
use test_attacks::stage::{GROUP, Stage, is_root, open_directory};

/// What is seen of one attempt with some layers left out, and with one more.
struct Row {
    /// The layer.
    layer: LayerName,
    /// Layers that would stop the attempt as well, and are left out in both.
    without: &'static [&'static str],
    /// The program that makes the attempt.
    program: &'static str,
    attempt: &'static str,
    /// What it sees while the layer is there.
    with_layer: &'static str,
    /// How what it sees without begins.
    without_layer: &'static str,
}

const fn row(
    layer: LayerName,
    without: &'static [&'static str],
    program: &'static str,
    attempt: &'static str,
    with_layer: &'static str,
    without_layer: &'static str,
) -> Row {
    Row { layer, without, program, attempt, with_layer, without_layer }
}

use LayerName as L;

/// Layers without which an attempt succeeds.
const ROWS: [Row; 17] = [
    row(L::NetworkNamespace, &[], "files.py", "shared-namespace-net", "own", "shared"),
    row(
        L::NetworkNamespace,
        &["landlock"],
        "network.py",
        "abstract-socket-of-the-host",
        "ECONNREFUSED",
        "reached",
    ),
    row(L::IpcNamespace, &[], "files.py", "shared-namespace-ipc", "own", "shared"),
    row(L::CgroupNamespace, &[], "files.py", "shared-namespace-cgroup", "own", "shared"),
    row(L::ReadOnlyRoot, &[], "files.py", "touch-the-root", "EROFS", "reached"),
    row(L::OwnHostUser, &[], "files.py", "closed-file-of-the-caller", "EACCES", "reached"),
    row(L::GroupsDropped, &[], "files.py", "file-of-the-callers-group", "EACCES", "reached"),
    row(L::NoNestedNamespaces, &["seccomp"], "calls.py", "unshare-user", "ENOSPC", "reached"),
    row(L::CapabilitiesDropped, &[], "processes.py", "capabilities", "none", "seen"),
    row(
        L::NoNewPrivileges,
        &["seccomp", "landlock"],
        "processes.py",
        "privileges-by-executing",
        "off",
        "gains",
    ),
    row(L::Seccomp, &[], "network.py", "socket-inet-stream", "EPERM", "reached"),
    row(L::Seccomp, &[], "calls.py", "memfd-create", "EPERM", "reached"),
    row(L::ResourceLimits, &[], "processes.py", "core-file", "1", "-1"),
    row(L::Landlock, &[], "processes.py", "signal-the-first-process", "EPERM", "reached"),
    row(L::Landlock, &["network-namespace"], "network.py", "abstract-socket-of-the-host", "EPERM", "reached"),
    row(L::Landlock, &["read-only-root"], "files.py", "new-name-at-the-top", "EACCES", "reached"),
    row(L::TimeNamespace, &[], "files.py", "time-since-boot", "own", "seen"),
];

/// Layers without which the helper starts nothing, and the step at which it notices.
const REFUSED: [(LayerName, &str); 5] = [
    (L::UserNamespace, "UserMap"),
    (L::MountNamespace, "PrivateMounts"),
    (L::PidNamespace, "Processes"),
    (L::UtsNamespace, "HostName"),
    (L::EmptyRoot, "Pivot"),
];

struct Bench {
    directory: tempfile::TempDir,
    runtime: PathBuf,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let directory = open_directory().expect("a temporary directory");
    let runtime = directory.path().join("runtime");
    sandbox::host_python("/usr/bin/python3".as_ref(), &runtime).expect("a runtime");
    Bench { directory, runtime }
});

/// A copy of the launcher that leaves these layers out, and with none of them one that leaves nothing out.
fn helper(without: &[&str]) -> PathBuf {
    let name = format!("launch-without+{}", without.join("+"));
    let helper = BENCH.directory.path().join(name);
    let liars = harness::programs().with_file_name("liars");
    if !helper.exists() {
        // Renamed into place: another test may copy the same one.
        let beside = helper.with_extension(format!("{:?}", std::thread::current().id()));
        fs::copy(liars.join("launch-without"), &beside)
            .expect("the weakened launcher, by `cargo xtask build`");
        fs::rename(&beside, &helper).expect("its name");
    }
    helper
}

/// Runs one hostile program behind a wall without these layers.
fn run(without: &[&str], program: &str) -> Result<Vec<Seen>, String> {
    let helper = helper(without);
    let mut command = Command::new("/usr/bin/setpriv");
    match is_root() {
        true => command.arg(format!("--groups={GROUP}")),
        false => command.arg("--nnp"),
    };
    command
        .arg(env!("CARGO_BIN_EXE_hostile-suite"))
        .args(["--here", "--only", program, "--helper"])
        .arg(&helper);
    let output = command.arg("--runtime").arg(&BENCH.runtime).output().expect("the hostile suite");
    match output.status.code() {
        Some(0 | 10) => {
            let said = String::from_utf8_lossy(&output.stdout);
            Ok(said.lines().map(|line| serde_json::from_str(line).expect("one attempt a line")).collect())
        }
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn saw(without: &[&str], program: &str, attempt: &str) -> String {
    let seen = run(without, program).unwrap_or_else(|error| panic!("without {without:?}: {error}"));
    let found = seen.into_iter().find(|one| one.attempt == attempt);
    found.unwrap_or_else(|| panic!("{program} has no attempt {attempt}")).saw
}

/// What only root can have.
fn is_there(layer: LayerName) -> bool {
    is_root() || !matches!(layer, L::OwnHostUser | L::GroupsDropped)
}

#[test]
fn without_each_layer_an_attempt_succeeds_that_it_stops() {
    for row in ROWS.iter().filter(|row| is_there(row.layer)) {
        let (layer, attempt) = (row.layer.as_str(), row.attempt);
        let with = saw(row.without, row.program, attempt);
        assert_eq!(with, row.with_layer, "{attempt} with {layer}, without {:?}", row.without);
        let weakened = [row.without, &[layer]].concat();
        let without = saw(&weakened, row.program, attempt);
        assert!(without.starts_with(row.without_layer), "{attempt} without {weakened:?}: {without}");
    }
}

#[test]
fn without_namespaces_or_a_root_of_its_own_nothing_starts() {
    for (layer, step) in REFUSED {
        let refused = run(&[layer.as_str()], "calls.py").expect_err("a wall that starts nothing");
        assert!(refused.contains(&format!("step {step}")), "without {}: {refused}", layer.as_str());
    }
}

#[test]
fn every_layer_that_is_built_has_a_row() {
    let rows = ROWS.iter().map(|row| row.layer.as_str());
    let refused = REFUSED.iter().map(|(layer, _)| layer.as_str());
    let named: BTreeSet<&str> = rows.chain(refused).chain(COUNTED.map(L::as_str)).collect();
    let built: BTreeSet<&str> =
        L::ALL.iter().filter(|layer| !OF_VERSION_2.contains(layer)).map(|layer| layer.as_str()).collect();
    assert_eq!(named, built);
}

/// Control groups, of either version.
const COUNTED: [LayerName; 3] = [L::CgroupMemory, L::CgroupProcesses, L::CgroupProcessor];

/// What changes how a run ends and not what it can reach.
const OF_VERSION_2: [LayerName; 2] = [L::CgroupEndTogether, L::CgroupKill];

/// Several processes, each within its own limit, that hold more memory, or use more processors, than the job was given.
const TOGETHER: &str = r#"
import os, time
begun = time.monotonic()
children = []
for number in range(4):
    child = os.fork()
    if not child:
        kept = bytearray(80 << 20); kept[::4096] = b'x' * len(kept[::4096])
        while time.monotonic() - begun < 2: pass
        os._exit(0)
    children.append(child)
well = all(os.waitpid(child, 0)[1] == 0 for child in children)
used = os.times()
print((used.children_user + used.children_system) / (time.monotonic() - begun))
raise SystemExit(0 if well else 1)
"#;

#[test]
fn without_control_groups_many_processes_take_more_than_one_may() {
    let run = |without: &[&str], memory: u64| {
        let stage = Stage::new(&helper(without), &BENCH.runtime).expect("a stage");
        let mut specification = stage.text(TOGETHER);
        specification.limits.memory_bytes = memory;
        specification.limits.tmp_bytes = 1 << 20;
        specification.output = None;
        specification.working_directory = "/tmp".into();
        let ended = stage.launch(&specification).expect("a run");
        let counted = COUNTED.map(|layer| ended.evidence.state(layer) == State::On);
        let processors = String::from_utf8_lossy(&ended.stdout).trim().parse::<f64>().unwrap_or_default();
        (counted, ended.outcome, processors)
    };
    let (counted, outcome, _) = run(&[], 160 << 20);
    if counted != [true; 3] {
        println!("skipped: this machine gives whoever runs this no control groups: {counted:?}");
        assert!(!is_root() || !Path::new("/sys/fs/cgroup/memory").exists(), "root has version 1 here");
        return;
    }
    assert_eq!(outcome, Outcome::MemoryLimit);
    let (_, outcome, alone) = run(&[], 1 << 30);
    assert_eq!(outcome, Outcome::Succeeded, "what fits is let be");
    let (counted, outcome, _) = run(&["cgroup"], 160 << 20);
    assert_eq!((counted, outcome), ([false; 3], Outcome::Succeeded), "memory is not counted together");
    assert!(alone < 1.25, "one processor was given, {alone} were used");
    let many = |without: &[&str]| {
        let stage = Stage::new(&helper(without), &BENCH.runtime).expect("a stage");
        let bomb = stage.text("import os, time\nwhile True:\n if not os.fork(): time.sleep(60)");
        stage.launch(&bomb).expect("a run").outcome
    };
    assert_eq!(many(&[]), Outcome::ProcessLimit);
    assert_eq!(many(&["cgroup"]), Outcome::Failed, "the limit of each process holds, but does not tell");
}

/// The rules that a kernel before 6.12, and one before 5.19, would know, on this one: files are kept, signals are not.
#[test]
fn the_rules_of_an_older_landlock_keep_files_but_not_signals() {
    for older in ["landlock-5", "landlock-1"] {
        let name = saw(&["read-only-root", older], "files.py", "new-name-at-the-top");
        assert_eq!(name, "EACCES", "{older}");
        let signal = saw(&[older], "processes.py", "signal-the-first-process");
        assert_eq!(signal, "reached", "{older}");
    }
}

/// The launcher that is installed knows no layer to leave out: its own name changes nothing.
#[test]
fn the_installed_launcher_leaves_nothing_out_whatever_it_is_called() {
    let helper = BENCH.directory.path().join("launch-true+seccomp+landlock+read-only-root");
    fs::copy(harness::programs().join("databox-launch"), &helper).expect("a copy");
    let output = Command::new(env!("CARGO_BIN_EXE_hostile-suite"))
        .args(["--here", "--only", "network.py", "--helper"])
        .arg(&helper)
        .arg("--runtime")
        .arg(&BENCH.runtime)
        .output()
        .expect("the hostile suite");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}
