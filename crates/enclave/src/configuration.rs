//! `enclave.toml`: every key, its meaning and its default stand in `deploy/enclave.toml`.

use std::path::PathBuf;

use blobs::Digest;
use sandbox::machine::MachineSettings;
use serde::Deserialize;

use crate::devices::DeviceSettings;

/// The configuration of the enclave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Signed statements of the site; the operator writes, the enclave reads.
    pub site_directory: PathBuf,
    /// Payload digest of version 1 of the roles: the one thing that is trusted without a signature.
    pub site_pin: Digest,
    /// The enclave's own state, for it alone.
    pub state_directory: PathBuf,
    /// The head of the account, kept apart from the state.
    pub account_head_file: PathBuf,
    /// The verdict key, PKCS#8 PEM.
    pub verdict_key_file: PathBuf,
    /// The gateway's socket.
    pub gateway_socket: PathBuf,
    /// The user whose process must be at its other end.
    pub gateway_user: String,
    /// The console's socket.
    pub console_socket: PathBuf,
    /// The user whose process must be at its other end.
    pub console_user: String,
    /// Bundles that the gateway hands over.
    pub from_gateway_directory: PathBuf,
    /// The outbox: logged releases and their files.
    pub to_gateway_directory: PathBuf,
    /// Sealed review packets.
    pub to_console_directory: PathBuf,
    /// Data and runtimes to be registered.
    pub drop_directory: PathBuf,
    /// Draft catalogue entries.
    pub drafts_directory: PathBuf,
    /// The helper binary that builds the wall.
    pub launcher: PathBuf,
    /// The OCI runtime that builds the wall around jobs; none: the helper builds the native one.
    #[serde(default)]
    pub oci_runtime: Option<PathBuf>,
    /// The micro-VM for each job, in the place of an OCI runtime.
    #[serde(default)]
    pub machine: Option<MachineSettings>,
    /// The static binary that makes canonical forms, judges and scans.
    pub checker: PathBuf,
    /// The static binary that unpacks bundles.
    pub unbundler: PathBuf,
    /// Jobs that run at the same time.
    #[serde(default = "one")]
    pub slots: u32,
    /// When the enclave is root: the first of the host users that programs behind the wall run as.
    #[serde(default = "first_slot_user")]
    pub slot_user_base: u32,
    /// Accept a witness that runs on the box's own machine.
    #[serde(default)]
    pub accept_on_box_witness: bool,
    /// People's keys were made by the box; every verdict then says so.
    #[serde(default)]
    pub demonstration_keys: bool,
    /// A category's value appears in a draft catalogue only if so many units have it.
    #[serde(default = "ten")]
    pub category_smallest_count: u64,
    /// Upper limits for every job, whatever it asks for.
    #[serde(default)]
    pub limits: JobLimits,
    /// Devices that the box may hand out.
    #[serde(default)]
    pub device: Vec<DeviceSettings>,
}

/// Upper limits for every job. A request that asks for more than these or the policy give is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobLimits {
    /// Processors.
    pub cpus: u64,
    /// Memory of each process, in bytes.
    pub memory_bytes: u64,
    /// Time from start to end, in seconds.
    pub seconds: u64,
    /// Processes and threads at the same time.
    pub processes: u64,
    /// Size of each file that a job or a child of the enclave writes, in bytes.
    pub file_bytes: u64,
    /// Size of `/tmp`, and again of `/dev/shm`, in bytes of memory.
    pub temporary_bytes: u64,
    /// Size of a bundle, in bytes.
    pub bundle_bytes: u64,
    /// Size of all canonical files of a job together, in bytes.
    pub canonical_bytes: u64,
    /// Size of all that a job writes to `/out`, in bytes of memory.
    pub output_bytes: u64,
    /// Files, directories and links that `/out` holds.
    pub output_entries: u64,
    /// What one run may put on the disk: its unpacked bundle, copies of its outputs, canonical forms and views. So
    /// much is kept free for each slot before a run starts, and a run that takes more is ended alone.
    pub run_disk_bytes: u64,
    /// What is kept free beside the runs, for reviews, releases and the account to be finished, in bytes.
    pub disk_reserve_bytes: u64,
    /// Time for each of the enclave's own children (unpacking, canonical forms, judging, scanning), in seconds.
    pub child_seconds: u64,
    /// Memory of each of the enclave's own children, in bytes.
    pub child_memory_bytes: u64,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_bytes: 4 << 30,
            seconds: 4 * 3600,
            processes: 128,
            file_bytes: 1 << 30,
            temporary_bytes: 256 << 20,
            bundle_bytes: 256 << 20,
            canonical_bytes: 64 << 20,
            output_bytes: 256 << 20,
            output_entries: 4096,
            run_disk_bytes: 2 << 30,
            disk_reserve_bytes: 256 << 20,
            child_seconds: 900,
            child_memory_bytes: 4 << 30,
        }
    }
}

fn one() -> u32 {
    1
}

fn ten() -> u64 {
    10
}

fn first_slot_user() -> u32 {
    1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_configuration_is_accepted_and_its_limits_are_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/enclave.toml");
        let configuration: Configuration = daemon::load(path.as_ref()).unwrap();
        assert_eq!(format!("{:?}", configuration.limits), format!("{:?}", JobLimits::default()));
        assert_eq!((configuration.slots, configuration.slot_user_base), (one(), first_slot_user()));
        assert_eq!(configuration.category_smallest_count, ten());
        assert_eq!(configuration.oci_runtime, None);
        assert!(configuration.device.is_empty());
        assert!(!configuration.accept_on_box_witness && !configuration.demonstration_keys);
    }
}
