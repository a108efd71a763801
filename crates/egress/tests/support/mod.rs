//! What the tests share: the standard policy, a catalogue, files and the way through canonicaliser and judge.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{self, Write};

use egress::{Entry, EntryKind, InMemory, Judgement, ReadSeek, Sink, Source, Task, canonicalise, judge};
use release::rule::Rule;
use release::statement::{
    Catalogue, CatalogueEntry, Column, DatasetGrant, DeclaredOutput, RuleResult, Table, ValueType,
};
use release::value::{Count, Name, Timestamp};

/// The standard policy.
pub const STANDARD: &str = include_str!("../../../../policies/egress/standard.toml");

/// The dataset `hie`, whose column `plan` has these categories.
pub fn catalogue_with(categories: &[&str]) -> Catalogue {
    let columns = vec![
        Column {
            name: name("plan"),
            value_type: ValueType::Category,
            categories: categories.iter().map(|value| (*value).to_owned()).collect(),
        },
        Column { name: name("note"), value_type: ValueType::Text, categories: Vec::new() },
    ];
    Catalogue {
        site: name("site"),
        name: name("hie"),
        version: Count(1),
        entry: CatalogueEntry::Dataset {
            snapshots: Vec::new(),
            unit_column: name("zper"),
            tables: vec![Table { file: name("hie.csv"), columns }],
            limits: DatasetGrant { release_bits: Count(1), answer_bits: Count(1) },
            licence: String::new(),
            source: String::new(),
            privacy: None,
            public: Vec::new(),
        },
        issued_at: Timestamp::from_seconds(0).unwrap(),
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A task under the standard policy. `declared` are outputs as JSON.
pub fn task(declared: &[&str]) -> Task {
    let outputs: Vec<DeclaredOutput> =
        declared.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    Task {
        policy: STANDARD.to_owned(),
        outputs,
        catalogue: vec![catalogue_with(&["free", "individual"])],
        query: None,
        precisions: BTreeMap::new(),
        as_written: false,
    }
}

/// The policy of a task with another value of a key.
pub fn with_policy(mut task: Task, from: &str, to: &str) -> Task {
    assert!(task.policy.contains(from), "{from}");
    task.policy = task.policy.replace(from, to);
    task
}

pub fn result(judgement: &Judgement, rule: Rule) -> RuleResult {
    judgement.report.rules[rule.index()]
}

/// What the canonicaliser says and writes.
pub fn form(task: &Task, files: &[(&str, &[u8])]) -> (Judgement, InMemory) {
    let mut source = InMemory::new(files.iter().map(|(path, bytes)| (name(path), bytes.to_vec())));
    let mut sink = InMemory::default();
    let judgement = canonicalise(task, &mut source, &mut sink).unwrap();
    (judgement, sink)
}

/// The canonical form of the task's one output; none if it is refused.
pub fn form_one(task: &Task, bytes: &[u8]) -> Option<Vec<u8>> {
    let path = task.outputs[0].path().clone();
    form(task, &[(path.as_str(), bytes)]).1.0.remove(&path)
}

/// What the judge says of bytes that should be canonical.
pub fn judge_one(task: &Task, bytes: &[u8]) -> Judgement {
    judge(task, &mut InMemory::new([(task.outputs[0].path().clone(), bytes.to_vec())])).unwrap()
}

/// A directory with one entry that is no plain file. Opening anything fails.
pub struct Odd(pub Entry);

impl Odd {
    pub fn new(name: &str, kind: EntryKind) -> Self {
        Self(Entry { name: name.into(), kind, bytes: 1 })
    }
}

impl Source for Odd {
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        Ok(vec![self.0.clone()])
    }

    fn open(&mut self, _: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)> {
        panic!("opened what is no plain file")
    }
}

/// A sink that fails.
pub struct Full;

impl Sink for Full {
    fn create(&mut self, _: &Name) -> io::Result<Box<dyn Write + '_>> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn discard(&mut self, _: &Name) -> io::Result<()> {
        Ok(())
    }
}

/// A safetensors file with this header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A safetensors file of tensors in binary32.
pub fn tensors(list: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    let (mut header, mut data) = (String::new(), Vec::new());
    for (name, shape, values) in list {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let end = data.len();
        let comma = if header.is_empty() { "" } else { "," };
        header +=
            &format!(r#"{comma}"{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#);
    }
    safetensors(&format!("{{{header}}}"), &data)
}

/// A generator of numbers that are always the same (Knuth's MMIX constants).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
