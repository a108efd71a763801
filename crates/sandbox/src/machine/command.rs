//! The command line of one machine: its memory, its disks, one serial line that only says something, and nothing else. No
//! network device, no shared directory, no monitor, no hook, and nothing that the program chose.
//!
//! The machine is QEMU's `microvm`: no PCI, no firmware of a PC, devices by virtio-mmio. Source: QEMU's
//! `docs/system/i386/microvm.rst`.

use crate::specification::Specification;

/// Where QEMU finds the kernel behind its own wall.
pub const KERNEL: &str = "/machine/kernel";

/// Where it finds the first file system.
pub const INITRAMFS: &str = "/machine/initramfs";

/// Where it finds the disk that takes the result.
pub const RESULT: &str = "/machine/result";

/// Where QEMU has its firmware, on the host and behind its wall.
pub const FIRMWARE: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];

/// The serial name of the disk that takes the result.
pub const RESULT_DISK: &str = "result";

/// The most disks that are shown: a machine has 24 places for devices.
pub const DISKS_MOST: usize = 20;

/// Memory of the machine's own kernel and init, in MiB: about 60 are used.
const OWN_MEMORY: u64 = 192;

/// What the kernel needs to keep account of the rest, in 64ths.
const ACCOUNT: u64 = 2;

/// Where the image of a disk lies.
pub fn image(number: usize) -> String {
    format!("/machine/disk-{number}")
}

/// The serial name of a disk.
pub fn disk(number: usize) -> String {
    format!("disk-{number}")
}

/// Memory of the machine in MiB: what all processes may hold, with directories in memory, and what is its own. The control
/// group within it bounds the program.
pub fn memory(specification: &Specification) -> u64 {
    let limits = &specification.limits;
    let output = specification.output.as_ref().map_or(0, |output| output.bytes);
    let program =
        limits.memory_bytes.saturating_add(output).saturating_add(limits.tmp_bytes.saturating_mul(2));
    let program = program.saturating_add(limits.stdout_bytes) >> 20;
    program + program * ACCOUNT / 64 + OWN_MEMORY
}

/// How processors are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// By the processor's own virtualisation.
    Kvm,
    /// By emulation, whose clock runs at so many kHz.
    Emulated(u64),
}

/// The whole of it.
pub fn arguments(specification: &Specification, disks: usize, processor: Processor) -> Vec<String> {
    let (accelerator, kind, clock) = match processor {
        Processor::Kvm => ("kvm".to_owned(), "host", String::new()),
        // Without a hint the kernel would measure the clock for longer than most jobs run.
        Processor::Emulated(khz) => (
            "tcg,thread=multi,tb-size=128".to_owned(),
            "max",
            format!(" tsc_early_khz={khz} lpj=4000000 cryptomgr.notests"),
        ),
    };
    // The line is for the init alone: the kernel writes nothing to it.
    let kernel = format!("quiet panic=-1 reboot=t random.trust_cpu=on rdinit=/system/launch{clock} -- guest");
    let memory = format!("{}M", memory(specification));
    let processors = specification.limits.processors.to_string();
    let mut arguments: Vec<String> = [
        "-M",
        "microvm,isa-serial=on,pit=on,pic=on,rtc=on",
        "-accel",
        &accelerator,
        "-cpu",
        kind,
        "-smp",
        &processors,
        "-m",
        &memory,
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-monitor",
        "none",
        "-chardev",
        "stdio,id=said,signal=off",
        "-serial",
        "chardev:said",
        "-L",
        FIRMWARE[0],
        "-L",
        FIRMWARE[1],
        "-kernel",
        KERNEL,
        "-initrd",
        INITRAMFS,
        "-append",
        &kernel,
        "-global",
        "virtio-mmio.force-legacy=false",
    ]
    .map(str::to_owned)
    .into();
    for number in 0..disks {
        arguments.extend(drive(&disk(number), &image(number), true));
    }
    arguments.extend(drive(RESULT_DISK, RESULT, false));
    arguments
}

fn drive(name: &str, file: &str, read_only: bool) -> [String; 4] {
    let read_only = if read_only { "on" } else { "off" };
    [
        "-blockdev".to_owned(),
        format!(
            "driver=raw,node-name={name},read-only={read_only},cache.no-flush=on,\
             file.driver=file,file.filename={file},file.locking=off"
        ),
        "-device".to_owned(),
        format!("virtio-blk-device,drive={name},serial={name}"),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::specification::{Access, Calls, Limits, Mount, OutputSpace, StandardError};

    fn specification() -> Specification {
        Specification {
            mounts: vec![Mount {
                source: "/srv/secret-place".into(),
                target: "/data/hie".into(),
                access: Access::ReadOnly,
            }],
            output: Some(OutputSpace { target: "/out".into(), bytes: 64 << 20, entries: 10 }),
            program: "python3,file=/etc/shadow".into(),
            arguments: vec!["-netdev".into(), "user,id=n".into()],
            environment: vec![("A".into(), "-device".into())],
            working_directory: "/job".into(),
            limits: Limits {
                memory_bytes: 1 << 30,
                processes: 8,
                processors: 2,
                open_files: 64,
                file_bytes: 1 << 20,
                cpu_seconds: 60,
                wall: Duration::from_secs(60),
                tmp_bytes: 32 << 20,
                tmp_inodes: 100,
                stdout_bytes: 0,
            },
            calls: Calls::Job,
            standard_error: StandardError::Nowhere,
            host_uid: Some(47_111),
            devices: Vec::new(),
        }
    }

    const BOTH: [Processor; 2] = [Processor::Kvm, Processor::Emulated(2_600_000)];

    #[test]
    fn a_machine_has_disks_and_a_serial_line_and_no_other_device() {
        for processor in BOTH {
            let told = arguments(&specification(), 3, processor);
            let of = |option: &str| -> Vec<&str> {
                told.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
            };
            let devices = of("-device");
            assert_eq!(devices.len(), 4);
            assert!(
                devices.iter().all(|device| device.starts_with("virtio-blk-device,drive=")),
                "{devices:?}"
            );
            assert_eq!(of("-serial"), ["chardev:said"]);
            assert_eq!((of("-monitor"), of("-display")), (vec!["none"], vec!["none"]));
            assert!(
                told.iter().any(|one| one == "-nodefaults")
                    && told.iter().any(|one| one == "-no-user-config")
            );
            let options: Vec<&str> =
                told.iter().map(String::as_str).filter(|one| one.starts_with('-')).collect();
            const KNOWN: [&str; 20] = [
                "-L",
                "-M",
                "-accel",
                "-cpu",
                "-smp",
                "-m",
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-display",
                "-monitor",
                "-chardev",
                "-serial",
                "-kernel",
                "-initrd",
                "-append",
                "-global",
                "-blockdev",
                "-device",
                "--",
            ];
            assert!(options.iter().all(|option| KNOWN.contains(option)), "{options:?}");
            for word in
                ["netdev", "virtfs", "fsdev", "vhost", "vfio", "usb", "script", "qmp", "socket", "tcp"]
            {
                assert!(!told.iter().any(|one| one.contains(word)), "{word} in {told:?}");
            }
        }
    }

    #[test]
    fn only_the_result_can_be_written_and_nothing_of_the_program_stands_in_the_line() {
        for processor in BOTH {
            let told = arguments(&specification(), 3, processor);
            let writable: Vec<&String> = told.iter().filter(|one| one.contains("read-only=off")).collect();
            assert_eq!(writable.len(), 1);
            assert!(writable[0].contains(&format!("file.filename={RESULT},")));
            assert_eq!(told.iter().filter(|one| one.contains("read-only=on")).count(), 3);
            let whole = told.join(" ");
            for word in ["secret-place", "python3", "shadow", "hie", "47111"] {
                assert!(!whole.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn the_two_kinds_differ_in_the_processor_alone_and_memory_holds_the_limits() {
        let [kvm, emulated] = BOTH.map(|processor| arguments(&specification(), 1, processor));
        assert_eq!(kvm.len(), emulated.len());
        let differ = (1..kvm.len()).filter(|&at| kvm[at] != emulated[at]).map(|at| kvm[at - 1].as_str());
        assert_eq!(differ.collect::<Vec<_>>(), ["-accel", "-cpu", "-append"]);
        let megabytes = memory(&specification());
        assert!(megabytes >= 1024 + 64 + 2 * 32 + OWN_MEMORY, "{megabytes}");
    }
}
