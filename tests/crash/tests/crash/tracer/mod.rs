//! Runs one room under ptrace, sees each of its durable calls, kills it where the plan says, and starts it again.

mod calls;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;

use crate::durable::{self, DurableCall, Seen};
use crate::plan::{AGAIN, Order, Situation};
use crate::points::Point;
use calls::{Event, Stand, Task, Until};

/// Makes the command that starts a room.
pub type Start = Box<dyn Fn() -> Command + Send>;

/// Keeps one room of a box running: traced, killed as planned, and started again after each kill.
pub struct Keeper {
    process: Arc<AtomicI32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the room. `home` is the directory whose files count.
    pub fn start(
        room: &'static str,
        start: Start,
        journal: PathBuf,
        home: PathBuf,
        box_: Arc<Situation>,
    ) -> Self {
        let (process, stop) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
        let (own_process, own_stop) = (process.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !own_stop.load(Ordering::SeqCst) {
                let mut traced = Traced::new(room, &home, &box_);
                traced.run(&start, &journal, &own_process);
                own_process.store(0, Ordering::SeqCst);
                let ordered =
                    traced.killed || traced.failed || own_stop.load(Ordering::SeqCst) || box_.all_dead();
                if !ordered {
                    box_.fault(format!("the {room} ended by itself; {}", last_line(&journal)));
                    return;
                }
                box_.wait_while_all_dead(&own_stop);
            }
        });
        Self { process, stop, thread: Some(thread) }
    }

    /// Kills the room at once and does not start it again.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(thread) = &self.thread {
            let process = self.process.load(Ordering::SeqCst);
            if process != 0 {
                calls::kill(process);
            }
            if thread.is_finished() {
                let _ = self.thread.take().map(JoinHandle::join);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn last_line(journal: &Path) -> String {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// What is to be done when a call is over.
enum Then {
    Kill,
    Answer(i64),
}

struct Traced<'a> {
    room: &'static str,
    home: &'a Path,
    box_: &'a Situation,
    process: Task,
    until: Until,
    killed: bool,
    /// One of its calls failed: it may end by itself then.
    failed: bool,
    ready: bool,
    /// The state in which this process was started, and whether it was the first of that state.
    epoch: u64,
    born: u64,
    counts: HashMap<DurableCall, u32>,
    last: Option<Point>,
    then: HashMap<Task, Then>,
}

impl<'a> Traced<'a> {
    fn new(room: &'static str, home: &'a Path, box_: &'a Situation) -> Self {
        let epoch = box_.epoch();
        Self {
            room,
            home,
            box_,
            process: 0,
            until: Until::AnyCall,
            killed: false,
            failed: false,
            ready: false,
            epoch,
            born: epoch,
            counts: HashMap::new(),
            last: None,
            then: HashMap::new(),
        }
    }

    /// Runs the room until all of its threads are gone.
    fn run(&mut self, start: &Start, journal: &Path, process: &AtomicI32) {
        let log = OpenOptions::new().create(true).append(true).open(journal).expect("a journal");
        let mut command = start();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // The enclave has children, which could not make those calls.
        let only = (self.room != "enclave").then_some(&durable::TRACED[..]);
        self.until = if only.is_some() { Until::Filtered } else { Until::AnyCall };
        self.process = calls::start(&mut command, only).expect("the room starts under the tracer");
        process.store(self.process, Ordering::SeqCst);
        calls::go_on(self.process, 0, self.until);
        while let Some(event) = calls::next().expect("waiting for an own child") {
            match event {
                Event::Call(task) => self.call(task),
                Event::Stopped(task, signal) => calls::go_on(task, signal, self.until),
                Event::Gone(task) => drop(self.then.remove(&task)),
            }
        }
    }

    fn call(&mut self, task: Task) {
        let go_on = match calls::stand(task) {
            Some(Stand::Entry { number, arguments }) => self.entry(task, number, arguments),
            Some(Stand::Exit { returned }) => self.exit(task, returned),
            None => true,
        };
        // A killed task goes nowhere: the call that it stands before is never made.
        if go_on {
            // Where something is to be done when the call is over, it stops there in any case.
            let until = if self.then.contains_key(&task) { Until::AnyCall } else { self.until };
            calls::go_on(task, 0, until);
        }
    }

    fn entry(&mut self, task: Task, number: i64, arguments: [u64; 6]) -> bool {
        if !self.ready && number == libc::SYS_write && arguments[0] == 2 {
            let line = durable::written(self.process, arguments[1], arguments[2]);
            self.ready = String::from_utf8_lossy(&line).contains(r#""event":"ready""#);
        }
        // The witness says nothing when it is ready.
        self.ready |= self.room == "witness" && number == libc::SYS_listen;
        match durable::look(self.process, number, arguments, self.home) {
            Seen::Durable(call) => self.durable(task, call),
            Seen::Told => {
                if let Some(point) = &self.last {
                    self.box_.told(point);
                }
                true
            }
            Seen::Other => true,
        }
    }

    fn durable(&mut self, task: Task, call: DurableCall) -> bool {
        // Calls that continue the one before are one step with it, unless each of them is asked for: nothing is made
        // durable and nobody is told anything between them.
        let follows = self.last.as_ref().is_some_and(|last| call.continues(&last.call));
        if follows && !self.box_.each_call() && self.epoch == self.box_.epoch() {
            return true;
        }
        let point = self.point(call);
        self.last = Some(point.clone());
        match self.box_.arrived(&point) {
            Order::Go => true,
            Order::KillBefore => self.kill(),
            Order::KillAfter => {
                self.then.insert(task, Then::Kill);
                true
            }
            Order::LeaveOut => {
                self.answer(task, false, 0);
                true
            }
            Order::Fail(fault) => {
                self.failed = true;
                self.answer(task, fault.is_stored(), fault.answer());
                true
            }
        }
    }

    /// The room will be told this, whether the call is made or not.
    fn answer(&mut self, task: Task, is_made: bool, answer: i64) {
        if is_made || calls::leave_out(task).is_ok() {
            self.then.insert(task, Then::Answer(answer));
        }
    }

    fn exit(&mut self, task: Task, returned: i64) -> bool {
        match self.then.remove(&task) {
            Some(Then::Kill) if returned >= 0 => self.kill(),
            Some(Then::Answer(answer)) => calls::answer(task, answer).is_ok(),
            _ => true,
        }
    }

    fn kill(&mut self) -> bool {
        self.killed = true;
        self.box_.killing();
        calls::kill(self.process);
        false
    }

    fn point(&mut self, call: DurableCall) -> Point {
        let (epoch, state) = self.box_.state();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.counts.clear();
        }
        let state = match (self.ready, self.born == epoch) {
            (false, _) => format!("start in {state}"),
            (true, true) => format!("{state}{AGAIN}"),
            (true, false) => state,
        };
        let count = self.counts.entry(call.clone()).or_default();
        *count += 1;
        Point { room: self.room, state, call, nth: *count }
    }
}
