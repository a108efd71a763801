//! What comes of an example under a policy.

use std::collections::BTreeMap;
use std::io;

use release::rule::Rule;
use release::statement::{
    Catalogue, CatalogueEntry, Column, DatasetGrant, DeclaredOutput, Query, RuleResult, Table, ValueType,
};
use release::value::{Count, Name, Timestamp};

use super::{Example, Written};
use crate::differencing::{
    Compared, EarlierTable, compare, earlier_counts_file, earlier_table_file, own_counts_file,
};
use crate::files::{Entry, EntryKind, InMemory, ReadSeek, Source};
use crate::{EgressError, Judgement, Task, canonicalise, judge, merge};

/// What became of an example under a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExampleOutcome {
    /// What its rule says.
    pub result: RuleResult,
    /// Whether no rule blocks it.
    pub leaves: bool,
}

impl Example {
    /// What becomes of this example of a rule under a policy. None for an example that is searched for copies: this crate
    /// has no data to search in.
    ///
    /// # Errors
    /// If the policy is not accepted.
    pub fn run(&self, rule: Rule, policy: &str) -> Result<Option<ExampleOutcome>, EgressError> {
        let query = self.query()?;
        let answer = query.as_ref().map(|query| query.output().expect("its columns have different names"));
        let mut output: DeclaredOutput = match answer {
            Some(answer) => answer,
            None => serde_json::from_str(self.declared).map_err(EgressError::Task)?,
        };
        if let (DeclaredOutput::Metrics { names, .. }, Written::Metrics(count)) = (&mut output, self.written)
        {
            *names = (0..count).map(metric).collect();
        }
        let path = output.path().clone();
        let mut outputs = vec![output];
        if let Written::Beside { declared, .. } = self.written {
            outputs.push(serde_json::from_str(declared).map_err(EgressError::Task)?);
        }
        let task = Task {
            policy: policy.to_owned(),
            outputs,
            catalogue: vec![catalogue()],
            query,
            precisions: BTreeMap::new(),
            as_written: false,
        };
        let judgement = match self.written {
            Written::Searched { .. } => return Ok(None),
            Written::SymbolicLink => canonicalise(&task, &mut Link(&path), &mut InMemory::default()),
            Written::Nothing => judge(&task, &mut InMemory::default()),
            Written::Text(text) | Written::Answer(text) => both(&task, [(path, text.into())]),
            Written::Rows { heading, row, count } => {
                let rows = (1..=count).map(|number| row.replace('#', &number.to_string()));
                both(&task, [(path, [heading.to_owned()].into_iter().chain(rows).collect::<String>().into())])
            }
            Written::Metrics(count) => {
                let metrics: BTreeMap<Name, f64> = (0..count).map(|number| (metric(number), 0.5)).collect();
                both(&task, [(path, serde_json::to_vec(&metrics).expect("names and numbers are JSON"))])
            }
            Written::After { text, earlier } => after(&task, path, text, earlier),
            Written::Beside { text, other, .. } => {
                let beside = task.outputs[1].path().clone();
                both(&task, [(path, text.into()), (beside, other.into())])
            }
            Written::Tensors(list) => both(&task, [(path, safetensors(list))]),
            Written::Zeros => both(&task, [(path, zeros(&task.outputs[0]))]),
        };
        match judgement {
            Ok(judgement) => {
                let rules = &judgement.report.rules;
                let leaves = !rules.contains(&RuleResult::Blocked);
                Ok(Some(ExampleOutcome { result: rules[rule.index()], leaves }))
            }
            // The box would not even admit a job that declares this.
            Err(EgressError::Declaration(_)) => {
                Ok(Some(ExampleOutcome { result: RuleResult::Blocked, leaves: false }))
            }
            Err(error) => Err(error),
        }
    }
}

impl Example {
    /// The question, where one was asked.
    fn query(&self) -> Result<Option<Query>, EgressError> {
        match self.written {
            Written::Answer(_) => serde_json::from_str(self.declared).map(Some).map_err(EgressError::Task),
            _ => Ok(None),
        }
    }
}

/// The name of a metric.
fn metric(number: usize) -> Name {
    format!("m{number:04}").parse().expect("it is a name")
}

/// What the canonicaliser and then the judge say.
fn both(task: &Task, files: impl IntoIterator<Item = (Name, Vec<u8>)>) -> Result<Judgement, EgressError> {
    let (mut source, mut sink) = (InMemory::new(files), InMemory::default());
    let formed = canonicalise(task, &mut source, &mut sink)?;
    let judged = judge(task, &mut sink)?;
    Ok(Judgement { report: merge(&formed.report, &judged.report), ..judged })
}

/// What the comparison says of a table after that of another job.
fn after(task: &Task, path: Name, text: &str, earlier: &str) -> Result<Judgement, EgressError> {
    let formed = |text: &str| {
        let mut sink = InMemory::default();
        let formed = canonicalise(task, &mut InMemory::new([(path.clone(), text.into())]), &mut sink)?;
        Ok::<_, EgressError>((sink, formed.counts.into_iter().next().map(|(_, counts)| counts)))
    };
    let ((mut sealed, own), (other, counts)) = (formed(text)?, formed(earlier)?);
    let table = other.0.into_values().next();
    let files = [(own_counts_file(0), own), (earlier_table_file(0), table), (earlier_counts_file(0), counts)];
    let files = files.into_iter().filter_map(|(name, bytes)| Some((name, bytes?)));
    let compared = Compared {
        policy: task.policy.clone(),
        outputs: task.outputs.clone(),
        catalogue: task.catalogue.clone(),
        snapshot: String::new(),
        earlier: vec![EarlierTable {
            of: "another job".to_owned(),
            output: task.outputs[0].clone(),
            snapshot: String::new(),
        }],
    };
    compare(&compared, &mut sealed, &mut InMemory::new(files))
}

/// The dataset that the examples are about: `hie`, with the categories `free` and `individual` in the column `plan`.
fn catalogue() -> Catalogue {
    let name = |text: &str| text.parse().expect("a name");
    let plan = Column {
        name: name("plan"),
        value_type: ValueType::Category,
        categories: ["free", "individual"].map(str::to_owned).into(),
    };
    let entry = CatalogueEntry::Dataset {
        snapshots: Vec::new(),
        unit_column: name("zper"),
        tables: vec![Table { file: name("hie.csv"), columns: vec![plan] }],
        limits: DatasetGrant { release_bits: Count(1), answer_bits: Count(1) },
        licence: String::new(),
        source: String::new(),
        privacy: None,
        public: Vec::new(),
    };
    let issued_at = Timestamp::from_seconds(0).expect("1970 is a moment");
    Catalogue { site: name("site"), name: name("hie"), version: Count(1), entry, issued_at }
}

fn zeros(output: &DeclaredOutput) -> Vec<u8> {
    let DeclaredOutput::Weights { tensors, .. } = output else { return Vec::new() };
    let shapes: Vec<Vec<u64>> =
        tensors.iter().map(|tensor| tensor.shape.iter().map(|length| length.0).collect()).collect();
    let values: Vec<Vec<f32>> =
        shapes.iter().map(|shape| vec![0.0; shape.iter().product::<u64>() as usize]).collect();
    let list: Vec<_> = tensors
        .iter()
        .zip(shapes.iter().zip(&values))
        .map(|(tensor, (shape, values))| (tensor.name.as_str(), &shape[..], &values[..]))
        .collect();
    safetensors(&list)
}

/// A safetensors file of tensors in binary32: name, shape, values.
fn safetensors(list: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in list {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let tensor = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), tensor);
    }
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// A directory with a symbolic link in the place of the output.
struct Link<'a>(&'a Name);

impl Source for Link<'_> {
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        Ok(vec![Entry { name: self.0.as_str().into(), kind: EntryKind::SymbolicLink, bytes: 1 }])
    }

    fn open(&mut self, _: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)> {
        Err(io::ErrorKind::InvalidInput.into())
    }
}
