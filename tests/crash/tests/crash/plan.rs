//! Which points there are, which of them were killed at, and where to kill next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::durable::DurableCall;

/// One durable call of a room: in which state of the job, which call on which file, and which of its like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The room.
    pub room: &'static str,
    /// Where the job stood, and whether the room had been started again meanwhile.
    pub state: String,
    /// The call.
    pub call: DurableCall,
    /// Its number among equal ones in this state, from 1.
    pub nth: u32,
}

/// What is known of a point.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// In how many recordings it was seen.
    pub recorded: u32,
    /// The room told somebody something between this call and its next durable one. Otherwise a kill after this call
    /// leaves the same as one before the next.
    pub told: bool,
    /// Killed before the call was made.
    pub before: bool,
    /// Killed after it was made.
    pub after: bool,
}

/// What the tracer does at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    Go,
    /// Kills the room before the call is made.
    KillBefore,
    /// Kills it once the call is made.
    KillAfter,
    /// Does not make the call, and tells the room that it was made.
    LeaveOut,
}

/// All points, shared by the boxes of a test.
#[derive(Debug, Default)]
pub struct Points(Mutex<BTreeMap<Point, Known>>);

impl Points {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Point, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that both recordings saw: every untroubled life has them.
    pub fn recorded(&self) -> BTreeMap<Point, Known> {
        self.lock()
            .iter()
            .filter(|(_, known)| known.recorded >= 2)
            .map(|(point, known)| (point.clone(), *known))
            .collect()
    }

    /// Every point that was killed at.
    pub fn killed(&self) -> BTreeMap<Point, Known> {
        let points = self.lock();
        points
            .iter()
            .filter(|(_, known)| known.before || known.after)
            .map(|(point, known)| (point.clone(), *known))
            .collect()
    }

    /// How many recorded points of a state were not killed at yet.
    pub fn open_in(&self, state: &str) -> usize {
        self.open().iter().filter(|((_, open), _)| open == state).map(|(_, points)| points.len()).sum()
    }

    /// The same of the room that has most of them: so many more lives are needed at least.
    pub fn most_open_in(&self, state: &str) -> usize {
        self.open()
            .iter()
            .filter(|((_, open), _)| open == state)
            .map(|(_, points)| points.len())
            .max()
            .unwrap_or(0)
    }

    /// Recorded points that were not killed at yet, by room and state.
    pub fn open(&self) -> BTreeMap<(&'static str, String), Vec<Point>> {
        let mut open: BTreeMap<_, Vec<Point>> = BTreeMap::new();
        for (point, known) in self.recorded() {
            if !known.before || (known.told && !known.after) {
                open.entry((point.room, point.state.clone())).or_default().push(point);
            }
        }
        open
    }
}

/// Most points beyond the recorded ones in a run that must be short.
const MOST_EXTRA: usize = 330;

/// What the tracers of a box do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Quiet,
    /// Write down every point.
    Record,
    /// Kill at points that were not killed at yet.
    Kill,
    /// Kill once, at the n-th durable call of a room from now on, and end the whole box with it.
    Cut {
        /// The room.
        room: &'static str,
        /// Which call, from 1.
        nth: u32,
    },
    /// Leave out what would make the contents of files durable.
    Without,
}

#[derive(Debug)]
struct Now {
    mode: Mode,
    state: &'static str,
    epoch: u64,
    /// How often each room was killed in this state: before it was started again, while it started, and after.
    killed: BTreeMap<(&'static str, String), u32>,
    counted: u32,
    active: Instant,
    faults: Vec<String>,
    kills: u32,
    /// The last kills, for whoever must find out what went wrong.
    last: VecDeque<String>,
}

/// One box: what its tracers know of it.
#[derive(Debug)]
pub struct Situation {
    points: Arc<Points>,
    each_call: bool,
    /// Most points at which a room is killed while it starts again, or after that: they come on top of the recorded.
    most_extra: usize,
    now: Mutex<Now>,
    dead: AtomicBool,
}

impl Situation {
    /// A box whose points go to `points`. With `each_call`, every single call is a point.
    pub fn new(points: Arc<Points>, each_call: bool) -> Arc<Self> {
        let now = Now {
            mode: Mode::Quiet,
            state: "start",
            epoch: 1,
            killed: BTreeMap::new(),
            counted: 0,
            active: Instant::now(),
            faults: Vec::new(),
            kills: 0,
            last: VecDeque::new(),
        };
        let most_extra = if each_call { usize::MAX } else { MOST_EXTRA };
        Arc::new(Self { points, each_call, most_extra, now: Mutex::new(now), dead: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job has come to another state.
    pub fn enter(&self, state: &'static str, mode: Mode) {
        let mut now = self.lock();
        (now.mode, now.state) = (mode, state);
        now.epoch += 1;
        now.counted = 0;
        now.killed.clear();
    }

    /// True if every single call is a point.
    pub fn each_call(&self) -> bool {
        self.each_call
    }

    /// Number of the state now.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// The state now, with its number.
    pub fn state(&self) -> (u64, String) {
        let now = self.lock();
        (now.epoch, now.state.to_owned())
    }

    /// A room is about to make a durable call.
    pub fn arrived(&self, point: &Point) -> Order {
        let mut now = self.lock();
        now.active = Instant::now();
        match now.mode.clone() {
            Mode::Quiet => Order::Go,
            Mode::Record => {
                self.points.lock().entry(point.clone()).or_default().recorded += 1;
                Order::Go
            }
            Mode::Kill => self.choose(&mut now, point),
            Mode::Cut { room, nth } => cut(&mut now, point, room, nth),
            Mode::Without => {
                if point.call.is_sync() && !point.call.is_of_directory {
                    Order::LeaveOut
                } else {
                    Order::Go
                }
            }
        }
    }

    /// Each room is killed once in a state, twice while it starts again, and once after that: so a job loses no more
    /// runs than it may.
    fn choose(&self, now: &mut Now, point: &Point) -> Order {
        let kills = now.killed.entry((point.room, point.state.clone())).or_default();
        let is_extra = point.state != now.state;
        if *kills >= if point.state.starts_with("start in") { 2 } else { 1 } {
            return Order::Go;
        }
        let mut points = self.points.lock();
        if is_extra {
            let extra = points.values().filter(|known| known.recorded == 0 && (known.before || known.after));
            if extra.count() >= self.most_extra {
                return Order::Go;
            }
        }
        let known = points.entry(point.clone()).or_default();
        let order = match (known.before, known.told && !known.after) {
            (false, _) => Order::KillBefore,
            (true, true) => Order::KillAfter,
            (true, false) => return Order::Go,
        };
        match order {
            Order::KillBefore => known.before = true,
            _ => known.after = true,
        }
        *kills += 1;
        now.last.push_front(format!("{order:?} {point:?}"));
        now.last.truncate(8);
        order
    }

    /// The room told somebody something since this call.
    pub fn told(&self, point: &Point) {
        if self.lock().mode == Mode::Record
            && let Some(known) = self.points.lock().get_mut(point)
        {
            known.told = true;
        }
    }

    /// A room is killed now.
    pub fn killing(&self) {
        let mut now = self.lock();
        now.kills += 1;
        if matches!(now.mode, Mode::Cut { .. }) {
            self.dead.store(true, Ordering::SeqCst);
        }
    }

    /// Kills so far.
    pub fn kills(&self) -> u32 {
        self.lock().kills
    }

    /// The last of them, the newest first.
    pub fn last_kills(&self) -> String {
        let now = self.lock();
        now.last.iter().map(|kill| format!("\n  {kill}")).collect()
    }

    /// Waits until no room has made a durable call for a moment: what the state brought about is done.
    pub fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.lock().active.elapsed() < Duration::from_millis(80) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Something that must never happen.
    pub fn fault(&self, text: String) {
        let mut now = self.lock();
        let state = now.state;
        now.faults.push(format!("in {state}: {text}"));
    }

    /// What must never happen and did.
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// True between a cut of the power and [`Situation::revive`].
    pub fn all_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// The power is cut now.
    pub fn cut_now(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// The power is back.
    pub fn revive(&self) {
        self.dead.store(false, Ordering::SeqCst);
    }

    /// Rooms stay dead until the power is back.
    pub fn wait_while_all_dead(&self, stop: &AtomicBool) {
        while self.all_dead() && !stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn cut(now: &mut Now, point: &Point, room: &str, nth: u32) -> Order {
    if point.room != room {
        return Order::Go;
    }
    now.counted += 1;
    if now.counted == nth { Order::KillAfter } else { Order::Go }
}
