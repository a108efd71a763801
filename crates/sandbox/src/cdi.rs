//! Devices as the Container Device Interface names them: what a vendor's tool writes down of a machine's devices, of which
//! the nodes in `/dev` are taken and nothing else.
//!
//! A file of this kind may ask for much more: programs that run as root beside a job (hooks), files of the host, variables.
//! The known ways out of GPU containers lead through these (CVE-2024-0132, CVE-2025-23266). So a file that asks for any of
//! it is refused by name, not read in part: whoever wrote it counts on it. The libraries of a driver belong into the
//! runtime, where they have a digest.
//!
//! Source: `SPEC.md` of github.com/cncf-tags/container-device-interface, versions 0.5.0 to 1.0.0, as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::specification::{Commands, Device};

/// The versions that are known.
const VERSIONS: [&str; 5] = ["0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0"];

/// A file with more was not written for one machine.
const MOST_BYTES: u64 = 1 << 20;

/// Nodes of NVIDIA's driver that no computing needs: they trace other processes, drive screens, or change how a device is
/// cut into slices and connected. The first two capabilities are those to cut a device and to watch all its slices.
const NOT_FOR_COMPUTING: [&str; 6] = [
    "nvidia-uvm-tools",
    "nvidia-modeset",
    "nvidia-nvswitchctl",
    "nvidia-nvlink",
    "nvidia-cap1",
    "nvidia-cap2",
];

/// The vendor whose devices take the commands of [`Commands::Nvidia`].
const NVIDIA: &str = "nvidia.com";

/// Why a file, or a device of it, is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CdiError {
    #[error("{path:?} cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{0:?} is longer than {MOST_BYTES} bytes")]
    TooLong(PathBuf),
    #[error("{path:?} is no file of the Container Device Interface in JSON")]
    Form { path: PathBuf, source: serde_json::Error },
    #[error("version {0} of the Container Device Interface is not known")]
    Version(String),
    #[error("the kind {0:?} is not a vendor and a class, such as nvidia.com/gpu")]
    Kind(String),
    #[error("it asks for {what} ({of}), which no job is given; take it out of the file: {}", remedy(.what))]
    AsksFor { what: &'static str, of: String },
    #[error("the device {0:?} stands in the file twice")]
    Twice(String),
    #[error("the file has no device {0:?}")]
    Unknown(String),
    #[error("the device {0:?} has no node of its own")]
    NoNode(String),
    #[error("{0:?} is not for computing")]
    NotForComputing(PathBuf),
    #[error("{0:?} is no character device")]
    NotCharacter(PathBuf),
    #[error("{0:?} has other numbers than the file says")]
    OtherNumbers(PathBuf),
}

/// What to do instead.
fn remedy(what: &str) -> &'static str {
    match what {
        "a mount" => "lay the driver's libraries into the runtime",
        "a hook" => "what a hook would link lies in the runtime already",
        "a variable" => "a job sets its variables itself",
        _ => "the node's own owner and mode count, and every node can be read and written",
    }
}

/// One device: what it alone has, and what all of its kind need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdiDevice {
    /// Its whole name, such as `nvidia.com/gpu=0`.
    pub name: String,
    /// Nodes of its own, by which it is told from others.
    pub own: Vec<Device>,
    /// Nodes of the driver, which every device of the kind is used through.
    pub shared: Vec<Device>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    #[allow(dead_code)]
    annotations: BTreeMap<String, String>,
    devices: Vec<Named>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Named {
    name: String,
    #[serde(default)]
    #[allow(dead_code)]
    annotations: BTreeMap<String, String>,
    container_edits: Edits,
}

/// What is done to a container. Everything but the nodes is read in order to be refused by its name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Edits {
    #[serde(default)]
    device_nodes: Vec<Node>,
    #[serde(default)]
    env: Vec<serde_json::Value>,
    #[serde(default)]
    mounts: Vec<serde_json::Value>,
    #[serde(default)]
    hooks: Vec<serde_json::Value>,
    #[serde(default, rename = "additionalGids")]
    additional_gids: Vec<serde_json::Value>,
    #[serde(default)]
    intel_rdt: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Node {
    path: PathBuf,
    #[serde(default)]
    host_path: Option<PathBuf>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    major: Option<u32>,
    #[serde(default)]
    minor: Option<u32>,
    #[serde(default)]
    permissions: Option<String>,
    #[serde(default)]
    file_mode: Option<serde_json::Value>,
    #[serde(default)]
    uid: Option<serde_json::Value>,
    #[serde(default)]
    gid: Option<serde_json::Value>,
}

/// Reads the devices of a file, by their names in it. Their nodes must be there: their numbers are fixed now, and a node that
/// has others at a launch is refused then.
///
/// # Errors
/// The file is not of the form, asks for more than nodes, or a node is not what it says.
pub fn read(path: &Path) -> Result<BTreeMap<String, CdiDevice>, CdiError> {
    let unreadable = |source| CdiError::Unreadable { path: path.to_owned(), source };
    let mut text = Vec::new();
    fs::File::open(path)
        .map_err(unreadable)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(CdiError::TooLong(path.to_owned()));
    }
    let file: File =
        serde_json::from_slice(&text).map_err(|source| CdiError::Form { path: path.to_owned(), source })?;
    if !VERSIONS.contains(&file.cdi_version.as_str()) {
        return Err(CdiError::Version(file.cdi_version));
    }
    let commands = match vendor(&file.kind).ok_or_else(|| CdiError::Kind(file.kind.clone()))? {
        NVIDIA => Commands::Nvidia,
        _ => Commands::None,
    };
    let shared = file.container_edits.nodes("every device", commands)?;
    let mut devices = BTreeMap::new();
    for Named { name, container_edits, .. } in file.devices {
        let own = container_edits.nodes(&name, commands)?;
        if own.is_empty() {
            return Err(CdiError::NoNode(name));
        }
        let device = CdiDevice { name: format!("{}={name}", file.kind), own, shared: shared.clone() };
        if devices.insert(name.clone(), device).is_some() {
            return Err(CdiError::Twice(name));
        }
    }
    Ok(devices)
}

/// The device with this whole name.
///
/// # Errors
/// As [`read`], or the file has no such device.
pub fn find(path: &Path, whole: &str) -> Result<CdiDevice, CdiError> {
    let found = read(path)?.into_values().find(|device| device.name == whole);
    found.ok_or_else(|| CdiError::Unknown(whole.to_owned()))
}

/// The vendor of a kind that is one: `VENDOR/CLASS` of a few plain characters.
fn vendor(kind: &str) -> Option<&str> {
    let (vendor, class) = kind.split_once('/')?;
    let plain = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    (plain(vendor) && plain(class) && kind.len() <= 64).then_some(vendor)
}

impl Edits {
    fn nodes(self, of: &str, commands: Commands) -> Result<Vec<Device>, CdiError> {
        let asked = [
            ("a hook", !self.hooks.is_empty()),
            ("a mount", !self.mounts.is_empty()),
            ("a variable", !self.env.is_empty()),
            ("a group", !self.additional_gids.is_empty()),
            ("a class of Intel's RDT", self.intel_rdt.is_some()),
        ];
        refuse(&asked, of)?;
        self.device_nodes.into_iter().map(|node| node.device(commands)).collect()
    }
}

fn refuse(asked: &[(&'static str, bool)], of: &str) -> Result<(), CdiError> {
    match asked.iter().find(|(_, asks)| *asks) {
        Some((what, _)) => Err(CdiError::AsksFor { what, of: of.to_owned() }),
        None => Ok(()),
    }
}

fn is_not_for_computing(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    NOT_FOR_COMPUTING.contains(&&*name) || name.starts_with("nvidia-nvswitch") || path.starts_with("/dev/dri")
}

impl Node {
    fn device(self, commands: Commands) -> Result<Device, CdiError> {
        let of = self.path.display().to_string();
        refuse(
            &[
                ("another owner or mode", self.file_mode.or(self.uid).or(self.gid).is_some()),
                // Neither is a device made inside, nor one shown that is read alone.
                ("other permissions", !matches!(self.permissions.as_deref(), None | Some("rw" | "rwm"))),
            ],
            &of,
        )?;
        let source = self.host_path.unwrap_or_else(|| self.path.clone());
        // What is bound is the host's node, under whatever name it is shown.
        if let Some(path) = [&self.path, &source].into_iter().find(|path| is_not_for_computing(path)) {
            return Err(CdiError::NotForComputing(path.clone()));
        }
        let found = fs::symlink_metadata(&source)
            .map_err(|error| CdiError::Unreadable { path: source.clone(), source: error })?;
        let is_character =
            found.file_type().is_char_device() && matches!(self.kind.as_deref(), None | Some("c"));
        if !is_character {
            return Err(CdiError::NotCharacter(source));
        }
        let numbers = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let said = (self.major.unwrap_or(numbers.0), self.minor.unwrap_or(numbers.1));
        if said != numbers {
            return Err(CdiError::OtherNumbers(source));
        }
        let target = of;
        Ok(Device { source, target, numbers, commands })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The machine's own `/dev/null` and `/dev/full` stand in for two devices.
    fn file() -> Value {
        json!({
            "cdiVersion": "0.6.0",
            "kind": "nvidia.com/gpu",
            "annotations": { "made": "by a test" },
            "devices": [
                { "name": "0", "containerEdits": { "deviceNodes": [
                    { "path": "/dev/nvidia0", "hostPath": "/dev/full", "type": "c", "major": 1, "minor": 7 },
                ] } },
                { "name": "1:0", "containerEdits": { "deviceNodes": [
                    { "path": "/dev/nvidia-caps/nvidia-cap21", "hostPath": "/dev/zero", "permissions": "rwm" },
                ] } },
            ],
            "containerEdits": { "deviceNodes": [{ "path": "/dev/nvidiactl", "hostPath": "/dev/null" }] },
        })
    }

    fn read_text(text: &str) -> Result<BTreeMap<String, CdiDevice>, CdiError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nvidia.json");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    fn changed(change: impl Fn(&mut Value)) -> String {
        let mut file = file();
        change(&mut file);
        read_text(&file.to_string()).expect_err("a refusal").to_string()
    }

    #[test]
    fn nodes_of_a_device_and_of_its_kind_are_read_with_the_numbers_that_they_have() {
        let devices = read_text(&file().to_string()).unwrap();
        assert_eq!(devices.keys().collect::<Vec<_>>(), ["0", "1:0"]);
        let device = |source: &str, target: &str, minor| Device {
            source: source.into(),
            target: target.into(),
            numbers: (1, minor),
            commands: Commands::Nvidia,
        };
        let expected = CdiDevice {
            name: "nvidia.com/gpu=0".into(),
            own: vec![device("/dev/full", "/dev/nvidia0", 7)],
            shared: vec![device("/dev/null", "/dev/nvidiactl", 3)],
        };
        assert_eq!(devices["0"], expected);
        assert_eq!(devices["1:0"].own[0].numbers, (1, 5));
        let mut other = file();
        other["kind"] = json!("example.org/accelerator");
        let other = read_text(&other.to_string()).unwrap();
        assert_eq!(other["0"].own[0].commands, Commands::None, "another vendor's takes no command");
    }

    #[test]
    fn whatever_would_do_more_to_a_job_than_show_a_node_is_refused_by_name() {
        let hook =
            json!([{ "hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["x"] }]);
        let mount =
            json!([{ "hostPath": "/usr/lib/libcuda.so.1", "containerPath": "/usr/lib/libcuda.so.1" }]);
        let edits = [
            ("hooks", hook, "a hook"),
            ("mounts", mount, "a mount"),
            ("env", json!(["LD_PRELOAD=/job/x.so"]), "a variable"),
            ("additionalGids", json!([44]), "a group"),
            ("intelRdt", json!({ "closID": "x" }), "a class"),
        ];
        for (key, value, said) in &edits {
            for (place, of) in [("", "every device"), ("/devices/1", "1:0")] {
                let told = changed(|file| {
                    let place = file.pointer_mut(&format!("{place}/containerEdits")).unwrap();
                    place[key] = value.clone();
                });
                assert!(told.contains(said) && told.contains(of), "{key}: {told}");
            }
        }
        // What a later version of the format adds is unknown, not overlooked.
        assert!(changed(|file| file["containerEdits"]["netDevices"] = json!([])).contains("no file"));
        assert!(changed(|file| file["more"] = json!(1)).contains("no file"));
        assert!(changed(|file| file["cdiVersion"] = json!("1.1.0")).contains("1.1.0"));
        assert!(changed(|file| file["kind"] = json!("gpu")).contains("gpu"));
    }

    #[test]
    fn a_node_is_a_character_device_with_the_numbers_that_are_said_and_one_for_computing() {
        let node = |key: &str, value: Value| {
            changed(|file| file["devices"][0]["containerEdits"]["deviceNodes"][0][key] = value.clone())
        };
        assert!(node("minor", json!(5)).contains("other numbers"));
        assert!(node("type", json!("b")).contains("no character device"));
        assert!(node("hostPath", json!("/etc/passwd")).contains("no character device"));
        assert!(node("hostPath", json!("/dev/stdin")).contains("no character device"), "no link is followed");
        assert!(node("hostPath", json!("/dev/not-there")).contains("cannot be read"));
        assert!(node("permissions", json!("r")).contains("permissions"));
        for (key, value) in [("fileMode", json!(438)), ("uid", json!(0)), ("gid", json!(44))] {
            assert!(node(key, value).contains("owner or mode"), "{key}");
        }
        for path in ["/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/dri/card0"] {
            assert!(node("path", json!(path)).contains("not for computing"), "{path}");
        }
        let none = changed(|file| file["devices"][0]["containerEdits"]["deviceNodes"] = json!([]));
        assert!(none.contains("no node"));
        assert!(changed(|file| file["devices"][1]["name"] = json!("0")).contains("twice"));
    }

    #[test]
    fn a_file_that_is_cut_says_a_thing_twice_or_has_no_such_device_is_refused() {
        let text = file().to_string();
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            assert!(matches!(read_text(&text[..cut]), Err(CdiError::Form { .. })), "{cut}");
        }
        let twice = text.replacen('{', "{\"kind\":\"nvidia.com/gpu\",", 1);
        assert!(matches!(read_text(&twice), Err(CdiError::Form { .. })));
        let long = format!("{text}{}", " ".repeat(MOST_BYTES as usize));
        assert!(matches!(read_text(&long), Err(CdiError::TooLong(_))));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nvidia.json");
        fs::write(&path, &text).unwrap();
        assert_eq!(find(&path, "nvidia.com/gpu=1:0").unwrap().name, "nvidia.com/gpu=1:0");
        assert!(matches!(find(&path, "nvidia.com/gpu=2"), Err(CdiError::Unknown(_))));
    }
}
