//! Devices that the box hands out, such as GPUs and their slices: each to one job at a time.
//!
//! Which are taken is not stored: a run holds its devices as it holds its slot, and both are free from the same moment of
//! the time grid on, so that neither tells when a run ended. Of an enclave that died no run goes on, since the kernel ends
//! each with the launcher that dies with it; the next start finds all devices free.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use release::statement::{DEVICES_LIMIT, WallDevice};
use release::value::{Count, Name};
use sandbox::Device;
use sandbox::cdi::{self, CdiDevice, CdiError};
use serde::Deserialize;

/// A device that the site's configuration lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSettings {
    /// What grants and manifests call it; several devices of a kind are as good as each other.
    pub kind: Name,
    /// The file of the Container Device Interface that describes it.
    pub cdi_file: PathBuf,
    /// Its whole name there, such as `nvidia.com/gpu=0`.
    pub cdi_device: String,
}

/// Why the enclave does not start.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// A file is not taken.
    #[error("the device {device} of {file} cannot be handed out")]
    Cdi {
        /// The device.
        device: String,
        /// The file.
        file: PathBuf,
        /// Why.
        source: CdiError,
    },
    /// Two jobs would hold one device.
    #[error("{one} has no node that {other} has not: two jobs would hold the same device; list one of them")]
    Overlap {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// More than statements can name.
    #[error("more than {DEVICES_LIMIT} devices of the kind {0}")]
    TooMany(Name),
    /// The wall around jobs shows no device.
    #[error("devices are listed, and the wall around jobs shows none: use the native wall or crun")]
    Wall,
}

/// Places in the list of the configuration.
pub type Held = BTreeSet<usize>;

/// What the box may hand out.
#[derive(Debug, Default)]
pub struct Devices {
    listed: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    kind: Name,
    /// Its place among those of its kind, from 1.
    number: u64,
    device: CdiDevice,
}

impl Devices {
    /// Reads the files that the configuration names.
    pub fn open(settings: &[DeviceSettings]) -> Result<Self, DevicesError> {
        let mut listed: Vec<Listed> = Vec::new();
        for DeviceSettings { kind, cdi_file, cdi_device } in settings {
            let found = cdi::find(cdi_file, cdi_device);
            let device = found.map_err(|source| DevicesError::Cdi {
                device: cdi_device.clone(),
                file: cdi_file.clone(),
                source,
            })?;
            for other in &listed {
                apart(&device, &other.device)?;
                apart(&other.device, &device)?;
            }
            let number = listed.iter().filter(|one| one.kind == *kind).count() as u64 + 1;
            if number > DEVICES_LIMIT {
                return Err(DevicesError::TooMany(kind.clone()));
            }
            listed.push(Listed { kind: kind.clone(), number, device });
        }
        Ok(Self { listed })
    }

    /// True if nothing is handed out.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// True if the box has so many of each kind, taken or not.
    pub fn has(&self, asked: &BTreeMap<Name, Count>) -> bool {
        self.choose(asked, &Held::new()).is_some()
    }

    /// So many of each kind that nobody holds; None if there are too few.
    pub fn choose(&self, asked: &BTreeMap<Name, Count>, taken: &Held) -> Option<Held> {
        let mut chosen = Held::new();
        for (kind, count) in asked {
            let count = usize::try_from(count.0).ok()?;
            let free = self.listed.iter().enumerate();
            let free = free.filter(|(place, one)| one.kind == *kind && !taken.contains(place));
            let before = chosen.len();
            chosen.extend(free.map(|(place, _)| place).take(count));
            if chosen.len() - before < count {
                return None;
            }
        }
        Some(chosen)
    }

    /// What a job with these sees in `/dev`. Nodes that several devices are used through are shown once.
    pub fn nodes(&self, held: &Held) -> Vec<Device> {
        let mut nodes: Vec<Device> = Vec::new();
        let devices = held.iter().filter_map(|&place| self.listed.get(place)).map(|one| &one.device);
        for node in devices.flat_map(|device| device.own.iter().chain(&device.shared)) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    /// What the verdict says of them.
    pub fn statement(&self, held: &Held) -> Vec<WallDevice> {
        let listed = held.iter().filter_map(|&place| self.listed.get(place));
        let mut named: Vec<_> =
            listed.map(|one| WallDevice { kind: one.kind.clone(), number: Count(one.number) }).collect();
        named.sort();
        named
    }
}

/// Slices of one device share a node of it, and each has others of its own. One whose nodes another has all is that other,
/// or a part of it.
fn apart(one: &CdiDevice, other: &CdiDevice) -> Result<(), DevicesError> {
    let numbers = |device: &CdiDevice| device.own.iter().map(|node| node.numbers).collect::<BTreeSet<_>>();
    let (own, others) = (numbers(one), numbers(other));
    let are_slices = is_slice(&one.name) && is_slice(&other.name);
    let is_apart =
        own.is_disjoint(&others) || (are_slices && !own.is_subset(&others) && !others.is_subset(&own));
    match is_apart {
        true => Ok(()),
        false => Err(DevicesError::Overlap { one: one.name.clone(), other: other.name.clone() }),
    }
}

/// How NVIDIA's generator names MIG slices: `0:1` by index, `MIG-…` by identifier.
fn is_slice(name: &str) -> bool {
    let device = name.rsplit('=').next().unwrap_or(name);
    device.contains(':') || device.starts_with("MIG-")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    /// Devices of the machine that every test may open stand in: 0 and 1 are whole ones, 2:0 and 2:1 slices of one.
    fn file() -> Value {
        let node = |name: &str, host: &str| json!({ "path": format!("/dev/{name}"), "hostPath": host });
        let device = |name: &str, nodes: Vec<Value>| json!({ "name": name, "containerEdits": { "deviceNodes": nodes } });
        let (two, cap) = (node("gpu2", "/dev/urandom"), |host| node("cap", host));
        json!({
            "cdiVersion": "0.6.0",
            "kind": "example.org/gpu",
            "devices": [
                device("0", vec![node("gpu0", "/dev/null")]),
                device("1", vec![node("gpu1", "/dev/full")]),
                device("2", vec![two.clone()]),
                device("2:0", vec![two.clone(), cap("/dev/zero")]),
                device("2:1", vec![two, cap("/dev/random")]),
                device("0 and 2", vec![node("gpu0", "/dev/null"), node("gpu2", "/dev/urandom")]),
                device("all", vec![node("gpu0", "/dev/null"), node("gpu1", "/dev/full")]),
            ],
        })
    }

    fn open(listed: &[(&str, &str)]) -> Result<Devices, DevicesError> {
        let directory = tempfile::tempdir().unwrap();
        let cdi_file = directory.path().join("gpu.json");
        fs::write(&cdi_file, file().to_string()).unwrap();
        let settings: Vec<_> = listed
            .iter()
            .map(|(kind, name)| DeviceSettings {
                kind: kind.parse().unwrap(),
                cdi_file: cdi_file.clone(),
                cdi_device: format!("example.org/gpu={name}"),
            })
            .collect();
        Devices::open(&settings)
    }

    fn asked(kinds: &[(&str, u64)]) -> BTreeMap<Name, Count> {
        kinds.iter().map(|(kind, count)| (kind.parse().unwrap(), Count(*count))).collect()
    }

    #[test]
    fn a_device_is_given_to_one_job_at_a_time_and_by_its_kind() {
        let devices = open(&[("gpu", "0"), ("slice", "2:0"), ("gpu", "1"), ("slice", "2:1")]).unwrap();
        let first = devices.choose(&asked(&[("gpu", 1), ("slice", 1)]), &Held::new()).unwrap();
        let second = devices.choose(&asked(&[("gpu", 1), ("slice", 1)]), &first).unwrap();
        assert!(first.is_disjoint(&second));
        let both = first.union(&second).copied().collect();
        assert_eq!(devices.choose(&asked(&[("gpu", 1)]), &both), None);
        assert_eq!(devices.choose(&asked(&[]), &both), Some(Held::new()));
        assert!(devices.has(&asked(&[("gpu", 2), ("slice", 2)])));
        assert!(!devices.has(&asked(&[("gpu", 3)])) && !devices.has(&asked(&[("tpu", 1)])));
        let told: Vec<_> =
            devices.statement(&second).iter().map(|one| (one.kind.to_string(), one.number.0)).collect();
        assert_eq!(told, [("gpu".to_owned(), 2), ("slice".to_owned(), 2)]);
        let seen: Vec<_> = devices.nodes(&second).iter().map(|node| node.target.clone()).collect();
        assert_eq!(seen, ["/dev/gpu1", "/dev/gpu2", "/dev/cap"]);
    }

    #[test]
    fn a_device_that_is_another_or_part_of_it_is_not_handed_out_beside_it() {
        for pair in [
            ["0", "0"],
            ["all", "0"],
            ["1", "all"],
            ["2", "2:0"],
            ["2:1", "2"],
            ["0 and 2", "all"],
            ["2:0", "0 and 2"],
        ] {
            let listed = pair.map(|name| ("gpu", name));
            assert!(matches!(open(&listed), Err(DevicesError::Overlap { .. })), "{pair:?}");
        }
        assert!(open(&[("gpu", "0"), ("gpu", "1"), ("gpu", "2")]).is_ok());
        assert!(matches!(open(&[("gpu", "3")]), Err(DevicesError::Cdi { .. })));
    }
}
