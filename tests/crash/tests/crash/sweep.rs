//! The sweep: kill every room at every durable call of a job's life; and have each such call fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::intake::{DATA_INTAKE, Intake, RUNTIME_INTAKE};
use crate::life::{
    CANCEL, CODE, CODE_APPROVAL, CODE_REFUSAL, DENY, End, FIRST_APPROVAL, GRANT, Life, RELEASE, REVOCATION,
    ROLES, RUN,
};
use crate::plan::Mode;
use crate::points::Points;
use crate::site::Stated;
use crate::stage::TracedBox;
use crate::wait;

/// How often the whole box is stopped for `databox fsck`.
const LIVES_BETWEEN_CHECKS: u32 = 10;

/// How often a box lives through a state without a new point before the missing ones count as never reached there.
const IN_VAIN: u32 = 4;

/// Ends that the short run lives through only, and kills where it comes.
const RARE: &[End] = &[
    End::Cancelled,
    End::UnderNew(Stated::Revocation),
    End::UnderNew(Stated::Roles),
    End::UnderNew(Stated::Grant),
];

/// Lives under a grant that asks for a review of code.
const REVIEWED_CODE: [End; 2] = [End::CodeRefused, End::CodeApproved];

/// Boxes that live at the same time. They mostly wait: for the time grid, for a room that starts, for a repeat.
const BOXES: usize = 5;

#[test]
fn every_room_may_die_at_every_durable_call_of_a_jobs_life() {
    sweep(false, Duration::from_secs(900), 500, Sweep::record);
}

#[test]
#[ignore = "longer: every single call is a point of its own"]
fn every_room_may_die_at_every_single_call_of_a_jobs_life() {
    sweep(true, Duration::from_secs(6000), 900, |swept| {
        swept.record();
        swept.record_rare();
    });
}

#[test]
#[ignore = "longer: every single call is a point of its own"]
fn every_room_may_die_at_every_single_call_while_data_and_runtimes_are_taken_in() {
    sweep(true, Duration::from_secs(1800), 60, Sweep::record_intakes);
}

#[test]
#[ignore = "longer: every single call is a point of its own"]
fn every_room_may_die_at_every_single_call_while_code_is_reviewed() {
    sweep(true, Duration::from_secs(2400), 200, Sweep::record_code_reviews);
}

#[test]
fn a_disk_that_fails_a_durable_call_of_a_jobs_life_loses_nothing() {
    fail(false, 4, Duration::from_secs(900), 60);
}

#[test]
#[ignore = "longer: every single call fails in every way"]
fn a_disk_that_fails_any_single_call_of_a_jobs_life_loses_nothing() {
    fail(true, u32::MAX, Duration::from_secs(2400), 500);
}

fn sweep(each_call: bool, limit: Duration, least: usize, record: fn(&mut Sweep)) {
    let begun = Instant::now();
    let points = Arc::new(Points::default());
    let kills: u32 = in_boxes(&points, each_call, BOXES, |swept, all| {
        record(swept);
        all.meet();
        swept.kill(begun + limit, all);
        if !each_call {
            swept.sample();
        }
        swept.check();
        swept.traced.situation.kills()
    })
    .into_iter()
    .sum();
    println!("{kills} kills, {:.1} s", begun.elapsed().as_secs_f64());
    println!("{} different rooms, states and calls", points.distinct());
    tell(&points);
    let (open, untouched) = (points.open(), points.untouched_kinds());
    println!("{} calls that only some recordings have did not come again:", untouched.len());
    untouched.iter().for_each(|point| println!("  {point:?}"));
    assert!(open.is_empty(), "recorded calls that were never killed at: {open:#?}");
    let points = points.killed().len();
    assert!(points >= least, "only {points} points were killed at");
}

/// Ends when no call is left that did not fail, or when its time is over; it says which.
fn fail(each_call: bool, rounds: u32, limit: Duration, least: u32) {
    let begun = Instant::now();
    let points = Arc::new(Points::default());
    let boxes = if each_call { BOXES } else { 2 };
    let failures: u32 = in_boxes(&points, each_call, boxes, |swept, all| {
        swept.fail(rounds, begun + limit, all);
        swept.traced.situation.failures()
    })
    .into_iter()
    .sum();
    println!("{failures} calls failed, {:.1} s", begun.elapsed().as_secs_f64());
    assert!(failures >= least, "only {failures} calls failed");
}

/// What the boxes of a test know of each other.
#[derive(Default)]
struct All {
    boxes: usize,
    arrived: AtomicUsize,
    broken: AtomicBool,
}

impl All {
    /// Waits for the others to come here too. One that broke comes nowhere any more.
    fn meet(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        while self.arrived.load(Ordering::SeqCst) < self.boxes && !self.is_broken() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A promise was broken in one of them: the others need not go on.
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

/// Runs the same work in several boxes at once.
fn in_boxes<T: Send>(
    points: &Arc<Points>,
    each_call: bool,
    boxes: usize,
    work: impl Fn(&mut Sweep, &All) -> T + Sync,
) -> Vec<T> {
    struct Broken<'a>(&'a All);
    impl Drop for Broken<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.broken.store(true, Ordering::SeqCst);
            }
        }
    }
    let all = All { boxes, ..All::default() };
    std::thread::scope(|scope| {
        let (all, work) = (&all, &work);
        let one = || {
            scope.spawn(move || {
                let _broken = Broken(all);
                work(&mut Sweep::start(points, each_call), all)
            })
        };
        let threads: Vec<_> = (0..boxes).map(|_| one()).collect();
        threads.into_iter().map(|swept| swept.join().expect("no room lost anything")).collect()
    })
}

/// One box and its jobs.
struct Sweep {
    traced: TracedBox,
    points: Arc<Points>,
    /// Jobs that wait for their stewards.
    reviewed: Vec<Life>,
    lives: u32,
    in_vain: BTreeMap<&'static str, u32>,
}

impl Sweep {
    fn start(points: &Arc<Points>, each_call: bool) -> Self {
        let traced = TracedBox::start(points, each_call);
        traced.tested.add_reviewed_project();
        Self { traced, points: points.clone(), reviewed: Vec::new(), lives: 0, in_vain: BTreeMap::new() }
    }

    /// Records an untroubled life of each kind that is often.
    fn record(&mut self) {
        // The first decisions also take the site's statements into the log and make directories: once in a box's life.
        self.live(End::Released, Mode::Quiet);
        self.live(End::Denied, Mode::Quiet);
        self.record_lives(&[End::Released, End::Denied, End::Blocked]);
    }

    /// And of the rarer ones, which the short run does not sweep.
    fn record_rare(&mut self) {
        self.record_lives(RARE);
        self.record_intakes();
    }

    fn record_lives(&mut self, ends: &[End]) {
        for end in ends {
            self.points.recording(end.scene());
            self.live(*end, Mode::Record(end.scene()));
        }
    }

    /// Up to the review of the outputs, which is the same as any other.
    fn record_code_reviews(&mut self) {
        // The first refusal of code also makes directories: once in a box's life.
        self.run_one(End::CodeRefused, Mode::Quiet);
        for end in REVIEWED_CODE {
            self.points.recording(end.scene());
            self.run_one(end, Mode::Record(end.scene()));
        }
    }

    fn record_intakes(&mut self) {
        for intake in Intake::ALL {
            self.points.recording(intake.state());
            self.take_in(intake, Mode::Record(intake.state()));
        }
    }

    /// Lives through what the short run does not sweep, and kills where it comes.
    fn sample(&mut self) {
        for end in REVIEWED_CODE {
            self.run_one(end, Mode::Kill);
        }
        for end in RARE {
            self.decide_one(*end);
        }
        for intake in Intake::ALL {
            self.take_in(intake, Mode::Kill);
        }
    }

    fn take_in(&mut self, intake: Intake, mode: Mode) {
        let taken = wait(intake.take_in(&self.traced, mode));
        self.unbroken(taken);
    }

    fn live(&mut self, end: End, mode: Mode) {
        let life = wait(async {
            let mut life = Life::prepare(&self.traced, end).await?;
            life.run(&self.traced, mode.clone()).await?;
            Ok(life)
        });
        let mut life = self.unbroken(life);
        let decided = wait(life.decide(&self.traced, mode));
        self.unbroken(decided);
    }

    fn unbroken<T>(&self, done: Result<T, String>) -> T {
        let faults = self.traced.situation.faults();
        let last = self.traced.situation.last_orders();
        assert!(faults.is_empty(), "{faults:#?}; the last orders were{last}");
        done.unwrap_or_else(|stuck| panic!("{stuck}; the last orders were{last}"))
    }

    /// Lives on until no recorded point is left, then ends every job that is open.
    fn kill(&mut self, deadline: Instant, all: &All) {
        while Instant::now() < deadline && !all.is_broken() {
            let Some(state) = self.next_state() else { break };
            let before = self.lives_left(state);
            match state {
                // What only a blocked run does is left when the others find nothing new.
                RUN if self.in_vain.get(RUN).is_some_and(|vain| *vain > 0) => {
                    self.run_one(End::Blocked, Mode::Kill)
                }
                RUN => self.run_one(End::Released, Mode::Kill),
                CODE | CODE_REFUSAL => self.run_one(End::CodeRefused, Mode::Kill),
                CODE_APPROVAL => self.run_one(End::CodeApproved, Mode::Kill),
                DATA_INTAKE => self.take_in(Intake::Data, Mode::Kill),
                RUNTIME_INTAKE => self.take_in(Intake::Runtime, Mode::Kill),
                DENY => self.decide_one(End::Denied),
                CANCEL => self.decide_one(End::Cancelled),
                REVOCATION => self.decide_one(End::UnderNew(Stated::Revocation)),
                ROLES => self.decide_one(End::UnderNew(Stated::Roles)),
                GRANT => self.decide_one(End::UnderNew(Stated::Grant)),
                _ => self.decide_one(End::Released),
            }
            self.lived();
            let found = self.lives_left(state) < before;
            let vain = self.in_vain.entry(state).or_default();
            *vain = if found { 0 } else { *vain + 1 };
        }
        while let Some(mut life) = self.reviewed.pop() {
            let ended = wait(life.decide(&self.traced, Mode::Quiet));
            self.unbroken(ended);
        }
    }

    /// Lives on, in rounds of two lives, until no call is left that did not fail.
    fn fail(&mut self, rounds: u32, deadline: Instant, all: &All) {
        let mut in_vain = 0;
        for _ in 0..rounds {
            if Instant::now() > deadline {
                println!("a box had no time left for the calls that did not fail yet");
                break;
            }
            if in_vain == IN_VAIN || all.is_broken() {
                break;
            }
            let before = self.traced.situation.failures();
            for end in [End::Released, End::Denied] {
                self.live(end, Mode::Fail);
                self.lived();
            }
            in_vain = if self.traced.situation.failures() > before { 0 } else { in_vain + 1 };
        }
        self.check();
    }

    fn lived(&mut self) {
        self.lives += 1;
        if self.lives.is_multiple_of(LIVES_BETWEEN_CHECKS) {
            self.check();
        }
    }

    /// Ends every process at once, looks at what is on disk, starts them, and looks again once all is quiet.
    fn check(&mut self) {
        for _ in 0..2 {
            self.traced.stop_all();
            let report = self.traced.examine().unwrap_or_else(|failure| panic!("no fsck: {failure}"));
            let last = self.traced.situation.last_orders();
            assert!(report.broken().is_empty(), "{:#?}; the last orders were{last}", report.broken());
            self.traced.start_all();
        }
    }

    /// In how many lives at least the open points of a state can be killed at: in each life each room once.
    fn lives_left(&self, state: &str) -> usize {
        let rare = self.points.untouched_kinds().iter().any(|point| point.state == state);
        self.points.open_in(state).into_values().max().unwrap_or(0).max(usize::from(rare))
    }

    /// The state for which most lives are left.
    fn next_state(&self) -> Option<&'static str> {
        let intakes = Intake::ALL.map(Intake::state).into_iter();
        let statements = Stated::ALL.map(Stated::state).into_iter();
        let decisions = [CANCEL, DENY, RELEASE, FIRST_APPROVAL, CODE, CODE_REFUSAL, CODE_APPROVAL, RUN];
        let open = intakes
            .chain(statements)
            .chain(decisions)
            .filter(|state| self.in_vain.get(state).is_none_or(|vain| *vain < IN_VAIN));
        let (most, state) =
            open.map(|state| (self.lives_left(state), state)).max_by_key(|(left, _)| *left)?;
        (most > 0).then_some(state)
    }

    fn run_one(&mut self, end: End, mode: Mode) {
        let run = wait(async {
            let mut life = Life::prepare(&self.traced, end).await?;
            life.run(&self.traced, mode).await?;
            Ok(life)
        });
        let life = self.unbroken(run);
        if end.is_reviewed() {
            self.reviewed.push(life);
        }
    }

    fn decide_one(&mut self, end: End) {
        if self.reviewed.is_empty() {
            self.run_one(end, Mode::Kill);
        }
        if let Some(life) = self.reviewed.pop() {
            let mut life = life.ending(end);
            let decided = wait(life.decide(&self.traced, Mode::Kill));
            self.unbroken(decided);
        }
    }
}

/// Prints the numbers by room and state.
fn tell(points: &Points) {
    let mut rows: BTreeMap<(&str, &str), (u32, u32, u32)> = BTreeMap::new();
    let (recorded, killed) = (points.recorded(), points.killed());
    for point in recorded.keys() {
        rows.entry((point.room, &point.state)).or_default().0 += 1;
    }
    for (point, known) in &killed {
        let row = rows.entry((point.room, &point.state)).or_default();
        row.1 += 1;
        row.2 += u32::from(known.before) + u32::from(known.after);
    }
    println!("room     state                                             recorded  points  kills");
    for ((room, state), (recorded, points, kills)) in rows {
        println!("{room:<8} {state:<50} {recorded:>7} {points:>7} {kills:>6}");
    }
    println!("{} points killed at, {} recorded", killed.len(), recorded.len());
}
