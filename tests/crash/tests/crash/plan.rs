//! What the tracers of a box do at each point: nothing, kill, fail, or leave the call out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::durable::DurableCall;
use crate::fault::Fault;
use crate::life::{CODE_APPROVAL, RUN};
use crate::points::{Point, Points};

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
    /// Tells the room that the call failed.
    Fail(Fault),
}

/// How a state is called in a process that was started again in it.
pub const AGAIN: &str = ", started again";

/// How often a room dies in one state of one life, in a run that must be short.
const MOST_KILLS: u32 = 16;

/// Most points beyond the recorded ones in a run that must be short.
const MOST_EXTRA: usize = 260;

/// What the tracers of a box do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Quiet,
    /// Write down every point, as one of this scene.
    Record(&'static str),
    /// Kill at points that were not killed at yet.
    Kill,
    /// Kill once, at the n-th durable call of a room from now on, and end the whole box with it.
    Cut {
        /// The room.
        room: &'static str,
        /// Which call, from 1.
        nth: u32,
    },
    /// Kill once, after a room has given this file its name, and end the whole box with it.
    CutAt {
        /// The room.
        room: &'static str,
        /// How the file's plain name begins.
        path: &'static str,
    },
    /// Have calls fail that did not fail yet.
    Fail,
    /// Leave these calls out, and say that they were made.
    Without(Defect),
}

/// Which calls a defective room leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// None: the innocent twin.
    None,
    /// What makes the contents of files durable.
    FileSyncs,
    /// What makes names durable.
    DirectorySyncs,
    /// The signer never writes its head down outside of its own directory.
    HeadOutside,
}

impl Defect {
    fn leaves_out(self, room: &str, call: &DurableCall) -> bool {
        match self {
            Self::None => false,
            Self::FileSyncs => call.is_sync() && !call.is_of_directory,
            Self::DirectorySyncs => call.is_sync() && call.is_of_directory,
            Self::HeadOutside => {
                room == "signer" && call.name == "rename" && call.path == "box/heads/signer/log"
            }
        }
    }
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
    failures: u32,
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
            failures: 0,
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
            Mode::Record(scene) => {
                self.points.with(point, |known| *known.recorded.entry(scene).or_default() += 1);
                Order::Go
            }
            Mode::Kill => self.choose(&mut now, point),
            Mode::Cut { room, nth } => cut(&mut now, point, room, nth),
            Mode::CutAt { room, path } => cut_at(&mut now, point, room, path),
            Mode::Fail => self.fail(&mut now, point),
            Mode::Without(defect) if defect.leaves_out(point.room, &point.call) => Order::LeaveOut,
            Mode::Without(_) => Order::Go,
        }
    }

    /// In the long run each room is killed once in a state, twice while it starts again, and once after that. In the
    /// short one a room that was started again stands at the next call that nobody was killed at, and is killed there
    /// too: many points take one life. The enclave is killed twice in a run at most, so that a job loses no more runs
    /// than it may.
    fn choose(&self, now: &mut Now, point: &Point) -> Order {
        let lived_on =
            point.state.strip_suffix(AGAIN).map(|state| Point { state: state.to_owned(), ..point.clone() });
        let same = lived_on.filter(|_| !self.each_call);
        // What a process does again after a start is the recorded call, made in the same state of the job.
        let point = same.as_ref().filter(|same| self.points.is_open(same)).unwrap_or(point);
        let bucket = same.as_ref().map_or(&point.state, |same| &same.state).clone();
        let is_extra = point.state != now.state;
        let most = match (point.state.starts_with("start in"), is_extra) {
            (true, _) => 2,
            _ if self.each_call => 1,
            (_, true) => 2,
            _ if point.room == "enclave" && matches!(now.state, RUN | CODE_APPROVAL) => 2,
            _ => MOST_KILLS,
        };
        let kills = now.killed.entry((point.room, bucket)).or_default();
        if *kills >= most || (is_extra && self.points.extra() >= self.most_extra) {
            return Order::Go;
        }
        let order = self.points.with(point, |known| match (known.before, known.told && !known.after) {
            (false, _) => {
                known.before = true;
                Order::KillBefore
            }
            (true, true) => {
                known.after = true;
                Order::KillAfter
            }
            (true, false) => Order::Go,
        });
        if order == Order::Go {
            return order;
        }
        *kills += 1;
        remember(now, &order, point);
        order
    }

    /// In each state one call of each room fails, of those that did not fail so yet. The short run takes each call on
    /// each file once, with one of the ways to fail in turn.
    fn fail(&self, now: &mut Now, point: &Point) -> Order {
        let failed = now.killed.entry((point.room, point.state.clone())).or_default();
        if *failed >= 1 {
            return Order::Go;
        }
        let kind = if self.each_call { point.clone() } else { Point { nth: 0, ..point.clone() } };
        let fault = self.points.with(&kind, |known| {
            if !self.each_call && !known.faults.is_empty() {
                return None;
            }
            let start = point.call.path.len() + point.call.name.len() + point.room.len();
            let ways = Fault::ALL.into_iter().cycle().skip(start % Fault::ALL.len()).take(Fault::ALL.len());
            let fault =
                ways.filter(|fault| fault.fits(&point.call)).find(|fault| !known.faults.contains(fault))?;
            known.faults.push(fault);
            Some(fault)
        });
        let Some(fault) = fault else { return Order::Go };
        *failed += 1;
        now.failures += 1;
        let order = Order::Fail(fault);
        remember(now, &order, point);
        order
    }

    /// The room told somebody something since this call.
    pub fn told(&self, point: &Point) {
        if matches!(self.lock().mode, Mode::Record(_)) {
            self.points.with(point, |known| known.told = true);
        }
    }

    /// A room is killed now.
    pub fn killing(&self) {
        let mut now = self.lock();
        now.kills += 1;
        if matches!(now.mode, Mode::Cut { .. } | Mode::CutAt { .. }) {
            self.dead.store(true, Ordering::SeqCst);
        }
    }

    /// Kills so far.
    pub fn kills(&self) -> u32 {
        self.lock().kills
    }

    /// Calls that failed so far.
    pub fn failures(&self) -> u32 {
        self.lock().failures
    }

    /// The last kills and failures, the newest first.
    pub fn last_orders(&self) -> String {
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

fn remember(now: &mut Now, order: &Order, point: &Point) {
    now.last.push_front(format!("{order:?} {point:?}"));
    now.last.truncate(8);
}

fn cut_at(now: &mut Now, point: &Point, room: &str, path: &str) -> Order {
    let is_it = point.room == room && point.call.name == "rename" && point.call.path.starts_with(path);
    if now.counted > 0 || !is_it {
        return Order::Go;
    }
    now.counted = 1;
    Order::KillAfter
}

fn cut(now: &mut Now, point: &Point, room: &str, nth: u32) -> Order {
    if point.room != room {
        return Order::Go;
    }
    now.counted += 1;
    if now.counted == nth { Order::KillAfter } else { Order::Go }
}
