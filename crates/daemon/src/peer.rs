//! Who may speak on a room's socket: the kernel says which user is at the other end (SO_PEERCRED).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A peer that may not speak here.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Another user than the one that the configuration names.
    #[error("user {found} spoke on a socket that is for user {expected}")]
    OtherUser {
        /// The user who may.
        expected: u32,
        /// The user who did.
        found: u32,
    },
    /// The kernel does not say.
    #[error("the user at the other end of the socket is not known")]
    Unknown(#[source] io::Error),
}

/// Checks that the process at the other end of a connected unix socket runs as user `expected`.
pub fn check_peer(socket: impl AsFd, expected: u32) -> Result<(), PeerError> {
    let peer =
        rustix::net::sockopt::socket_peercred(socket).map_err(|error| PeerError::Unknown(error.into()))?;
    let found = peer.uid.as_raw();
    if found == expected { Ok(()) } else { Err(PeerError::OtherUser { expected, found }) }
}

/// Listens on a unix socket at `path`. A socket that an earlier process left there is taken away first; anything
/// else there is left alone and is an error. `mode` is the socket's, such as `0o660`.
pub fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn another_user_is_refused_and_the_named_one_is_not() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = rustix::process::getuid().as_raw();
        assert!(check_peer(&ours, own).is_ok());
        assert!(matches!(check_peer(&ours, own + 1), Err(PeerError::OtherUser { .. })));
    }

    #[test]
    fn a_left_over_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(listen(&path, 0o600).unwrap());
        assert!(path.exists());
        drop(listen(&path, 0o600).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "data").unwrap();
        assert!(listen(&path, 0o600).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
