//! The configuration of one container (`config.json` of the OCI runtime-spec, version 1.0.2), made from the same
//! [`Specification`] as the native wall.
//!
//! Nothing of it is a choice of the program: its command, environment and arguments are not in it. The first program of
//! the container is the launcher itself, which looks at the wall from inside, takes the steps that no runtime takes, and
//! starts the program (see [`ENTRY`]).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RuntimeName;
use crate::filters::{JOB_ENTRIES, JOB_NVIDIA_ENTRIES, MACHINE_ENTRIES, READER_ENTRIES};
use crate::specification::{Access, Calls, Commands, Limits, Specification};

/// The directory of the launcher's own two files in the container.
pub const OWN: &str = "/databox";

/// The launcher in the container, and the argument by which it knows that it is there.
pub const ENTRY: [&str; 2] = ["/databox/launch", "enter"];

/// What it is to start there.
pub const ORDER: &str = "/databox/order";

/// The user and group in the container that are the host user of the program.
const INSIDE: u32 = 1000;

/// What the launcher in the container is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The specification, in which the host's paths are left out.
    pub specification: Specification,
    /// True if a control group counts the processes.
    pub counted: bool,
    /// Names at the top that the runtime's own kernel shows whether it was asked for them or not.
    pub unasked: Vec<String>,
}

impl Order {
    /// Leaves out whatever names the host: a program may be able to read it.
    pub fn new(specification: &Specification, counted: bool, runtime: RuntimeName) -> Order {
        let mut specification = specification.clone();
        for mount in &mut specification.mounts {
            mount.source = "/".into();
        }
        specification.host_uid = None;
        for device in &mut specification.devices {
            device.source = "/".into();
        }
        let unasked: &[&str] = match runtime {
            RuntimeName::Runsc => &["proc", "sys", "tmp"],
            RuntimeName::Crun => &[],
        };
        let unasked = unasked.iter().copied().map(str::to_owned).collect();
        Order { specification, counted, unasked }
    }
}

/// Where the launcher puts what the container shows, outside of it: the source of a mount by its position in the
/// specification, and the output space behind the last.
pub fn source(number: usize) -> String {
    format!("/sources/{number}")
}

/// The configuration.
pub fn configuration(specification: &Specification, runtime: RuntimeName) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "box",
        "process": process(runtime),
        "mounts": mounts(specification),
        "linux": linux(specification, runtime),
    })
}

fn process(runtime: RuntimeName) -> Value {
    let inside = user(runtime);
    json!({
        "terminal": false,
        "user": { "uid": inside, "gid": inside, "umask": 0o022 },
        "cwd": "/",
        "args": ENTRY,
        "env": [],
        "noNewPrivileges": true,
        "capabilities": {
            "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []
        },
        "rlimits": limits(),
    })
}

/// gVisor's own kernel knows no user but the one who started it.
fn user(runtime: RuntimeName) -> u32 {
    match runtime {
        RuntimeName::Runsc => 0,
        RuntimeName::Crun => INSIDE,
    }
}

/// Those that hold for the launcher in the container as well. It sets the others for the program alone: a runtime may
/// need more itself, such as a file to write its filter into.
fn limits() -> Value {
    let fixed = [
        ("RLIMIT_CORE", 1, 1),
        ("RLIMIT_MEMLOCK", 0, 0),
        ("RLIMIT_MSGQUEUE", 0, 0),
        ("RLIMIT_SIGPENDING", 1024, 1024),
        ("RLIMIT_NICE", 0, 0),
        ("RLIMIT_RTPRIO", 0, 0),
    ];
    fixed.into_iter().map(|(kind, soft, hard)| json!({ "type": kind, "soft": soft, "hard": hard })).collect()
}

fn mounts(specification: &Specification) -> Value {
    let mut mounts = Vec::new();
    if specification.calls == Calls::Job {
        let options = ["nosuid", "nodev", "noexec", "ro", "subset=pid", "hidepid=ptraceable"];
        mounts.push(json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": options }));
    }
    for (number, mount) in specification.mounts.iter().enumerate() {
        let access: &[&str] = match mount.access {
            Access::ReadOnly => &["ro", "noexec"],
            Access::ReadOnlyExecutable => &["ro"],
            Access::Writable => &["noexec"],
        };
        mounts.push(bind(&mount.target, &source(number), access));
    }
    if let Some(output) = &specification.output {
        mounts.push(bind(&output.target, &source(specification.mounts.len()), &["noexec"]));
    }
    if specification.limits.tmp_bytes > 0 {
        mounts.extend(["/tmp", "/dev/shm"].map(|target| memory(target, &specification.limits)));
    }
    mounts.push(bind(ENTRY[0], "/launch", &["ro"]));
    mounts.push(bind(ORDER, "/order", &["ro", "noexec"]));
    Value::Array(mounts)
}

fn bind(target: &str, source: &str, access: &[&str]) -> Value {
    let options: Vec<&str> = ["bind", "private", "nosuid", "nodev"].iter().chain(access).copied().collect();
    json!({ "destination": target, "type": "bind", "source": source, "options": options })
}

fn memory(target: &str, limits: &Limits) -> Value {
    let sized =
        [format!("size={}", limits.tmp_bytes), format!("nr_inodes={}", limits.tmp_inodes.saturating_add(1))];
    let fixed = ["nosuid", "nodev", "noexec", "mode=0700"].map(str::to_owned);
    let options: Vec<String> = fixed.into_iter().chain(sized).collect();
    json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options })
}

fn linux(specification: &Specification, runtime: RuntimeName) -> Value {
    // gVisor's are its own, and its kernel's users the only ones of which its programs know.
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"];
    let count = if runtime == RuntimeName::Runsc { namespaces.len() - 1 } else { namespaces.len() };
    let namespaces: Vec<Value> = namespaces[..count].iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "seccomp": calls(specification),
        "rootfsPropagation": "private",
        "maskedPaths": [
            "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/sysrq-trigger", "/sys/firmware"
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
    });
    // Crun cannot make a node in its namespace of users, and shows the one that stands in its own `/dev`. A rule of control
    // groups would add nothing: no mount but those of these nodes lets a device be opened.
    if !specification.devices.is_empty() {
        linux["devices"] = specification
            .devices
            .iter()
            .map(|device| {
                let (major, minor) = device.numbers;
                json!({ "path": device.target, "type": "c", "major": major, "minor": minor })
            })
            .collect();
    }
    if runtime != RuntimeName::Runsc {
        let map = json!([{ "containerID": INSIDE, "hostID": 0, "size": 1 }]);
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    linux
}

/// The reviewed list, and what the launcher needs before it takes these calls from the program, too: it sets the
/// program's limits, Landlock, and the filter that the native wall has.
fn calls(specification: &Specification) -> Value {
    let entries = match specification.calls {
        Calls::Job if specification.commands(Commands::Nvidia) => JOB_NVIDIA_ENTRIES,
        Calls::Job => JOB_ENTRIES,
        Calls::Reader => READER_ENTRIES,
        Calls::Machine | Calls::EmulatedMachine => MACHINE_ENTRIES,
    };
    let mut entries: Vec<Value> = serde_json::from_str(entries).unwrap_or_default();
    let launchers = [
        "prctl",
        "prlimit64",
        "setrlimit",
        "seccomp",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ];
    entries.push(json!({ "names": launchers, "action": "SCMP_ACT_ALLOW" }));
    // Their flags lie in memory, where no filter sees them: a C library falls back to older calls.
    let hidden = ["clone3", "openat2"];
    entries.push(json!({ "names": hidden, "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": entries,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::specification::{Device, Mount, OutputSpace, StandardError};

    fn specification() -> Specification {
        let mount = |source: &str, target: &str, access| Mount {
            source: source.into(),
            target: target.into(),
            access,
        };
        Specification {
            mounts: vec![
                mount("/srv/runtime/usr", "/usr", Access::ReadOnlyExecutable),
                mount("/srv/secret-place", "/data/hie", Access::ReadOnly),
            ],
            output: Some(OutputSpace { target: "/out".into(), bytes: 1 << 20, entries: 10 }),
            program: "python3".into(),
            arguments: vec!["/job/train.py".into()],
            environment: vec![("LANG".into(), "C.UTF-8".into())],
            working_directory: "/job".into(),
            limits: Limits {
                memory_bytes: 1 << 30,
                processes: 8,
                processors: 1,
                open_files: 64,
                file_bytes: 1 << 20,
                cpu_seconds: 60,
                wall: Duration::from_secs(60),
                tmp_bytes: 1 << 20,
                tmp_inodes: 100,
                stdout_bytes: 0,
            },
            calls: Calls::Job,
            standard_error: StandardError::Nowhere,
            host_uid: Some(40_000),
            devices: Vec::new(),
        }
    }

    #[test]
    fn a_container_is_read_only_without_capabilities_network_device_or_way_to_gain_anything() {
        let told = configuration(&specification(), RuntimeName::Crun);
        assert_eq!(told["root"], json!({ "path": "rootfs", "readonly": true }));
        assert_eq!(told["process"]["noNewPrivileges"], true);
        let capabilities = told["process"]["capabilities"].as_object().unwrap();
        assert_eq!(capabilities.len(), 5);
        assert!(capabilities.values().all(|set| *set == json!([])));
        let namespaces: Vec<_> =
            told["linux"]["namespaces"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
        for kind in ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"] {
            assert!(namespaces.contains(&&json!(kind)), "{kind}");
        }
        assert!(told["linux"].get("devices").is_none() && told.get("hooks").is_none());
    }

    #[test]
    fn a_device_that_was_given_is_named_by_its_place_and_numbers_and_its_place_on_the_host_is_not() {
        let device = Device {
            source: "/srv/secret-node".into(),
            target: "/dev/nvidia0".into(),
            numbers: (195, 0),
            commands: Commands::Nvidia,
        };
        let specification = Specification { devices: vec![device], ..specification() };
        let told = configuration(&specification, RuntimeName::Crun);
        let expected = json!([{ "path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0 }]);
        assert_eq!(told["linux"]["devices"], expected);
        let commands = told["linux"]["seccomp"]["syscalls"].to_string();
        assert!(commands.contains(&format!("\"valueTwo\":{}", 0x462b)), "NV_ESC_RM_ALLOC");
        let order = serde_json::to_string(&Order::new(&specification, true, RuntimeName::Crun)).unwrap();
        assert!(!(told.to_string() + &order).contains("secret-node") && order.contains("nvidia0"));
    }

    #[test]
    fn each_mount_has_the_rights_of_the_specification_and_comes_by_its_number() {
        let told = configuration(&specification(), RuntimeName::Runsc);
        let options = |target: &str| {
            let mounts = told["mounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["destination"] == target).unwrap();
            let options =
                mount["options"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned());
            (mount["source"].as_str().unwrap().to_owned(), options.collect::<Vec<_>>())
        };
        let has = |target: &str, option: &str| options(target).1.iter().any(|one| one == option);
        for target in ["/usr", "/data/hie", "/out", "/tmp", "/databox/launch", "/databox/order"] {
            assert!(has(target, "nosuid") && has(target, "nodev"), "{target}");
        }
        assert!(has("/usr", "ro") && !has("/usr", "noexec"));
        assert!(has("/data/hie", "ro") && has("/data/hie", "noexec"));
        assert!(!has("/out", "ro") && has("/out", "noexec"));
        assert_eq!(
            (options("/data/hie").0.as_str(), options("/out").0.as_str()),
            ("/sources/1", "/sources/2")
        );
    }

    #[test]
    fn neither_bundle_nor_order_names_the_host_and_the_bundle_holds_nothing_of_the_requests() {
        let specification = specification();
        for runtime in [RuntimeName::Crun, RuntimeName::Runsc] {
            let bundle = configuration(&specification, runtime).to_string();
            let order = serde_json::to_string(&Order::new(&specification, true, runtime)).unwrap();
            assert!(!(bundle.clone() + &order).contains("secret-place"));
            assert!(!order.contains("40000"));
            assert!(!bundle.contains("train.py") && !bundle.contains("C.UTF-8"));
            assert!(order.contains("train.py") && order.contains("C.UTF-8"), "the twin: it is told there");
        }
    }

    #[test]
    fn a_runtime_is_given_every_call_of_the_reviewed_list_and_its_conditions() {
        let told = configuration(&specification(), RuntimeName::Crun);
        let filter = &told["linux"]["seccomp"];
        assert_eq!(
            (&filter["defaultAction"], &filter["defaultErrnoRet"]),
            (&json!("SCMP_ACT_ERRNO"), &json!(1))
        );
        let list: toml::Table = include_str!("../../../../policies/sandbox/job.toml").parse().unwrap();
        let list = list["allow"].as_array().unwrap();
        let entries = filter["syscalls"].as_array().unwrap();
        // The launcher's own calls, and those that do not exist.
        assert_eq!(entries.len(), list.len() + 2);
        for (one, entry) in list.iter().zip(entries) {
            let names = |value: &[toml::Value]| {
                value.iter().map(|name| json!(name.as_str().unwrap())).collect::<Vec<_>>()
            };
            assert_eq!(entry["names"], json!(names(one["calls"].as_array().unwrap())));
            let conditions = one.get("when").map_or(0, |when| when.as_array().unwrap().len());
            assert_eq!(
                entry.get("args").map_or(0, |arguments| arguments.as_array().unwrap().len()),
                conditions
            );
        }
        let socket = entries.iter().find(|entry| entry["names"] == json!(["socket"])).unwrap();
        let unix = json!([{ "index": 0, "value": u32::MAX, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ" }]);
        assert_eq!(socket["args"], unix);
    }
}
