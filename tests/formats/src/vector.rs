//! A vector: one release file, what a verifier is given beside it, and the refusal that it must meet.
//!
//! ```text
//! databox-vector/v1
//! about: <what is wrong with it, in words>
//! expect: verified | <name of the refusal>
//! twin: <the vector like it that must be verified; one that must be verified itself has none>
//! roles: <the pin>
//! now: <the moment of verification, if it is not that of the others>
//! accept-on-box-witness: yes
//! remember: <the verifier's memory, in base64>
//! pad: <so many spaces are added at the end before the file is checked>
//! files: given
//! file: <name> <base64>
//!
//! <the release file, to the end>
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;
use databox_verify::EgressJudge;
use egress::InMemory;
use release::file::{Examination, GivenFiles, Pinned, SeenState};
use release::json;
use release::refusal::Refusal;
use release::value::{Name, Timestamp};

use crate::story::verified_at;

const HEADER: &str = "databox-vector/v1";

/// One vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    /// What is wrong with it.
    pub about: String,
    /// The refusal; none if it must be verified.
    pub expect: Option<Refusal>,
    /// The name of the vector that is nearest to it and must be verified.
    pub twin: Option<String>,
    /// The pin.
    pub roles: Digest,
    /// The moment of verification.
    pub now: Timestamp,
    /// True if a witness on the box's machine counts.
    pub accept_on_box_witness: bool,
    /// What the verifier remembers.
    pub remember: Option<SeenState>,
    /// So many spaces are added.
    pub pad: usize,
    /// The released files, if they are given.
    pub files: Option<BTreeMap<Name, Vec<u8>>>,
    /// The release file.
    pub release: Vec<u8>,
}

/// Where the vectors are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// All that are kept, each with the name of its file, sorted by name.
pub fn all() -> Vec<(String, Vector)> {
    let files = std::fs::read_dir(directory()).expect("a folder of vectors");
    let mut all: Vec<_> = files
        .map(|entry| entry.expect("a file").path())
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            (name, Vector::parse(&std::fs::read(path).expect("a vector")))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Compares the bad vectors that a way of verifying takes with what its text says that it leaves out.
///
/// Each pair of `left_out` is the beginning of vectors' names and the words by which the text names what they break.
/// Panics at a vector that is taken unsaid, at words that do not stand in the text, and at a pair of which nothing is
/// taken any more.
pub fn nothing_else_is_taken(taken: &[String], left_out: &[(&str, &str)], text: &str) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let unsaid = |name: &&String| !left_out.iter().any(|(begin, _)| name.starts_with(begin));
    let unsaid: Vec<_> = taken.iter().filter(unsaid).collect();
    assert!(unsaid.is_empty(), "taken, and not said to be left out: {unsaid:#?}");
    for (begin, words) in left_out {
        assert!(text.contains(words), "the text does not say that it leaves out {words:?}: {begin}");
        assert!(taken.iter().any(|name| name.starts_with(begin)), "{begin} is found now");
    }
}

impl Vector {
    /// The text of the vector.
    pub fn to_bytes(&self) -> Vec<u8> {
        let expect = self.expect.map_or("verified", Refusal::name);
        let mut text = format!("{HEADER}\nabout: {}\nexpect: {expect}\n", self.about);
        if let Some(twin) = &self.twin {
            text += &format!("twin: {twin}\n");
        }
        text += &format!("roles: {}\n", self.roles);
        if self.now != verified_at() {
            text += &format!("now: {}\n", self.now);
        }
        if self.accept_on_box_witness {
            text += "accept-on-box-witness: yes\n";
        }
        if let Some(memory) = &self.remember {
            text += &format!("remember: {}\n", STANDARD.encode(json::to_bytes(memory)));
        }
        if self.pad > 0 {
            text += &format!("pad: {}\n", self.pad);
        }
        if let Some(files) = &self.files {
            text += "files: given\n";
            for (name, bytes) in files {
                text += &format!("file: {name} {}\n", STANDARD.encode(bytes));
            }
        }
        text += "\n";
        [text.as_bytes(), &self.release].concat()
    }

    /// Reads a vector. Panics where it is not one: vectors are part of the tests.
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").expect("a blank line");
        let head = std::str::from_utf8(&bytes[..end]).expect("a header in UTF-8");
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some(HEADER));
        let mut vector = Self {
            about: String::new(),
            expect: None,
            twin: None,
            roles: Digest::of(b""),
            now: verified_at(),
            accept_on_box_witness: false,
            remember: None,
            pad: 0,
            files: None,
            release: bytes[end + 2..].to_vec(),
        };
        for line in lines {
            let (key, value) = line.split_once(": ").expect("a header line");
            vector.read_line(key, value);
        }
        vector
    }

    fn read_line(&mut self, key: &str, value: &str) {
        match key {
            "about" => self.about = value.to_owned(),
            "expect" if value == "verified" => self.expect = None,
            "expect" => self.expect = Some(Refusal::from_name(value).expect("a refusal's name")),
            "twin" => self.twin = Some(value.to_owned()),
            "roles" => self.roles = value.parse().expect("a digest"),
            "now" => self.now = value.parse().expect("a time"),
            "accept-on-box-witness" => self.accept_on_box_witness = value == "yes",
            "remember" => {
                let memory = STANDARD.decode(value).expect("base64");
                self.remember = Some(json::from_bytes(&memory, memory.len()).expect("a memory"));
            }
            "pad" => self.pad = value.parse().expect("a number"),
            "files" => self.files = Some(BTreeMap::new()),
            "file" => {
                let (name, content) = value.split_once(' ').expect("a name and base64");
                let content = STANDARD.decode(content).expect("base64");
                let files = self.files.get_or_insert_with(BTreeMap::new);
                files.insert(name.parse().expect("a name"), content);
            }
            other => panic!("{other} is no header of a vector"),
        }
    }

    /// The release file as a verifier gets it.
    pub fn release_bytes(&self) -> Vec<u8> {
        let mut bytes = self.release.clone();
        bytes.resize(bytes.len() + self.pad, b' ');
        bytes
    }

    /// Runs the library's checks.
    pub fn examine(&self) -> Examination {
        let pinned = Pinned {
            roles: self.roles,
            accept_on_box_witness: self.accept_on_box_witness,
            seen: self.remember.clone(),
        };
        let examine =
            |files: GivenFiles<'_>| Examination::of(&self.release_bytes(), &pinned, self.now, files);
        let Some(files) = &self.files else {
            return examine(GivenFiles::ToCount(&EgressJudge(InMemory::default())));
        };
        let measure =
            |(name, bytes): (&Name, &Vec<u8>)| (name.clone(), (bytes.len() as u64, Digest::of(bytes)));
        let measured: BTreeMap<_, _> = files.iter().map(measure).collect();
        let judge = EgressJudge(InMemory(files.clone()));
        examine(GivenFiles::ToJudge { measured: &measured, judge: &judge })
    }
}
