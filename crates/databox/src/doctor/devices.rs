//! The devices that the configuration hands out: an enclave whose list does not fit the machine does not start.

use std::path::PathBuf;

use sandbox::cdi;
use sandbox::oci::{OciRuntime, RuntimeName};
use serde::Deserialize;

use super::Check;
use super::walls::Configured;
use crate::failure::whole;

/// A `[[device]]` of the enclave's configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedDevice {
    kind: String,
    cdi_file: PathBuf,
    cdi_device: String,
}

pub(super) fn examine(listed: &[ListedDevice], wall: &Configured) -> Vec<Check> {
    const NAME: &str = "devices";
    if listed.is_empty() {
        return vec![Check::better(
            NAME,
            "none is handed out",
            "a GPU or a slice of one is listed as a [[device]] in enclave.toml",
        )];
    }
    let shows_none = match wall {
        Configured::Native => false,
        Configured::Machine(_) => true,
        Configured::Runtime(path) => {
            OciRuntime::find(path).is_ok_and(|found| found.name == RuntimeName::Runsc)
        }
    };
    if shows_none {
        let remedy = "take [[device]] out of enclave.toml, or use the native wall or crun";
        return vec![Check::fail(NAME, "are listed, and the wall around jobs shows none", remedy)];
    }
    let check = |one: &ListedDevice| match cdi::find(&one.cdi_file, &one.cdi_device) {
        Ok(_) => Check::ok(NAME, format!("{} ({}): its nodes are there", one.cdi_device, one.kind)),
        Err(error) => Check::fail(
            NAME,
            format!("{} of {}: {}", one.cdi_device, one.cdi_file.display(), whole(&error)),
            "write the file anew for this machine and leave nodes alone in it; docs/decisions/devices.md says how",
        ),
    };
    listed.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    fn listed(file: &std::path::Path, device: &str) -> ListedDevice {
        ListedDevice { kind: "gpu".into(), cdi_file: file.to_owned(), cdi_device: device.into() }
    }

    #[test]
    fn a_listed_device_whose_nodes_are_there_is_well_and_one_that_is_not_fails_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("stand-in.json");
        // A node that every machine has.
        let text = r#"{"cdiVersion":"0.6.0","kind":"example.org/gpu","devices":[
            {"name":"0","containerEdits":{"deviceNodes":[{"path":"/dev/full"}]}}]}"#;
        std::fs::write(&file, text).unwrap();
        let grades = |devices: &[ListedDevice], wall| {
            examine(devices, wall).into_iter().map(|check| (check.grade, check.found)).collect::<Vec<_>>()
        };
        let native = Configured::Native;
        assert_eq!(grades(&[], &native)[0].0, Grade::Ok);
        let both = [listed(&file, "example.org/gpu=0"), listed(&file, "example.org/gpu=1")];
        let found = grades(&both, &native);
        assert_eq!(found[0], (Grade::Ok, "example.org/gpu=0 (gpu): its nodes are there".to_owned()));
        assert_eq!(found[1].0, Grade::Fail);
        assert!(found[1].1.contains("has no device \"example.org/gpu=1\""), "{}", found[1].1);
    }
}
