//! The messages between [`Launcher`](crate::Launcher) and the helper: one specification in, then one [`Message`] when
//! the program's first process exists, then one when the last is dead. Each is JSON behind a length.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, Outcome};
use crate::specification::SpecificationError;

/// More than any honest message; a longer one is refused before memory is set aside for it.
const MOST_BYTES: u32 = 4 << 20;

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Message {
    /// The first process exists; its pidfd comes with the message's first byte.
    Started,
    /// The last process is dead. If the specification has an output space, its directory comes with the first byte.
    Ended { outcome: Outcome, code: Option<u8>, peak_bytes: Option<u64>, evidence: Evidence },
    /// The wall could not be built, and nothing of the program ran.
    Refused(Refusal),
}

/// Why the helper did not start the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("the specification is refused")]
    Specification(SpecificationError),
    #[error("the specification cannot be read")]
    SpecificationUnreadable,
    #[error("the mount source {0:?} is, or leads through, a symbolic link")]
    SourceIsLink(PathBuf),
    #[error("the mount source {path:?} cannot be opened: {}", io::Error::from_raw_os_error(*.errno))]
    SourceNotOpened { path: PathBuf, errno: i32 },
    #[error("the mount source {0:?} is neither a directory nor a regular file (nor the device it should be)")]
    SourceOfWrongKind(PathBuf),
    #[error("{0:?}, within a mount source, is neither a file nor a link, or lies too deep")]
    SourceHoldsOtherKind(PathBuf),
    #[error("the mount source {0:?} was replaced while the wall was built")]
    SourceReplaced(PathBuf),
    #[error("no control group counts the memory of a program that uses a device")]
    DevicesNotCounted,
    #[error("the OCI runtime started no container: {0}")]
    RuntimeFailed(String),
    #[error("the wall could not be built at step {step:?}: {}", io::Error::from_raw_os_error(*.errno))]
    Step { step: Step, errno: i32 },
}

/// The steps of building the wall, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Step {
    Descriptors,
    Namespaces,
    NamespacesShared,
    UserMap,
    User,
    ParentLost,
    HostName,
    Time,
    PrivateMounts,
    Root,
    Mounts,
    Devices,
    OutputSpace,
    Processes,
    Pivot,
    ReadOnlyRoot,
    WorkingDirectory,
    Capabilities,
    NoNewPrivileges,
    Limits,
    Landlock,
    Fork,
    Seccomp,
    FirstProcessLost,
    Bundle,
    Runtime,
    OwnKernel,
}

/// Writes one message.
pub fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&framed(message)?)
}

/// Writes one message whose first byte carries a descriptor.
pub fn send_with(to: impl AsFd, message: &impl Serialize, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let bytes = framed(message)?;
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(&to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut rest = &bytes[sent..];
    while !rest.is_empty() {
        let sent =
            sendmsg(&to, &[IoSlice::new(rest)], &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// A socket that keeps the descriptor which came last, until it is taken.
#[derive(Debug)]
pub struct Receiver {
    /// The socket.
    pub socket: UnixStream,
    descriptor: Option<OwnedFd>,
}

impl Receiver {
    /// Reads from this socket.
    pub fn new(socket: UnixStream) -> Receiver {
        Receiver { socket, descriptor: None }
    }

    /// The descriptor that came with what was read.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }
}

impl Read for &mut Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(buffer)];
        let received = recvmsg(&self.socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptor = descriptors.last().or(self.descriptor.take());
            }
        }
        Ok(received.bytes)
    }
}

fn framed(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MOST_BYTES);
    let length = length.ok_or(io::ErrorKind::FileTooLarge)?;
    let mut framed = length.to_le_bytes().to_vec();
    framed.extend_from_slice(&bytes);
    Ok(framed)
}

/// Reads one message.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}
