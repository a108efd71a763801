//! The console's configuration; `deploy/console.toml` is the commented example.

use std::net::SocketAddr;
use std::path::PathBuf;

use blobs::Digest;
use serde::Deserialize;

/// Every key of `console.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Where stewards reach the console; an address of the admin network.
    pub listen: SocketAddr,
    /// The transport certificates.
    pub tls: server::Tls,
    /// The socket that the enclave opens.
    pub enclave_socket: PathBuf,
    /// The user who may speak there.
    pub enclave_user: String,
    /// The signer's socket.
    pub signer_socket: PathBuf,
    /// The user who must be at its other end.
    pub signer_user: String,
    /// Addresses of witnesses, such as `http://127.0.0.1:7445`.
    pub witnesses: Vec<String>,
    /// Signed statements of the site.
    pub site_directory: PathBuf,
    /// Payload digest of version 1 of the roles.
    pub site_pin: Digest,
    /// The console's own state.
    pub state_directory: PathBuf,
    /// Where the enclave lays sealed packets, under their digest.
    pub packets_directory: PathBuf,
    /// Largest packet taken, in bytes.
    pub packet_bytes: u64,
    /// Connections at the same time.
    #[serde(default)]
    pub connections: server::Connections,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_configuration_is_accepted_and_its_connections_are_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/console.toml");
        let configuration: Configuration = daemon::load(path.as_ref()).unwrap();
        assert_eq!(configuration.connections, server::Connections::default());
    }
}
