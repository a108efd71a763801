//! A question at the desk: answered by the box's own program, if it is here, on rows of the researcher's own or made-up ones.

use std::fs;
use std::path::Path;

use egress::{Policy, QueryTask};
use release::statement::{Catalogue, Limits};

use super::{LocalArguments, bundle_of, data};
use crate::check::{self, stage};
use crate::failure::{Failure, file_failure, whole};
use crate::question::{self, Alone, Asked};
use crate::{programs, runtime};

/// The program that answers questions.
const PROGRAM: &str = "databox-query";

/// A question, and what the catalogue says of its dataset.
pub(super) struct Question {
    pub(super) asked: Asked,
    pub(super) entry: Catalogue,
}

/// The manifest's question in its closed form, if it has one: refused for what the box would refuse.
pub(super) fn read(
    manifest: &bundle::Manifest,
    arguments: &LocalArguments,
    policy: &Policy,
    profile: &str,
) -> Result<Option<Question>, Failure> {
    let Some(asked) = &manifest.query else { return Ok(None) };
    let entry = data::entry_of(question::dataset(manifest)?, &arguments.catalogue, profile)?;
    let asked = question::read(manifest, asked, &entry, policy)?;
    Ok(Some(Question { asked, entry }))
}

/// A question that nothing at this desk can answer: what it asks is all that is told.
pub(super) fn told_alone(arguments: &LocalArguments, profile: &str) -> Result<Option<Alone>, Failure> {
    let (manifest, _) = bundle_of(&arguments.directory)?;
    if arguments.runtime.is_some() || programs::find(PROGRAM).is_ok() {
        return Ok(None);
    }
    let policy = check::policy_text(arguments.policy.as_deref())?;
    let policy = Policy::parse(&policy).map_err(|error| Failure::new("POLICY", whole(&error)))?;
    let question = read(&manifest, arguments, &policy, profile)?;
    Ok(question.map(|question| Alone::new(question.asked)))
}

/// The tree of the runtime that answers: the one that was given, or made of the program that lies beside this one.
pub(super) fn runtime(given: Option<&Path>) -> Result<stage::Staged, Failure> {
    match given {
        Some(directory) => stage::runtime(directory),
        None => {
            let tree = stage::directory()?;
            runtime::for_queries(tree.path())?;
            Ok(tree)
        }
    }
}

impl Question {
    /// What the program is told, in the place of the bundle, as in the box. No earlier answer is known here.
    pub(super) fn lay_down(&self, policy: &str, asked: &Limits) -> Result<stage::Staged, Failure> {
        let task = QueryTask {
            policy: policy.to_owned(),
            query: self.asked.query.clone(),
            catalogue: self.entry.clone(),
            threads: usize::try_from(asked.cpus.0).unwrap_or(1),
            memory_bytes: asked.memory_bytes.0 / 2,
            earlier: Vec::new(),
        };
        let directory = stage::directory()?;
        let path = directory.path().join(QueryTask::FILE);
        fs::write(&path, task.to_json()).map_err(file_failure(&path))?;
        stage::open_to_all(&path)?;
        Ok(directory)
    }
}
