//! `gateway.toml`: every key, its meaning and its default stand in `deploy/gateway.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use blobs::Digest;
use serde::Deserialize;
use server::{Connections, Tls};

/// The configuration of the gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Where researchers reach the gateway.
    pub listen: SocketAddr,
    /// The transport certificates.
    pub tls: Tls,
    /// The socket that the enclave opens.
    pub enclave_socket: PathBuf,
    /// The user who may speak there.
    pub enclave_user: String,
    /// Signed statements of the site; the operator writes, the gateway reads.
    pub site_directory: PathBuf,
    /// Payload digest of version 1 of the roles: the one thing that is trusted without a signature.
    pub site_pin: Digest,
    /// The gateway's own state, for it alone.
    pub state_directory: PathBuf,
    /// Bundles for the enclave, under their digest; the gateway writes, the enclave reads.
    pub to_enclave_directory: PathBuf,
    /// The outbox: logged releases and their files; the enclave writes, the gateway reads.
    pub from_enclave_directory: PathBuf,
    /// Accept a witness that runs on the box's own machine.
    #[serde(default)]
    pub accept_on_box_witness: bool,
    /// Largest bundle, in bytes.
    #[serde(default = "bundle_bytes_limit")]
    pub bundle_bytes_limit: u64,
    /// Unfinished uploads of one person at the same time.
    #[serde(default = "uploads_per_person")]
    pub uploads_per_person: u64,
    /// Jobs of one person that have not ended.
    #[serde(default = "jobs_open_per_person")]
    pub jobs_open_per_person: u64,
    /// Unfinished uploads of all members of one grant at the same time.
    #[serde(default = "uploads_per_grant")]
    pub uploads_per_grant: u64,
    /// Bytes of all uploads of one grant, as announced, in the spool at the same time.
    #[serde(default = "spool_bytes_per_grant")]
    pub spool_bytes_per_grant: u64,
    /// Bytes of all uploads together, as announced.
    #[serde(default = "spool_bytes")]
    pub spool_bytes: u64,
    /// Jobs of one grant that wait to be run.
    #[serde(default = "jobs_waiting_per_grant")]
    pub jobs_waiting_per_grant: u64,
    /// Connections at the same time.
    #[serde(default)]
    pub connections: Connections,
}

fn bundle_bytes_limit() -> u64 {
    256 << 20
}

fn uploads_per_person() -> u64 {
    4
}

fn jobs_open_per_person() -> u64 {
    64
}

fn uploads_per_grant() -> u64 {
    16
}

fn spool_bytes_per_grant() -> u64 {
    2 << 30
}

fn spool_bytes() -> u64 {
    4 << 30
}

fn jobs_waiting_per_grant() -> u64 {
    256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_configuration_is_accepted_and_its_limits_are_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/gateway.toml");
        let configuration: Configuration = daemon::load(path.as_ref()).unwrap();
        assert_eq!(configuration.bundle_bytes_limit, bundle_bytes_limit());
        assert_eq!(configuration.uploads_per_person, uploads_per_person());
        assert_eq!(configuration.jobs_open_per_person, jobs_open_per_person());
        assert_eq!(configuration.uploads_per_grant, uploads_per_grant());
        assert_eq!(configuration.spool_bytes_per_grant, spool_bytes_per_grant());
        assert_eq!(configuration.spool_bytes, spool_bytes());
        assert_eq!(configuration.jobs_waiting_per_grant, jobs_waiting_per_grant());
        assert_eq!(configuration.connections, Connections::default());
        assert!(!configuration.accept_on_box_witness);
    }
}
