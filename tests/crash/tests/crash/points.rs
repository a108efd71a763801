//! Which points there are, and which of them were killed at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::durable::DurableCall;
use crate::fault::Fault;

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
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// In how many recordings of each scene it was seen.
    pub recorded: BTreeMap<&'static str, u32>,
    /// The room told somebody something between this call and its next durable one. Otherwise a kill after this call
    /// leaves the same as one before the next.
    pub told: bool,
    /// Killed before the call was made.
    pub before: bool,
    /// Killed after it was made.
    pub after: bool,
    /// Failures that the call was answered with.
    pub faults: Vec<Fault>,
}

impl Known {
    /// True if somebody was killed here.
    pub fn killed(&self) -> bool {
        self.before || self.after
    }

    fn is_open(&self) -> bool {
        !self.before || (self.told && !self.after)
    }
}

#[derive(Debug, Default)]
struct Book {
    points: BTreeMap<Point, Known>,
    /// How often each scene was recorded.
    lives: BTreeMap<&'static str, u32>,
}

impl Book {
    /// Every untroubled life of a scene has it.
    fn is_always(&self, known: &Known) -> bool {
        known.recorded.iter().any(|(scene, seen)| self.lives.get(scene) == Some(seen))
    }
}

/// All points, shared by the boxes of a test.
#[derive(Debug, Default)]
pub struct Points(Mutex<Book>);

impl Points {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life of this scene is about to be recorded.
    pub fn recording(&self, scene: &'static str) {
        *self.lock().lives.entry(scene).or_default() += 1;
    }

    /// Rooms, states and calls that somebody was killed at, each once, however often the call comes in the state.
    pub fn distinct(&self) -> usize {
        let book = self.lock();
        let killed = book.points.iter().filter(|(_, known)| known.killed());
        let kinds: BTreeSet<_> = killed.map(|(point, _)| (point.room, &point.state, &point.call)).collect();
        kinds.len()
    }

    /// Looks at or changes what is known of a point.
    pub fn with<T>(&self, point: &Point, work: impl FnOnce(&mut Known) -> T) -> T {
        work(self.lock().points.entry(point.clone()).or_default())
    }

    /// Those that every recording of a scene saw: every untroubled life has them.
    pub fn recorded(&self) -> BTreeMap<Point, Known> {
        let book = self.lock();
        let always = book.points.iter().filter(|(_, known)| book.is_always(known));
        always.map(|(point, known)| (point.clone(), known.clone())).collect()
    }

    /// True for a recorded call that was not killed at yet.
    pub fn is_open(&self, point: &Point) -> bool {
        self.lock().points.get(point).is_some_and(|known| !known.recorded.is_empty() && known.is_open())
    }

    /// Every point that was killed at.
    pub fn killed(&self) -> BTreeMap<Point, Known> {
        let book = self.lock();
        let killed = book.points.iter().filter(|(_, known)| known.killed());
        killed.map(|(point, known)| (point.clone(), known.clone())).collect()
    }

    /// How many points were killed at that no recording has: the room was starting, or had been started again.
    pub fn extra(&self) -> usize {
        let book = self.lock();
        book.points.values().filter(|known| known.recorded.is_empty() && known.killed()).count()
    }

    /// Calls that only some recordings saw, such as one more page of a journal, and that were killed at under none of
    /// their numbers.
    pub fn untouched_kinds(&self) -> Vec<Point> {
        let book = self.lock();
        let mut kinds: BTreeMap<(&str, &str, &DurableCall), (Point, bool)> = BTreeMap::new();
        for (point, known) in book.points.iter().filter(|(_, known)| !known.recorded.is_empty()) {
            let kind = (point.room, point.state.as_str(), &point.call);
            kinds.entry(kind).or_insert_with(|| (point.clone(), false)).1 |= known.killed();
        }
        kinds.into_values().filter(|(_, killed)| !killed).map(|(point, _)| point).collect()
    }

    /// Recorded points of a state that were not killed at yet, by room.
    pub fn open_in(&self, state: &str) -> BTreeMap<&'static str, usize> {
        let mut open: BTreeMap<_, usize> = BTreeMap::new();
        for point in self.open().into_iter().filter(|point| point.state == state) {
            *open.entry(point.room).or_default() += 1;
        }
        open
    }

    /// Recorded points that were not killed at yet, or not also after the call where somebody was told something.
    pub fn open(&self) -> Vec<Point> {
        let recorded = self.recorded().into_iter();
        recorded.filter(|(_, known)| known.is_open()).map(|(point, _)| point).collect()
    }
}
