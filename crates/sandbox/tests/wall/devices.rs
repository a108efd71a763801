//! Devices of the host. No GPU is on the machines that run these tests: `/dev/full` under another name, and a node made with
//! its numbers, stand in for one. They have no commands of their own, so that of a command that is let through the kernel
//! says that there is none.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sandbox::{
    Commands, Device, LaunchError, LayerName, Outcome, Refusal, Specification, SpecificationError, State,
};

use crate::stand::{Stand, is_root};

fn device(source: &Path, target: &str, commands: Commands) -> Device {
    Device { source: source.to_owned(), target: target.into(), numbers: (1, 7), commands }
}

/// Opens, reads and writes the device, and tries a command of NVIDIA's, one of terminals, and the same ones of another device.
const USE: &str = r#"
import errno, fcntl, os
def answer(of, command):
    try: fcntl.ioctl(of, command)
    except OSError as error: return errno.errorcode[error.errno]
device = os.open('/dev/nvidia0', os.O_RDWR)
assert os.read(device, 3) == b'\0\0\0'
try: os.write(device, b'x'); raise SystemExit(3)
except OSError as error: assert error.errno == errno.ENOSPC, error
null = os.open('/dev/null', os.O_RDWR)
print([answer(of, command) for of in (device, null) for command in (0xc020462b, 0x4b3a, 0x5412)])
try: os.mknod('/tmp/own', 0o20666, os.makedev(1, 7)); raise SystemExit(4)
except PermissionError: pass
print(sorted(os.listdir('/dev')))
"#;

/// A program with a device, where a control group counts its memory; elsewhere it must be refused by name.
fn with_device(stand: &Stand, specification: &Specification) -> Option<String> {
    match stand.launch(specification) {
        Err(LaunchError::Refused(Refusal::DevicesNotCounted)) => {
            let without = stand.run(&stand.python("pass"));
            assert_ne!(without.evidence.state(LayerName::CgroupMemory), State::On, "it could be counted");
            None
        }
        Ok(ended) => {
            assert_eq!(ended.evidence.state(LayerName::CgroupMemory), State::On);
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            assert_eq!(ended.outcome, Outcome::Succeeded, "{:?} {said}", ended.code);
            Some(said)
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[test]
fn a_program_uses_the_device_that_it_was_given_with_the_commands_of_its_driver_and_one_without_sees_none() {
    let stand = Stand::new();
    let mut specification = stand.python(USE);
    specification.devices = vec![device(Path::new("/dev/full"), "/dev/nvidia0", Commands::Nvidia)];
    let Some(said) = with_device(&stand, &specification) else { return };
    let landlock = stand.run(&stand.python("pass")).evidence.state(LayerName::Landlock) == State::On;
    // The driver of the stand-in has no command. To another device Landlock lets none through, where it is there.
    let other = if landlock { "'EACCES'" } else { "'ENOTTY'" };
    assert!(said.starts_with(&format!("['ENOTTY', 'EPERM', 'EPERM', {other}, ")), "{said}");
    assert!(said.contains("'nvidia0'"), "{said}");

    specification.devices[0].commands = Commands::None;
    let said = with_device(&stand, &specification).expect("a device of another vendor");
    assert!(said.starts_with("['EPERM', "), "no command: {said}");

    let twin = "import os\nassert 'nvidia0' not in os.listdir('/dev')\n\
        try: open('/dev/nvidia0'); raise SystemExit(3)\nexcept FileNotFoundError: pass";
    stand.holds(twin);
}

#[test]
fn a_node_that_was_made_for_it_deep_in_dev_is_shown_and_one_with_other_numbers_or_a_link_is_refused() {
    if !is_root() {
        return;
    }
    let stand = Stand::new();
    let made = |name: &str, minor: u32| {
        let path = stand.directory.join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let numbers = rustix::fs::makedev(1, minor);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, numbers).expect("a node");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("its mode");
        path
    };
    let mut specification = stand.python("print(open('/dev/nvidia-caps/nvidia-cap1', 'rb').read(2))");
    specification.devices = vec![device(&made("cap", 7), "/dev/nvidia-caps/nvidia-cap1", Commands::None)];
    assert_eq!(with_device(&stand, &specification).as_deref(), Some("b'\\x00\\x00'\n"));

    let refused = |path: &Path| {
        let mut specification = specification.clone();
        specification.devices[0].source = path.to_owned();
        match stand.launch(&specification) {
            Err(LaunchError::Refused(refusal)) => refusal,
            other => panic!("{path:?}: {other:?}"),
        }
    };
    let other = made("other", 3);
    assert_eq!(refused(&other), Refusal::SourceOfWrongKind(other));
    let link = stand.directory.join("link");
    std::os::unix::fs::symlink("/dev/full", &link).expect("a link");
    assert_eq!(refused(&link), Refusal::SourceIsLink(link));
}

#[test]
fn addresses_may_be_reserved_with_a_device_and_memory_is_limited_all_the_same() {
    let stand = Stand::new();
    // Reserved and not to be touched, as libraries of GPUs do.
    let reserve = "import mmap\n\
        try: mmap.mmap(-1, 1 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, 0); print('reserved')\n\
        except OSError: print('refused')";
    assert_eq!(stand.holds(reserve), "refused\n", "without a device there is no room for so many addresses");
    let mut specification = stand.python(reserve);
    specification.devices = vec![device(Path::new("/dev/full"), "/dev/nvidia0", Commands::Nvidia)];
    let Some(said) = with_device(&stand, &specification) else { return };
    assert_eq!(said, "reserved\n");
    for (code, outcome) in [
        ("b = bytearray(2 << 30)", Outcome::Failed),
        // Shared memory is no data of one process: the group counts it.
        ("import mmap\nm = mmap.mmap(-1, 2 << 30)\nm[::4096] = b'x' * len(m[::4096])", Outcome::MemoryLimit),
    ] {
        let mut specification = stand.python(code);
        specification.devices = vec![device(Path::new("/dev/full"), "/dev/nvidia0", Commands::Nvidia)];
        assert_eq!(stand.run(&specification).outcome, outcome, "{code}");
    }
}

#[test]
fn what_is_no_device_of_its_own_in_dev_is_refused_before_anything_starts() {
    use SpecificationError as E;
    let stand = Stand::new();
    let full = |target: &str| device(Path::new("/dev/full"), target, Commands::None);
    let with = |devices: Vec<Device>| Specification { devices, ..stand.python("pass") };
    let mut cases = vec![(with(vec![full("/dev/a"); 65]), E::DevicesNotForThis)];
    for target in
        ["/dev/null", "/dev/shm/a", "/dev", "/dev/a/../null", "/tmp/a", "dev/a", "/dev/pts/0", "/dev/kvm"]
    {
        cases.push((with(vec![full(target)]), E::DeviceTarget(target.into())));
    }
    for (one, other) in [("/dev/a", "/dev/a"), ("/dev/a", "/dev/a/b"), ("/dev/a/b", "/dev/a")] {
        cases.push((with(vec![full(one), full(other)]), E::DeviceTarget(other.into())));
    }
    for numbers in [(1, 1), (1, 2), (1, 4), (1, 11), (10, 232)] {
        let reserved = Device { numbers, ..full("/dev/a") };
        cases.push((with(vec![reserved]), E::DeviceReserved(numbers.0, numbers.1)));
    }
    let mut reader = with(vec![full("/dev/a")]);
    reader.calls = sandbox::Calls::Reader;
    cases.push((reader, E::DevicesNotForThis));
    for (specification, expected) in cases {
        match stand.launch(&specification) {
            Err(LaunchError::Specification(found)) => assert_eq!(found, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
}
