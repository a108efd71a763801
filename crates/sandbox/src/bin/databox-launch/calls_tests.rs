//! What the lists may hold, and that the filters do what the lists say: each is compared, call by call and argument by
//! argument, with another compiler's filter of the same list.

use std::collections::BTreeMap;
use std::io;

use sandbox::filters;
use seccompiler::{BpfProgram, TargetArch, compile_from_json, sock_filter};
use serde::Deserialize;
use serde_json::json;

const JOB: &str = include_str!("../../../../../policies/sandbox/job.toml");
const READER: &str = include_str!("../../../../../policies/sandbox/reader.toml");
const MACHINE: &str = include_str!("../../../../../policies/sandbox/machine.toml");
const JOB_NVIDIA: &str = concat!(
    include_str!("../../../../../policies/sandbox/job.toml"),
    include_str!("../../../../../policies/sandbox/nvidia.toml")
);

/// Each list, and what this program has of it.
const LISTS: [(&str, &[filters::Step]); 4] = [
    (JOB, filters::JOB),
    (JOB_NVIDIA, filters::JOB_NVIDIA),
    (READER, filters::READER),
    (MACHINE, filters::MACHINE),
];

/// The last call number that the lists were reviewed against (Linux 6.13). A later one does not exist for the program,
/// so that a C library falls back to an older call; a known but unlisted one is not permitted.
const LAST_REVIEWED: u32 = 466;

/// The x86_64 numbers of calls of the x32 ABI have this bit, and would otherwise pass as unknown numbers.
const X32_BIT: u32 = 0x4000_0000;

const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    allow: Vec<Allow>,
}

/// Calls that are allowed, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    calls: Vec<String>,
    /// Which code needs them; for reviewers.
    #[allow(dead_code)]
    why: String,
    /// Every one of these must hold. (Several entries for one call: any of them.)
    #[serde(default)]
    when: Vec<When>,
}

/// A condition on an argument: its lower 32 bits, where the kernel looks at no more (a job can set the upper ones to
/// anything), or all 64 for a pointer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    argument: u8,
    is: u32,
    #[serde(default)]
    mask: Option<u32>,
    #[serde(default)]
    bits: Bits,
}

#[derive(Default, Deserialize)]
#[serde(try_from = "u8")]
enum Bits {
    #[default]
    ThirtyTwo,
    SixtyFour,
}

impl TryFrom<u8> for Bits {
    type Error = &'static str;

    fn try_from(bits: u8) -> Result<Bits, &'static str> {
        match bits {
            32 => Ok(Bits::ThirtyTwo),
            64 => Ok(Bits::SixtyFour),
            _ => Err("an argument has 32 or 64 bits"),
        }
    }
}

/// Compiles a list with the other compiler.
fn compile(text: &str) -> io::Result<BpfProgram> {
    let list: List = toml::from_str(text).map_err(io::Error::other)?;
    let mut rules = Vec::new();
    for allow in list.allow {
        let conditions: Vec<_> = allow.when.iter().map(When::json).collect();
        for call in allow.calls {
            rules.push(match conditions.as_slice() {
                [] => json!({ "syscall": call }),
                conditions => json!({ "syscall": call, "args": conditions }),
            });
        }
    }
    let filter = json!({ "list": {
        "mismatch_action": { "errno": libc::EPERM },
        "match_action": "allow",
        "filter": rules,
    }});
    let compiled = compile_from_json(filter.to_string().as_bytes(), TargetArch::x86_64);
    let mut compiled = compiled.map_err(io::Error::other)?.into_iter().collect::<BTreeMap<_, _>>();
    let mut program = prelude();
    program.extend(compiled.remove("list").ok_or(io::ErrorKind::InvalidData)?);
    Ok(program)
}

impl When {
    fn json(&self) -> serde_json::Value {
        let operator = match self.mask {
            None => json!("eq"),
            Some(mask) => json!({ "masked_eq": mask }),
        };
        let width = match self.bits {
            Bits::ThirtyTwo => "dword",
            Bits::SixtyFour => "qword",
        };
        json!({ "index": self.argument, "type": width, "op": operator, "val": self.is })
    }
}

/// What comes before the list. A call of another ABI (`int 0x80`, x32) has other numbers, so it could do what the list
/// refuses under the number of something allowed: that program is killed. clone3 and openat2
/// keep their flags in memory, where no filter can see them, so they do not exist, and libraries fall back.
fn prelude() -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const NUMBER_OFFSET: u32 = 0;
    const ARCHITECTURE_OFFSET: u32 = 4;
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD, ARCHITECTURE_OFFSET, 0, 0),
        step(EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        step(RETURN, KILL, 0, 0),
        step(LOAD, NUMBER_OFFSET, 0, 0),
        step(ANY_BIT, X32_BIT, 0, 1),
        step(RETURN, KILL, 0, 0),
        step(GREATER, LAST_REVIEWED, 2, 0),
        step(EQUAL, libc::SYS_clone3 as u32, 1, 0),
        step(EQUAL, libc::SYS_openat2 as u32, 0, 1),
        step(RETURN, NO_SUCH_CALL, 0, 0),
    ]
}

/// What no list may ever name: each was a way out of a sandbox, or shows or changes what belongs to the host.
const NEVER: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "cachestat",
    "chroot",
    "clone3",
    "copy_file_range",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "memfd_create",
    "memfd_secret",
    "mincore",
    "mknod",
    "mknodat",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "openat2",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "seccomp",
    "sendfile",
    "setns",
    "setrlimit",
    "splice",
    "swapoff",
    "swapon",
    "syslog",
    "sysfs",
    "tee",
    "umount2",
    "unshare",
    "userfaultfd",
    "vmsplice",
];

fn list(text: &str) -> List {
    toml::from_str(text).expect("a list that parses")
}

#[test]
fn every_filter_fits_the_kernel_and_is_shorter_than_another_compilers() {
    for (text, steps) in LISTS {
        let (ours, other) = (super::program(steps), compile(text).expect("a filter"));
        assert!(ours.len() < 4096 && ours.len() < other.len(), "{} and {}", ours.len(), other.len());
    }
}

/// What the kernel is given to look at: the call's number, the architecture, and the arguments.
struct Data {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

/// Runs a filter as the kernel does (seccomp(2); Documentation/networking/filter.rst).
fn answer(filter: &[sock_filter], data: &Data) -> u32 {
    let load = |offset: u32| match offset {
        0 => data.number,
        4 => data.architecture,
        offset => {
            let argument = data.arguments[((offset - 16) / 8) as usize];
            if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut held) = (0, 0);
    loop {
        let step = &filter[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            0x20 => held = load(step.k),
            0x54 => held &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += jump(held == step.k),
            0x25 => at += jump(held > step.k),
            0x35 => at += jump(held >= step.k),
            0x45 => at += jump(held & step.k != 0),
            0x06 => return step.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// Values near every constant of a list, with upper halves that the filter must or must not look at.
fn values(text: &str) -> Vec<u64> {
    let mut values = vec![0, 1, u64::from(u32::MAX), u64::MAX, 1 << 32];
    for when in list(text).allow.iter().flat_map(|allow| &allow.when) {
        for one in [when.is, when.is ^ 1, when.mask.unwrap_or(0), when.is | when.mask.unwrap_or(0)] {
            values.extend([u64::from(one), u64::from(one) | 1 << 32, u64::from(one) << 32]);
        }
        let mask = when.mask.unwrap_or(0);
        values.extend((0..32).map(|bit| u64::from(mask & 1 << bit)));
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn both_compilers_answer_every_call_with_every_argument_the_same() {
    const X86_64: u32 = 0xc000_003e;
    for (text, steps) in LISTS {
        let values = values(text);
        let (ours, other) = (super::program(steps), compile(text).expect("a filter"));
        let mut answers = std::collections::BTreeSet::new();
        let mut same = |number, architecture, arguments| {
            let data = Data { number, architecture, arguments };
            let (one, another) = (answer(&ours, &data), answer(&other, &data));
            assert_eq!(one, another, "call {number} of {architecture:#x} with {arguments:x?}");
            answers.insert(one);
        };
        for number in (0..=700).chain([X32_BIT, X32_BIT | 41, u32::MAX]) {
            for &value in &values {
                for argument in 0..6 {
                    let mut arguments = [0; 6];
                    arguments[argument] = value;
                    same(number, X86_64, arguments);
                    same(number, X86_64, [value; 6]);
                }
            }
            same(number, 0x4000_0003, [0; 6]);
            // Entries with several conditions: all of them hold, and then one bit of one is turned.
            for when in list(text).allow.iter().map(|allow| &allow.when).filter(|when| when.len() > 1) {
                let mut arguments = [0; 6];
                when.iter().for_each(|one| arguments[usize::from(one.argument)] = u64::from(one.is));
                same(number, X86_64, arguments);
                for turned in 0..6 * 64 {
                    let mut arguments = arguments;
                    arguments[turned / 64] ^= 1 << (turned % 64);
                    same(number, X86_64, arguments);
                }
            }
        }
        assert_eq!(answers.len(), 4, "allowed, refused, not there, death");
    }
}

#[test]
fn no_list_names_a_call_that_leads_out() {
    for text in LISTS.map(|(text, _)| text) {
        for allow in list(text).allow {
            for call in &allow.calls {
                assert!(!NEVER.contains(&call.as_str()), "{call}");
            }
        }
    }
}

#[test]
fn every_call_has_a_reason_and_stands_once_without_conditions() {
    for text in LISTS.map(|(text, _)| text) {
        let mut seen = BTreeMap::new();
        for allow in list(text).allow {
            assert!(allow.why.len() > 10, "{:?} needs a reason", allow.calls);
            for call in allow.calls {
                let conditional = !allow.when.is_empty();
                let before = seen.insert(call.clone(), conditional);
                assert!(before.is_none() || (before == Some(true) && conditional), "{call} stands twice");
            }
        }
    }
}

#[test]
fn a_device_adds_commands_of_its_driver_and_nothing_else() {
    let names =
        |list: List| list.allow.into_iter().map(|allow| (allow.calls, allow.when)).collect::<Vec<_>>();
    let (job, more) = (names(list(JOB)), names(list(JOB_NVIDIA)));
    assert!(more.len() > job.len());
    for (calls, when) in &more[job.len()..] {
        assert_eq!(calls, &["ioctl"]);
        assert!(when.len() == 1 && when[0].argument == 1 && when[0].mask.is_none_or(|mask| mask == 0xffff));
        // Those of terminals and files have type 'T' or 'f', and would be let through to any device.
        let kind = when[0].is >> 8 & 0xff;
        assert!(kind == u32::from(b'F') || kind == 0, "{:#x}", when[0].is);
    }
}

#[test]
fn sockets_and_new_processes_are_conditional_or_absent() {
    for allow in list(JOB).allow {
        for call in [
            "socket",
            "socketpair",
            "clone",
            "ioctl",
            "prctl",
            "personality",
            "prlimit64",
            "open",
            "openat",
            "chmod",
        ] {
            assert!(!allow.calls.iter().any(|name| name == call) || !allow.when.is_empty(), "{call}");
        }
    }
    for allow in list(READER).allow.into_iter().chain(list(MACHINE).allow) {
        for call in ["socket", "socketpair", "connect", "fork", "vfork", "execve", "kill"] {
            assert!(!allow.calls.iter().any(|name| name == call), "{call}");
        }
    }
}
