//! How many frames a connection may send that ask for nothing.
//!
//! A PING, a SETTINGS, a PRIORITY or a WINDOW_UPDATE costs its sender nine bytes and more, and the room a wake-up, an
//! answer or both. HTTP/2's libraries answer as many as come (CVE-2019-9512, -9515 and their kin), so they are counted
//! here, before any of them is acted on. What calls bring with them is paid for by the calls: clients measure a line
//! with a PING for each answer, and open their window as they read.

use std::time::Instant;

use crate::frames::{DATA, HEADERS, Head, RST_STREAM};
use crate::limits::FRAMES;

/// What a connection may still send.
#[derive(Debug)]
pub(crate) struct Calm {
    left: u32,
    since: Instant,
    /// Bytes in either direction that have not earned a frame yet.
    carried: usize,
    /// The newest stream that the client opened.
    newest: u32,
}

/// More frames came than are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyFrames;

impl Calm {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: FRAMES.at_once, since: now, carried: 0, newest: 0 }
    }

    /// A frame came.
    pub(crate) fn frame(&mut self, head: Head, now: Instant) -> Result<(), TooManyFrames> {
        self.earn_by_waiting(now);
        let cost = match head.kind {
            HEADERS if head.stream > self.newest => {
                self.newest = head.stream;
                self.earn(FRAMES.for_a_call);
                0
            }
            // h2 counts those that are nearly empty too, but not on a stream that has ended.
            DATA => {
                self.carried(head.length);
                u32::from(head.length < FRAMES.small_data)
            }
            // A call that is called off has earned nothing, or whoever opens and resets streams could do so for ever.
            RST_STREAM => FRAMES.for_a_call + 1,
            _ => 1,
        };
        self.left = self.left.checked_sub(cost).ok_or(TooManyFrames)?;
        Ok(())
    }

    /// Bytes were carried. For some of those that go to the client it has to open its window.
    pub(crate) fn carried(&mut self, bytes: usize) {
        self.carried += bytes;
        self.earn((self.carried / FRAMES.bytes_for_one) as u32);
        self.carried %= FRAMES.bytes_for_one;
    }

    /// The newest stream that was seen.
    pub(crate) fn newest_stream(&self) -> u32 {
        self.newest
    }

    fn earn_by_waiting(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            self.since = now;
            self.earn(FRAMES.a_second.saturating_mul(seconds.min(3600) as u32));
        }
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(FRAMES.at_once);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frames::END_STREAM;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn head(kind: u8, stream: u32) -> Head {
        Head { length: 8, kind, flags: 0, stream }
    }

    /// How many of these are borne at once, up to a hundred thousand.
    fn borne(calm: &mut Calm, now: Instant, frames: &[Head]) -> usize {
        let fits = |_: &usize| frames.iter().all(|head| calm.frame(*head, now).is_ok());
        (0..100_000).take_while(fits).count()
    }

    #[test]
    fn a_flood_of_any_frame_that_asks_for_nothing_is_ended_early() {
        let now = Instant::now();
        for kind in [2, 4, PING, 7, WINDOW_UPDATE, 9, 0x10, 0xff] {
            let borne = borne(&mut Calm::new(now), now, &[head(kind, 0)]);
            assert_eq!(borne, FRAMES.at_once as usize, "kind {kind}");
        }
        for flags in [0, END_STREAM] {
            let empty = Head { length: 0, kind: DATA, flags, stream: 1 };
            assert_eq!(borne(&mut Calm::new(now), now, &[empty]), FRAMES.at_once as usize);
        }
        assert_eq!(borne(&mut Calm::new(now), now, &[head(HEADERS, 0)]), FRAMES.at_once as usize);
    }

    #[test]
    fn streams_that_are_opened_and_reset_are_ended_early() {
        let (now, mut calm) = (Instant::now(), Calm::new(Instant::now()));
        let both = |stream| [head(HEADERS, stream), head(RST_STREAM, stream)];
        let borne = (1..)
            .step_by(2)
            .take_while(|stream| both(*stream).into_iter().all(|head| calm.frame(head, now).is_ok()));
        assert!(borne.count() <= FRAMES.at_once as usize);
    }

    #[test]
    fn what_calls_bring_with_them_is_borne_without_end() {
        let (now, mut calm) = (Instant::now(), Calm::new(Instant::now()));
        for stream in (1..200_000).step_by(2) {
            let data = Head { length: 5, kind: DATA, flags: END_STREAM, stream };
            for head in [head(HEADERS, stream), data, head(PING, 0), head(WINDOW_UPDATE, 0)] {
                calm.frame(head, now).unwrap();
            }
        }
    }

    #[test]
    fn a_download_opens_its_window_as_often_as_it_needs() {
        let (now, mut calm) = (Instant::now(), Calm::new(Instant::now()));
        for _ in 0..100_000 {
            calm.carried(16_384);
            calm.frame(head(WINDOW_UPDATE, 0), now).unwrap();
            calm.frame(head(WINDOW_UPDATE, 1), now).unwrap();
        }
    }

    #[test]
    fn an_upload_of_whole_chunks_is_borne_without_end_and_one_in_crumbs_is_not() {
        let (now, mut calm) = (Instant::now(), Calm::new(Instant::now()));
        let data = |length| Head { length, kind: DATA, flags: 0, stream: 1 };
        for _ in 0..100_000 {
            // A message's head may come in a frame of its own.
            for head in [data(5), data(16_384), data(16_384)] {
                calm.frame(head, now).unwrap();
            }
        }
        assert!(borne(&mut calm, now, &[data(1)]) <= FRAMES.at_once as usize + 1);
    }

    #[test]
    fn a_ping_a_second_is_borne_for_ever_and_waiting_saves_up_no_more_than_the_first_share() {
        let (begun, mut calm) = (Instant::now(), Calm::new(Instant::now()));
        for second in 0..100_000 {
            calm.frame(head(PING, 0), begun + Duration::from_secs(second)).unwrap();
        }
        let later = begun + Duration::from_secs(1_000_000);
        assert_eq!(borne(&mut calm, later, &[head(PING, 0)]), FRAMES.at_once as usize);
    }
}
