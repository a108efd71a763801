//! The sweep: kill every room at every durable call of a job's life.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::life::{DENY, End, FIRST_APPROVAL, Life, RELEASE, RUN};
use crate::plan::{Mode, Point, Points};
use crate::stage::TracedBox;
use crate::wait;

/// How often the whole box is stopped for `databox fsck`.
const LIVES_BETWEEN_CHECKS: u32 = 10;

/// How often a state is lived through without a new point before its missing ones count as never reached.
const IN_VAIN: u32 = 6;

#[test]
fn every_room_may_die_at_every_durable_call_of_a_jobs_life() {
    sweep(false, Duration::from_secs(900), 300);
}

#[test]
#[ignore = "longer: every single call is a point of its own"]
fn every_room_may_die_at_every_single_call_of_a_jobs_life() {
    sweep(true, Duration::from_secs(3000), 900);
}

fn sweep(each_call: bool, limit: Duration, least: usize) {
    let begun = Instant::now();
    let points = Arc::new(Points::default());
    std::thread::scope(|scope| {
        let (tell_recorded, recorded) = mpsc::channel();
        let first = points.clone();
        let first = scope.spawn(move || {
            let mut swept = Sweep::start(&first, each_call, begun + limit, least);
            swept.record();
            let _ = tell_recorded.send(());
            swept.kill()
        });
        let second = points.clone();
        let second = scope.spawn(move || {
            let mut swept = Sweep::start(&second, each_call, begun + limit, least);
            // It ends early only with the first.
            if recorded.recv().is_ok() { swept.kill() } else { 0 }
        });
        let kills: u32 =
            [first, second].map(|swept| swept.join().expect("no room lost anything")).iter().sum();
        println!("{kills} kills, {:.1} s", begun.elapsed().as_secs_f64());
    });
    tell(&points);
    let open: Vec<Point> = points.open().into_values().flatten().collect();
    println!("{} recorded calls were not killed at in this time", open.len());
    // Each takes a life of its own. The short run has no time for all of them, and says how many are left.
    assert!(open.is_empty() || !each_call, "recorded calls that were never killed at: {open:#?}");
    let points = points.killed().len();
    assert!(points >= least, "only {points} points were killed at");
}

/// One box and its jobs.
struct Sweep {
    traced: TracedBox,
    points: Arc<Points>,
    deadline: Instant,
    /// Points with which the short run has done its part. The long one goes on until no recorded call is left.
    enough: Option<usize>,
    /// Jobs that wait for their stewards.
    reviewed: Vec<Life>,
    lives: u32,
    in_vain: BTreeMap<&'static str, u32>,
}

impl Sweep {
    fn start(points: &Arc<Points>, each_call: bool, deadline: Instant, least: usize) -> Self {
        let traced = TracedBox::start(points, each_call);
        Self {
            traced,
            points: points.clone(),
            deadline,
            enough: (!each_call).then_some(least),
            reviewed: Vec::new(),
            lives: 0,
            in_vain: BTreeMap::new(),
        }
    }

    /// Records two untroubled lives of each kind.
    fn record(&mut self) {
        for end in [End::Released, End::Denied, End::Blocked] {
            for _ in 0..2 {
                self.live(end, Mode::Record, Mode::Record);
            }
        }
    }

    fn live(&mut self, end: End, run: Mode, decide: Mode) {
        let life = wait(async {
            let mut life = Life::prepare(&self.traced, end).await?;
            life.run(&self.traced, run).await?;
            Ok(life)
        });
        let mut life = self.unbroken(life);
        let decided = wait(life.decide(&self.traced, decide));
        self.unbroken(decided);
    }

    fn unbroken<T>(&self, done: Result<T, String>) -> T {
        let faults = self.traced.situation.faults();
        let last = self.traced.situation.last_kills();
        assert!(faults.is_empty(), "{faults:#?}; the last kills were{last}");
        done.unwrap_or_else(|stuck| panic!("{stuck}; the last kills were{last}"))
    }

    fn has_enough(&self) -> bool {
        self.enough.is_some_and(|enough| self.points.killed().len() >= enough)
    }

    /// Lives on until no recorded point is left, then ends every job that is open.
    fn kill(&mut self) -> u32 {
        while Instant::now() < self.deadline && !self.has_enough() {
            let Some(state) = self.next_state() else { break };
            let before = self.points.open_in(state);
            match state {
                // What only a blocked run does is left when the others find nothing new.
                RUN if self.in_vain.get(RUN).is_some_and(|vain| *vain > 0) => {
                    self.run_one(End::Blocked, Mode::Kill)
                }
                RUN => self.run_one(End::Released, Mode::Kill),
                DENY => self.decide_one(End::Denied),
                _ => self.decide_one(End::Released),
            }
            self.lives += 1;
            if self.lives.is_multiple_of(LIVES_BETWEEN_CHECKS) {
                self.check();
            }
            let vain = self.in_vain.entry(state).or_default();
            *vain = if self.points.open_in(state) < before { 0 } else { *vain + 1 };
        }
        for mut life in std::mem::take(&mut self.reviewed) {
            let ended = wait(life.decide(&self.traced, Mode::Quiet));
            self.unbroken(ended);
        }
        self.check();
        self.traced.situation.kills()
    }

    /// Ends every process at once, looks at what is on disk, starts them, and looks again once all is quiet.
    fn check(&mut self) {
        for _ in 0..2 {
            self.traced.stop_all();
            let home = &self.traced.tested.stage.home;
            let report = databox::fsck::examine(home).unwrap_or_else(|failure| panic!("no fsck: {failure}"));
            let last = self.traced.situation.last_kills();
            assert!(report.broken().is_empty(), "{:#?}; the last kills were{last}", report.broken());
            self.traced.start_all();
        }
    }

    /// The state with most points left; a decision only if there is something to decide about.
    fn next_state(&self) -> Option<&'static str> {
        let states = [RUN, FIRST_APPROVAL, RELEASE, DENY].into_iter();
        let open = states.filter(|state| self.in_vain.get(state).is_none_or(|vain| *vain < IN_VAIN));
        let (most, state) = open.map(|state| (self.points.most_open_in(state), state)).max()?;
        (most > 0).then_some(state)
    }

    fn run_one(&mut self, end: End, mode: Mode) {
        let run = wait(async {
            let mut life = Life::prepare(&self.traced, end).await?;
            life.run(&self.traced, mode).await?;
            Ok(life)
        });
        let life = self.unbroken(run);
        if end != End::Blocked {
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
    println!("{} points killed at, of them {} recorded", killed.len(), recorded.len());
}
