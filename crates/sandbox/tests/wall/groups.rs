//! What all processes of a program may use together, where the machine gives control groups to whoever runs this. Where
//! it gives none the evidence says so, and nothing of this can be promised.

use std::fs;
use std::path::Path;

use sandbox::{Ended, LayerName, Outcome, State};

use crate::stand::Stand;

fn is_on(ended: &Ended, layer: LayerName) -> bool {
    ended.evidence.state(layer) == State::On
}

/// Holds so many MiB in each of so many processes at the same time; each alone stays within its own limit.
fn held(stand: &Stand, processes: u32, mebibytes: u32) -> Ended {
    let mut specification = stand.python(&format!(
        r#"
import os
held = []
for number in range({processes}):
    done, ready = os.pipe()
    child = os.fork()
    if not child:
        kept = bytearray({mebibytes} << 20); kept[::4096] = b'x' * len(kept[::4096])
        os.write(ready, b'x')
        import time; time.sleep(60)
    held.append((child, done)); os.close(ready)
for child, done in held:
    if os.read(done, 1) != b'x': raise SystemExit(7)
for child, done in held: os.kill(child, 9); os.waitpid(child, 0)
"#
    ));
    specification.limits.memory_bytes = 128 << 20;
    specification.limits.tmp_bytes = 1 << 20;
    stand.run(&specification)
}

#[test]
fn memory_counts_for_all_processes_together() {
    let stand = Stand::new();
    let within = held(&stand, 2, 30);
    assert_eq!(within.outcome, Outcome::Succeeded, "what fits is let be");
    if is_on(&within, LayerName::CgroupMemory) {
        assert_eq!(held(&stand, 4, 80).outcome, Outcome::MemoryLimit);
    }
}

#[test]
fn a_program_that_is_refused_a_process_and_fails_is_told_so_by_name() {
    let stand = Stand::new();
    let start = |number: u32| {
        let mut specification = stand.python(&format!(
            "import os, time\nfor number in range({number}):\n if not os.fork(): time.sleep(60)\n"
        ));
        specification.limits.processes = 16;
        stand.run(&specification)
    };
    let within = start(10);
    assert_eq!(within.outcome, Outcome::Succeeded);
    let expected = match is_on(&within, LayerName::CgroupProcesses) {
        true => Outcome::ProcessLimit,
        false => Outcome::Failed,
    };
    assert_eq!(start(40).outcome, expected);
    // One that copes with the refusal has not failed.
    let mut copes = stand.python(
        "import os, time\ntry:\n for number in range(40):\n  if not os.fork(): time.sleep(60)\nexcept BlockingIOError: print('copes')",
    );
    copes.limits.processes = 16;
    assert_eq!(stand.holds_with(&copes), "copes\n");
}

#[test]
fn processor_time_is_measured_out_to_all_processes_together() {
    let stand = Stand::new();
    let mut specification = stand.python(
        r#"
import os, time
begun = time.monotonic()
children = []
for number in range(4):
    child = os.fork()
    if not child:
        while time.monotonic() - begun < 2: pass
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
used = os.times()
print((used.children_user + used.children_system) / (time.monotonic() - begun))
"#,
    );
    specification.limits.processors = 1;
    let ended = stand.run(&specification);
    let processors: f64 = String::from_utf8_lossy(&ended.stdout).trim().parse().expect("a number");
    if is_on(&ended, LayerName::CgroupProcessor) {
        // However loaded the machine is, it gives no more than was set; a period may be begun and not counted yet.
        assert!(processors < 1.25, "{processors} processors");
    }
    assert!(processors > 0.0);
}

/// A layer is claimed only where the machine has it.
#[test]
fn what_a_killed_helper_left_in_the_hierarchies_is_swept_away() {
    let stand = Stand::new();
    let dead = "databox-program-4194305"; // above the kernel's highest process id
    let ended = stand.run(&stand.python("pass"));
    let made = bases().into_iter().filter(|base| fs::create_dir(base.join(dead)).is_ok()).collect::<Vec<_>>();
    let any = [
        LayerName::CgroupMemory,
        LayerName::CgroupProcesses,
        LayerName::CgroupProcessor,
        LayerName::CgroupKill,
    ];
    if any.iter().any(|layer| is_on(&ended, *layer)) {
        assert!(!made.is_empty(), "who can have groups made can make one");
    }
    stand.run(&stand.python("pass"));
    for base in made {
        assert!(!base.join(dead).exists(), "{dead} is left in {base:?}");
    }
}

/// The groups of this process, as `/proc/self/cgroup` and the usual places of hierarchies name them.
fn bases() -> Vec<std::path::PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").expect("groups");
    let mut bases = Vec::new();
    for line in own.lines() {
        let parts: Vec<&str> = line.splitn(3, ':').collect();
        let below = parts[2].trim_start_matches('/');
        let tops = match parts[1] {
            "" => vec!["/sys/fs/cgroup/unified".to_owned(), "/sys/fs/cgroup".to_owned()],
            "memory" | "pids" | "cpu" => vec![format!("/sys/fs/cgroup/{}", parts[1])],
            _ => continue,
        };
        let there = tops.iter().find(|top| Path::new(top).join("cgroup.procs").exists());
        bases.extend(there.map(|top| Path::new(top).join(below)));
    }
    bases
}
