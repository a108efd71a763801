//! Programs in a micro-VM each. The machine is emulated, since a processor's own virtualisation is not to be had wherever
//! tests run: command line, kernel, disks and the walls within and around are the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use sandbox::machine::{Machine, MachineError, MachineSettings, image_bytes, usual_image_maker, usual_qemu};
use sandbox::{
    Access, Builder, Cancel, Ended, LaunchError, Launcher, LayerName, Mount, Outcome, ProbeError,
    Specification, State, Wall, probe,
};
use test_attacks::stage::{Stage, is_root, open_directory};
use test_attacks::told;

/// A stage, and what must outlive it.
struct Tested {
    stage: Stage,
    directory: tempfile::TempDir,
}

fn tested() -> Tested {
    let directory = open_directory().expect("a directory");
    let python = directory.path().join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &python).expect("a runtime");
    fs::create_dir(directory.path().join("machines")).expect("a directory");
    let (kernel, modules) = harness::machine_kernel();
    let settings = MachineSettings {
        kernel,
        modules: Some(modules),
        qemu: usual_qemu(),
        mkfs_erofs: usual_image_maker(),
        emulated: true,
    };
    let machine = Machine::find(&settings, &directory.path().join("machines"));
    let machine = machine.expect("these tests need: apt-get install qemu-system-x86 erofs-utils");
    let stage = Stage::new(&harness::programs().join("databox-launch"), &python).expect("a stage");
    Tested { stage: stage.in_machine(machine).expect("a stage"), directory }
}

impl Tested {
    fn run(&self, specification: &Specification) -> Ended {
        self.stage.launch(specification).unwrap_or_else(|error| panic!("{}", told(&error)))
    }

    fn text(&self, text: &str) -> Ended {
        self.run(&self.stage.text(text))
    }

    fn left(&self) -> usize {
        fs::read_dir(self.directory.path().join("machines")).expect("a directory").count()
    }
}

#[test]
fn what_a_program_in_a_machine_prints_is_told_to_its_last_byte_whether_or_not_a_line_ends() {
    let tested = tested();
    for text in ["said\nresult=42", "said\nresult=42\n"] {
        let ended = tested.text(&format!("print({text:?}, end='')"));
        assert_eq!(said(&ended), text);
    }
}

fn said(ended: &Ended) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// What lies in the output space: name and kind, and the bytes of a plain file.
fn outputs(ended: &Ended) -> Vec<(String, Option<Vec<u8>>)> {
    use std::os::fd::AsRawFd;
    let space = ended.output.as_ref().expect("an output space");
    let place = format!("/proc/self/fd/{}", space.as_raw_fd());
    let entries = fs::read_dir(&place).expect("a list").map(|entry| entry.expect("an entry"));
    let mut found: Vec<_> = entries
        .map(|entry| {
            let small = entry.metadata().is_ok_and(|found| found.is_file() && found.len() < 1 << 20);
            let content = small.then(|| fs::read(entry.path()).expect("its bytes"));
            (entry.file_name().to_string_lossy().into_owned(), content)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn a_job_in_a_machine_reads_its_data_and_writes_its_output_and_an_empty_one_leaves_nothing() {
    let tested = tested();
    let empty = tested.run(&tested.stage.job(&["python3", "-I", "-S", "-c", ""]));
    assert_eq!((empty.outcome, empty.code, said(&empty)), (Outcome::Succeeded, Some(0), String::new()));
    assert_eq!(outputs(&empty), []);
    let ended = tested.text(
        "import os\n\
         rows = open('/data/hie/rows.csv').read()\n\
         open('/out/metrics.json', 'w').write(str(len(rows)))\n\
         os.mkdir('/out/directory'); open('/out/directory/deep', 'w').write('x')\n\
         os.symlink('/data/hie/rows.csv', '/out/link')\n\
         open('/out/holes', 'w').truncate(30 << 20)\n\
         open('/out/one', 'w').write('1'); os.link('/out/one', '/out/two')\n\
         os.chmod('/out/metrics.json', 0); os.chmod('/out', 0)\n\
         print(os.uname().release, os.getuid(), os.uname().nodename)",
    );
    assert_eq!(ended.outcome, Outcome::Succeeded, "{}", said(&ended));
    let found = outputs(&ended);
    let bytes = |name: &str| found.iter().find(|(found, _)| found == name).expect("an output").1.clone();
    assert_eq!(bytes("metrics.json"), Some(b"18".to_vec()));
    for name in ["directory", "link", "one", "two"] {
        assert_eq!(bytes(name), None, "{name} is no plain file");
    }
    assert_eq!(found.len(), 6, "{found:?}");
    let host = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the host's release");
    let told = said(&ended);
    assert!(!told.contains(host.trim()) && told.ends_with(" 1000 box\n"), "{told}");
    assert_eq!(tested.left(), 0, "what a machine was made of is gone");
}

#[test]
fn the_evidence_of_a_machine_names_it_emulated_and_tells_the_layers_within() {
    let tested = tested();
    let ended = tested.text("pass");
    let evidence = &ended.evidence;
    assert_eq!((evidence.wall, evidence.privileged), (Wall::VmEmulated, is_root()));
    let Some((Builder::Qemu, version)) = &evidence.builder else { panic!("{:?}", evidence.builder) };
    assert!(version.contains(", Linux ") && version.len() < 100, "{version}");
    for &name in LayerName::ALL {
        let expected = match name {
            // The machine's kernel knows an older Landlock.
            LayerName::Landlock => State::Off,
            LayerName::OwnHostUser if !is_root() => State::Off,
            _ => State::On,
        };
        assert_eq!(evidence.state(name), expected, "{name:?}");
    }
}

/// Each process stays far below its own limit.
#[test]
fn control_groups_of_version_2_bound_memory_and_processes_of_a_job_and_one_within_them_ends_well() {
    let tested = tested();
    let hold = |processes: usize, megabytes: usize| {
        format!(
            "import os, sys\n\
             children = []\n\
             for _ in range({processes}):\n\
             \x20   ready, said = os.pipe()\n\
             \x20   child = os.fork()\n\
             \x20   if child == 0:\n\
             \x20       held = bytearray({megabytes} << 20)\n\
             \x20       held[::4096] = b'x' * len(held[::4096])\n\
             \x20       os.write(said, b'x'); os.read(os.pipe()[0], 1)\n\
             \x20   os.close(said); os.read(ready, 1)\n\
             \x20   children.append(child)\n\
             for child in children: os.kill(child, 9)\n"
        )
    };
    let limited = |text: &str| {
        let mut specification = tested.stage.text(text);
        (specification.limits.memory_bytes, specification.limits.processes) = (200 << 20, 12);
        specification.limits.tmp_bytes = 1 << 20;
        specification.output.as_mut().expect("a space").bytes = 1 << 20;
        tested.run(&specification)
    };
    let within = limited(&hold(3, 40));
    assert_eq!(within.outcome, Outcome::Succeeded, "the innocent twin: {}", said(&within));
    assert_eq!(limited(&hold(5, 80)).outcome, Outcome::MemoryLimit);
    let forks = "import os, time\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(60)\n";
    let many = limited(forks);
    assert_eq!(many.outcome, Outcome::ProcessLimit, "{}", said(&many));
    for ended in [&within, &many] {
        assert_eq!(ended.evidence.state(LayerName::CgroupMemory), State::On);
        assert_eq!(ended.evidence.state(LayerName::CgroupProcesses), State::On);
    }
}

#[test]
fn a_machine_ends_with_a_cancel_and_with_its_jobs_time_and_nothing_of_it_is_left() {
    let tested = tested();
    let sleeps = tested.stage.text("import time; time.sleep(600)");
    let mut short = sleeps.clone();
    short.limits.wall = Duration::from_secs(2);
    assert_eq!(tested.run(&short).outcome, Outcome::TimeLimit);
    let cancel = Cancel::new().expect("a cancel");
    let (sender, raised) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(6));
            sender.send(Instant::now()).expect("a listener");
            cancel.cancel();
        });
        let ended = tested.stage.launch_until(&sleeps, &cancel).expect("a run");
        let waited = raised.recv().expect("a time").elapsed();
        assert_eq!(ended.outcome, Outcome::Cancelled);
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    });
    assert_eq!(tested.left(), 0);
}

#[test]
fn a_job_that_floods_its_output_is_ended_by_name_and_no_more_is_kept_than_may_be() {
    let tested = tested();
    let flood = tested.text("import sys\nwhile True: sys.stdout.write('x' * 65536)");
    assert_eq!((flood.outcome, flood.stdout.len()), (Outcome::OutputLimit, 1 << 20));
    let within = tested.text("import sys\nsys.stdout.write('x' * 65536)");
    assert_eq!((within.outcome, within.stdout.len()), (Outcome::Succeeded, 65536), "the innocent twin");
}

#[test]
fn names_and_links_of_a_bundle_stay_what_they_are_on_a_machines_disk() {
    let tested = tested();
    let job = tested.stage.path("job");
    for name in ["-x", "a\nb", "--help", "ü \u{202e}txt"] {
        fs::write(job.join(name), name).expect("a file");
    }
    symlink("/etc/hostname", job.join("outside")).expect("a link");
    symlink(tested.stage.path("secret"), job.join("secret")).expect("a link");
    let ended = tested.text(
        "import os\n\
         for name in ['-x', 'a\\nb', '--help', 'ü \\u202etxt']: assert open('/job/' + name).read() == name, name\n\
         for name in ['outside', 'secret']:\n\
         \x20   assert os.path.islink('/job/' + name) and not os.path.exists('/job/' + name), name\n\
         assert not os.path.exists('/data/other') and sorted(os.listdir('/data')) == ['hie']\n",
    );
    assert_eq!(ended.outcome, Outcome::Succeeded, "{}", said(&ended));
}

#[test]
fn no_image_is_larger_than_its_trees_names_and_lengths_tell_and_the_bound_is_no_wild_guess() {
    let directory = open_directory().expect("a directory");
    let python = directory.path().join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &python).expect("a runtime");
    // What an image has most trouble with: many names, and files whose ends fit into no block with their inodes.
    let awkward = directory.path().join("awkward");
    for (name, bytes) in [("empty", 0), ("half", 2049), ("almost", 4090), ("whole", 4096), ("one", 4097)] {
        fs::create_dir_all(awkward.join(name)).expect("a directory");
        for number in 0..400 {
            let long = format!("{number:03}-{}", "x".repeat(number % 200));
            fs::write(awkward.join(name).join(long), vec![b'x'; bytes]).expect("a file");
        }
    }
    for tree in [&python, &awkward] {
        let image = directory.path().join("image");
        let made = std::process::Command::new(usual_image_maker())
            .args(["--quiet", "-T0", "-x-1", "--force-uid=1000", "--force-gid=1000"])
            .args([&image, tree])
            .status();
        assert!(made.expect("these tests need: apt-get install erofs-utils").success());
        let (found, told) =
            (fs::metadata(&image).expect("an image").len(), image_bytes(tree).expect("a size"));
        assert!(found <= told && told < found * 3, "{tree:?}: {found} bytes, at most {told}");
        fs::remove_file(&image).expect("gone");
    }
}

#[test]
fn a_kernel_that_is_none_and_a_mount_that_can_be_written_are_refused_by_name() {
    let mut tested = tested();
    let mut writes = tested.stage.text("pass");
    writes.mounts.push(Mount {
        source: tested.stage.path("other"),
        target: "/data/other".into(),
        access: Access::Writable,
    });
    let refused = |stage: &Stage, specification: &Specification| match stage.launch(specification) {
        Err(LaunchError::Machine(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&tested.stage, &writes), "a machine can write nothing of the host");
    let settings = MachineSettings {
        kernel: tested.directory.path().join("runtime/usr/bin/python3"),
        modules: None,
        qemu: usual_qemu(),
        mkfs_erofs: usual_image_maker(),
        emulated: true,
    };
    let machine = Machine::find(&settings, &tested.directory.path().join("machines")).expect("files");
    tested.stage =
        Stage::new(&harness::programs().join("databox-launch"), &tested.directory.path().join("runtime"))
            .and_then(|stage| stage.in_machine(machine))
            .expect("a stage");
    let reason = refused(&tested.stage, &tested.stage.text("pass"));
    assert!(reason.contains("qemu"), "{reason}");
    assert_eq!(tested.left(), 0);
}

/// Where the processor's own virtualisation is there but too slow, or not for us, as in most virtual machines, that is found
/// out, and in time.
#[test]
fn a_machine_on_this_processor_holds_or_is_told_to_be_unusable_in_time() {
    let (kernel, modules) = harness::machine_kernel();
    let settings = MachineSettings {
        kernel,
        modules: Some(modules),
        qemu: usual_qemu(),
        mkfs_erofs: usual_image_maker(),
        emulated: false,
    };
    let scratch = open_directory().expect("a directory");
    let begun = Instant::now();
    let machine = match Machine::find(&settings, scratch.path()) {
        Ok(machine) => machine,
        Err(MachineError::NoVirtualisation) => {
            println!("NOT TRIED: this machine has no /dev/kvm, so that no machine on it can be timed");
            return;
        }
        Err(error) => panic!("{}", told(&error)),
    };
    match probe(&Launcher::in_machine(harness::programs().join("databox-launch"), machine)) {
        Ok(evidence) => assert_eq!(evidence.wall, Wall::Vm),
        Err(error @ ProbeError::MachineFailed(_)) => println!("not usable here: {}", told(&error)),
        Err(error) => panic!("{}", told(&error)),
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
