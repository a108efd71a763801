//! What ends a run from outside while it goes on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use release::path::SignedRequest;
use sandbox::Cancel;

use crate::room::Room;
use crate::space;

/// How often a run's part of the disk is counted, and the site asked whether the run may go on.
const COUNT: Duration = Duration::from_millis(200);

/// Why the watch ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// The room stops.
    Stop,
    /// The run and all that follows it took longer than a job may be RUNNING.
    Deadline,
    /// The run took more of the disk than its part.
    Space,
    /// Whoever asked for it, or the grant, is revoked.
    Revocation,
}

/// Ends a run when the room stops, when its request is revoked, when it is past every limit, or when it takes more of
/// the disk than is set aside for it. Each run has a watch of its own, so none ends for what another one took.
pub(super) struct Watch<'a> {
    room: &'a Room,
    work: &'a Path,
    request: &'a SignedRequest,
    pub(super) cancel: &'a Cancel,
    /// By the monotonic clock: a clock that is set neither ends a run nor lets it go on.
    deadline: Instant,
    pub(super) over: AtomicBool,
    pub(super) unpacked: AtomicBool,
    ended_by: Mutex<Option<EndedBy>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        room: &'a Room,
        work: &'a Path,
        request: &'a SignedRequest,
        cancel: &'a Cancel,
        deadline: Instant,
    ) -> Self {
        let (over, unpacked) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { room, work, request, cancel, deadline, over, unpacked, ended_by: Mutex::new(None) }
    }

    pub(super) fn ended_by(&self) -> Option<EndedBy> {
        *self.ended_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn until_over(&self) {
        let mut counted = Instant::now();
        while !self.over.load(Ordering::SeqCst) {
            let count = counted.elapsed() >= COUNT;
            if count {
                counted = Instant::now();
            }
            let why = if self.room.stop.is_raised() {
                Some(EndedBy::Stop)
            } else if Instant::now() >= self.deadline {
                Some(EndedBy::Deadline)
            } else if count && self.is_revoked() {
                Some(EndedBy::Revocation)
            } else if count && self.is_too_large() {
                Some(EndedBy::Space)
            } else {
                None
            };
            if why.is_some() {
                *self.ended_by.lock().unwrap_or_else(PoisonError::into_inner) = why;
                self.cancel.cancel();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A run that nobody may ask for any more has no business beside the data.
    fn is_revoked(&self) -> bool {
        let Some(site) = self.room.site.current() else { return false };
        let request = self.request.request();
        let is_grants = site.revocation().grants.contains(&request.grant.id);
        is_grants || site.is_revoked(&request.requester.id, &request.requester.key_id)
    }

    fn is_too_large(&self) -> bool {
        let most = self.room.configuration.limits.run_disk_bytes;
        space::used(self.work, most) > most
    }
}

/// Ends the watch however the run ends.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
