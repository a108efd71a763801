//! The power is cut: what was not made durable is gone from the disk of every room and of the witness at once.

use std::sync::Arc;

use crate::disk::{Disk, FileSystem};
use crate::life::{CUT, DENY, End, FIRST_APPROVAL, Life, RELEASE, RUN};
use crate::plan::{Defect, Mode};
use crate::points::Points;
use crate::stage::TracedBox;
use crate::wait;
use harness::TestBox;

/// One box on a disk of its own.
pub struct PoweredBox {
    traced: TracedBox,
    disk: Disk,
    points: Arc<Points>,
    /// Cuts so far.
    pub cuts: u32,
}

impl PoweredBox {
    /// None, and said aloud, where this machine cannot mount a file system in a file.
    pub fn start(file_system: FileSystem) -> Option<Self> {
        let disk = match Disk::make(file_system) {
            Ok(disk) => disk,
            Err(why) => {
                println!("SKIPPED: no power is cut here, since this machine cannot: {why}");
                return None;
            }
        };
        let points = Arc::new(Points::default());
        let traced = TracedBox::of(TestBox::start_below(&disk.path()), &points, false);
        disk.sync();
        Some(Self { traced, disk, points, cuts: 0 })
    }

    /// Records two lives of an end, so that the calls of each room in each state are counted.
    pub fn record(&mut self, end: End) {
        for _ in 0..2 {
            self.points.recording(end.scene());
            self.live(end, |_| Mode::Record(end.scene()))
                .unwrap_or_else(|stuck| panic!("an untroubled life: {stuck}"));
        }
    }

    /// How many durable calls a room makes in a state.
    pub fn calls(&self, room: &str, state: &str) -> u32 {
        let recorded = self.points.recorded();
        recorded.keys().filter(|point| point.room == room && point.state == state).count() as u32
    }

    /// A whole life; in each state `mode` says where the power is cut. It goes on after the power is back.
    pub fn live(&mut self, end: End, mode: impl Fn(&'static str) -> Mode) -> Result<(), String> {
        let mut life = wait(Life::prepare(&self.traced, end))?;
        let mut ran = wait(life.run(&self.traced, mode(RUN)));
        while self.came_back(&ran)? {
            ran = wait(life.run(&self.traced, Mode::Quiet));
        }
        ran?;
        let states: &[_] = match end {
            End::Denied => &[DENY],
            _ => &[FIRST_APPROVAL, RELEASE],
        };
        let mut modes = states.iter().map(|state| (*state, mode(state))).collect();
        let mut decided = wait(life.decide_in(&self.traced, &mut modes));
        while self.came_back(&decided)? {
            decided = wait(life.decide_in(&self.traced, &mut modes));
        }
        decided?;
        // The cut may have come when everybody had their answer.
        self.came_back::<()>(&Err(String::new()))?;
        let faults = self.traced.situation.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }

    /// Releases a job while a defect leaves calls out, and cuts the power when everybody has their
    /// answer. What people were told must then be gone, or else nothing was left out.
    pub fn without(&mut self, defect: Defect) -> Result<(), String> {
        let mode = Mode::Without(defect);
        let mut life = wait(Life::prepare(&self.traced, End::Released))?;
        wait(life.run(&self.traced, mode.clone()))?;
        wait(life.decide(&self.traced, mode.clone()))?;
        self.traced.situation.cut_now();
        self.came_back::<()>(&Err(CUT.to_owned()))?;
        wait(life.still_released(&self.traced))?;
        let faults = self.traced.situation.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }

    /// If the power was cut: brings it back, looks at what is on the disk, and starts the box.
    fn came_back<T>(&mut self, done: &Result<T, String>) -> Result<bool, String> {
        if !self.traced.situation.all_dead() {
            return Ok(false);
        }
        self.traced.stop_all();
        self.disk.cut()?;
        self.cuts += 1;
        let report = self.traced.examine().map_err(|failure| failure.to_string())?;
        if !report.broken().is_empty() {
            return Err(format!("after the power came back: {:#?}", report.broken()));
        }
        self.traced.situation.revive();
        self.traced.situation.enter("after the power came back", Mode::Quiet);
        self.traced.start_all();
        Ok(matches!(done, Err(why) if why == CUT))
    }
}

/// Where the power is cut in CI: in each state, for each room that writes there, spread over its calls.
fn cuts(powered: &PoweredBox, state: &'static str, room: &'static str, round: u32, rounds: u32) -> Mode {
    let calls = powered.calls(room, state);
    if calls == 0 {
        return Mode::Quiet;
    }
    Mode::Cut { room, nth: 1 + (calls - 1) * round / rounds.saturating_sub(1).max(1) }
}

fn cut_through(rounds: u32) {
    let Some(mut powered) = PoweredBox::start(FileSystem::Journaled) else { return };
    powered.record(End::Released);
    powered.record(End::Denied);
    for round in 0..rounds {
        let room = ["enclave", "gateway", "console"][round as usize % 3];
        // Every other cut of a decision is the signer's: append, head, cosign and publish are its.
        let decider = match round % 2 {
            0 => "signer",
            _ => ["witness", "enclave", "gateway", "console"][round as usize / 2 % 4],
        };
        let run = cuts(&powered, RUN, room, round, rounds);
        let approval = cuts(&powered, FIRST_APPROVAL, "console", round, rounds);
        let release = cuts(&powered, RELEASE, decider, round, rounds);
        let denial = cuts(&powered, DENY, decider, round, rounds);
        let mode = |state| match state {
            RUN => run.clone(),
            FIRST_APPROVAL => approval.clone(),
            DENY => denial.clone(),
            _ => release.clone(),
        };
        let end = if round % 3 == 2 { End::Denied } else { End::Released };
        let lived = powered.live(end, mode);
        lived.unwrap_or_else(|lost| panic!("round {round}, {room} and {decider}: {lost}"));
    }
    println!("the power was cut {} times", powered.cuts);
    assert!(powered.cuts >= rounds, "most cuts did not come");
}

/// The steps on the way to a release, each the moment at which a file has its name: the state of the job, the room and how
/// the file's plain name begins.
const STEPS: [(&str, &str, &str, &str); 8] = [
    ("hand-over of the bundle", RUN, "gateway", "box/hand-over/gateway-to-enclave/"),
    ("charge", RUN, "enclave", "box/heads/enclave/account"),
    ("hand-over of the packet", RUN, "enclave", "box/hand-over/enclave-to-console/"),
    ("sign and append", RELEASE, "signer", "box/signer/state.json"),
    ("head", RELEASE, "signer", "box/heads/signer/log"),
    ("cosign", RELEASE, "witness", "witness/heads/"),
    ("publish", RELEASE, "signer", "box/public/log/checkpoint"),
    ("hand-over of the release", RELEASE, "enclave", "box/hand-over/enclave-to-gateway/"),
];

#[test]
fn what_people_were_told_is_there_after_the_power_was_cut_at_each_step_to_a_release() {
    let Some(mut powered) = PoweredBox::start(FileSystem::Journaled) else { return };
    for (step, of, room, path) in STEPS {
        let before = powered.cuts;
        let mode = |state| if state == of { Mode::CutAt { room, path } } else { Mode::Quiet };
        let lived = powered.live(End::Released, mode);
        lived.unwrap_or_else(|lost| panic!("{step}: {lost}"));
        assert_eq!(powered.cuts, before + 1, "the cut at this step came: {step}");
    }
}

#[test]
fn what_people_were_told_is_there_after_the_power_was_cut() {
    cut_through(6);
}

#[test]
#[ignore = "longer: the power is cut at many more calls"]
fn what_people_were_told_is_there_after_the_power_was_cut_at_many_more_calls() {
    cut_through(150);
}
