//! What a disk may answer instead of doing its work.

use crate::durable::DurableCall;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is not made, and reported as failed (EIO).
    Failed,
    /// It is made, and reported as failed (EIO): what is on the disk is more than the room believes.
    FailedButStored,
    /// It is not made, since the disk is full (ENOSPC).
    Full,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Failed, Self::FailedButStored, Self::Full];

    /// True if a kernel answers this call so: what needs no more room never finds the disk full.
    pub fn fits(self, call: &DurableCall) -> bool {
        self != Self::Full || !(call.is_sync() || matches!(call.name, "unlink" | "rmdir" | "truncate"))
    }

    /// True if the call is made all the same.
    pub fn is_stored(self) -> bool {
        self == Self::FailedButStored
    }

    /// What the room is told.
    pub fn answer(self) -> i64 {
        -i64::from(match self {
            Self::Failed | Self::FailedButStored => libc::EIO,
            Self::Full => libc::ENOSPC,
        })
    }
}
