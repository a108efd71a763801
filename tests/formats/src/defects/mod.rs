//! The defects, one at a time, and the innocent variants beside them.

mod code;
mod differencing;
mod evidence;
mod form;
mod innocent;
mod log;
mod people;
mod precision;
mod public;
mod questions;
mod site;
mod ssh;
mod twins;

use release::file::SeenState;
use release::refusal::Refusal;
use release::value::Timestamp;

use crate::story::{Story, verified_at};
use crate::vector::Vector;

/// A story with one thing changed, and what a verifier must say.
pub struct Defect {
    /// The vector's name: the refusal's, and what distinguishes it.
    pub name: String,
    about: &'static str,
    expect: Option<Refusal>,
    story: Story,
    with_files: bool,
    accept_on_box_witness: bool,
    remember: Option<SeenState>,
    pad: usize,
    now: Timestamp,
}

impl Defect {
    fn new(expect: Refusal, which: &str, about: &'static str, story: Story) -> Self {
        Self::of(Some(expect), format!("{}.{which}", expect.name()), about, story)
    }

    fn innocent(which: &str, about: &'static str, story: Story) -> Self {
        Self::of(None, format!("verified.{which}"), about, story)
    }

    fn of(expect: Option<Refusal>, name: String, about: &'static str, story: Story) -> Self {
        Self {
            name,
            about,
            expect,
            story,
            with_files: false,
            accept_on_box_witness: false,
            remember: None,
            pad: 0,
            now: verified_at(),
        }
    }

    fn with_files(mut self) -> Self {
        self.with_files = true;
        self
    }

    fn accepting_on_box_witness(mut self) -> Self {
        self.accept_on_box_witness = true;
        self
    }

    fn remembering(mut self, seen: SeenState) -> Self {
        self.remember = Some(seen);
        self
    }

    fn padded(mut self, pad: usize) -> Self {
        self.pad = pad;
        self
    }

    fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The vector.
    pub fn vector(&self) -> Vector {
        let told = self.story.tell();
        Vector {
            about: self.about.to_owned(),
            expect: self.expect,
            twin: self.expect.map(|_| twins::of(&self.name)),
            roles: told.pin,
            now: self.now,
            accept_on_box_witness: self.accept_on_box_witness,
            remember: self.remember.clone(),
            pad: self.pad,
            files: self.with_files.then_some(told.files),
            release: told.bytes,
        }
    }
}

fn story() -> Story {
    Story::default()
}

/// Every defect and every innocent variant.
pub fn all() -> Vec<Defect> {
    let all = [
        innocent::all(),
        form::all(),
        site::all(),
        evidence::all(),
        differencing::all(),
        code::all(),
        people::all(),
        ssh::all(),
        log::all(),
        public::all(),
        questions::all(),
        precision::all(),
    ];
    all.into_iter().flatten().collect()
}
