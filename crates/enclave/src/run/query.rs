//! A question in place of code: what the box's own program is told, and how its answer is compared with earlier ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use egress::{EarlierQuery, QueryTask};
use release::envelope::Envelope;
use release::path::SignedRequest;
use release::report::OutputReport;
use release::rule::Rule;
use release::site::Site;
use release::statement::{Query, Request, RuleResult};

use crate::differencing::{answers_about_other_rows, earlier_answers, job_words, note_answer};
use crate::files;
use crate::judgement::Found;
use crate::outputs::{Outputs, OutputsError};
use crate::wall::{Child, ChildError, Program};

use super::Ready;

/// Where the program of questions lies in their runtime.
const PROGRAM: &str = "usr/bin/databox-query";

/// Lays the question down in a directory of its own, which the program sees in the place of a bundle.
pub(super) fn lay_down(work: &Path, query: &Query, asked: &Request, ready: &Ready) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let directory = work.join("question");
    files::new_directory(&directory, 0o700)?;
    let mut task = task(query, asked, ready, asked.limits.memory_bytes.0)?;
    // An asker who chose it would learn from a failed run how many units its rows have.
    let units = task.catalogue.units_asked(asked).unwrap_or(0);
    if let Some(bytes) = QueryTask::noisy_sums_bytes(query, units) {
        task.memory_bytes = bytes;
    }
    let path = directory.join(QueryTask::FILE);
    fs::write(&path, task.to_json())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555))?;
    Ok(directory)
}

/// Half of the memory is for sums; the rest is the program's own.
fn task(query: &Query, asked: &Request, ready: &Ready, memory: u64) -> io::Result<QueryTask> {
    let covers = |entry: &&release::statement::Catalogue| entry.name == query.dataset;
    let catalogue = ready.catalogue.iter().find(covers).cloned();
    Ok(QueryTask {
        policy: ready.policy_text.clone(),
        query: query.clone(),
        catalogue: catalogue.ok_or(io::ErrorKind::NotFound)?,
        threads: usize::try_from(asked.limits.cpus.0).unwrap_or(1),
        memory_bytes: memory / 2,
        earlier: Vec::new(),
    })
}

/// Compares the answer with all earlier ones about the same rows, by who stands in them. The caller holds
/// [`crate::room::Room::table_order`] until the verdict is stored: of two questions that are answered at once, the later was
/// compared with the earlier.
pub(super) fn compare(
    outputs: &Outputs<'_>,
    asked: &Request,
    ready: &Ready,
    found: &mut Found,
) -> Result<(), OutputsError> {
    // What has noise is not put together with anything: the noise is what protects people, and its price adds up.
    let Some(query) = asked.query.as_ref().filter(|query| query.privacy.is_none()) else { return Ok(()) };
    note_other_rows(&answers_about_other_rows(outputs.room, asked)?, found);
    let earlier = earlier_answers(outputs.room, asked)?;
    // An answer is compared with itself, too: people stand in several groups where they have several rows, and the rows
    // around several ranks of a group overlap. One number alone tells of one set of people.
    if earlier.is_empty() && query.groups.is_empty() && query.quantiles().next().is_none() {
        return Ok(());
    }
    let limits = &outputs.room.configuration.limits;
    let mut task = task(query, asked, ready, limits.child_memory_bytes)?;
    // Each thread is a process to the wall, which allows a child 16, and the engine starts about two for each.
    task.threads = usize::try_from(limits.cpus).unwrap_or(1).min(6);
    task.earlier = earlier.iter().filter_map(|envelope| earlier_query(envelope, &ready.site)).collect();
    // The site's choice, and not the asker's: of two programs one may have a fault that the other has not.
    let Some(comparing) = &ready.comparing else {
        join(found, &blocked());
        return Ok(());
    };
    let binary = comparing.join(PROGRAM);
    let child = Child {
        program: Program::QueryComparer,
        binary: Some(&binary),
        reads: Vec::new(),
        writes: None,
        data: outputs.data,
        public: &[],
    };
    let (report, detail) = match outputs.run_with_detail(&child, task.to_json()) {
        Ok(found) => found,
        // What could not be compared within its limits does not leave.
        Err(OutputsError::Child(ChildError::Ended(_))) => (blocked(), Vec::new()),
        Err(error) => return Err(error),
    };
    join(found, &report);
    found.add_detail("compare-answers", detail);
    Ok(())
}

/// What changed between two snapshots follows from two sums by subtraction, and nothing here adds such sums up. A person
/// decides: the rule is noted, and the finding names the other jobs.
fn note_other_rows(jobs: &[String], found: &mut Found) {
    let Some(latest) = jobs.first() else { return };
    let index = Rule::TableDifferencing.index();
    // Only what passed is noted: were silence noted, a comparer that says nothing would let everything out.
    if let Some(comparer) = &mut found.comparer
        && comparer.rules[index] == RuleResult::Passed
    {
        comparer.rules[index] = RuleResult::Noted;
    }
    let others = if jobs.len() > 1 { format!(" and {} more", jobs.len() - 1) } else { String::new() };
    let detail = format!(
        "an earlier answer is about another snapshot of these rows ({latest}{others}): what changed between them follows from \
         two sums, and was not compared"
    );
    note_answer(found, "compare-snapshots", detail);
}

fn earlier_query(envelope: &Envelope, site: &Site) -> Option<EarlierQuery> {
    let request: Request = envelope.unverified().ok()?;
    let query = request.query.clone()?;
    let policy = SignedRequest::verify(envelope, site).ok().and_then(|signed| {
        let policy = site.policy(&signed.grant().statement().policy)?;
        String::from_utf8(policy.file().to_vec()).ok()
    });
    Some(EarlierQuery { of: job_words(&request, envelope), query, policy })
}

fn blocked() -> OutputReport {
    let mut report = OutputReport::unchecked();
    report.rules[Rule::TableDifferencing.index()] = RuleResult::Blocked;
    report
}

/// Whatever else the other comparison said, what this one forbids stays forbidden; and silence of it forbids, too.
fn join(found: &mut Found, report: &OutputReport) {
    let index = Rule::TableDifferencing.index();
    let comparer = found.comparer.get_or_insert_with(OutputReport::unchecked);
    match report.rules[index] {
        RuleResult::Passed => {}
        RuleResult::Noted | RuleResult::Blocked | RuleResult::NotChecked | RuleResult::NotApplicable => {
            comparer.rules[index] = RuleResult::Blocked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_another_snapshot_is_noted_and_silence_stays_silence() {
        let index = Rule::TableDifferencing.index();
        let noted = |before: RuleResult, jobs: &[String]| {
            let mut comparer = OutputReport::unchecked();
            comparer.rules[index] = before;
            let mut found = Found { comparer: Some(comparer), ..Found::default() };
            note_other_rows(jobs, &mut found);
            (found.comparer.map(|report| report.rules[index]), found.details.len())
        };
        use RuleResult::{Blocked, NotChecked, Noted, Passed};
        let jobs = ["job a".to_owned()];
        assert_eq!(noted(Passed, &jobs), (Some(Noted), 1));
        assert_eq!(noted(Passed, &[]), (Some(Passed), 0));
        for before in [NotChecked, Blocked, Noted] {
            assert_eq!(noted(before, &jobs), (Some(before), 1), "{before:?}");
        }
        let mut nobody = Found::default();
        note_other_rows(&jobs, &mut nobody);
        assert_eq!(nobody.comparer, None);
    }

    #[test]
    fn an_answer_that_was_not_compared_with_earlier_ones_is_blocked() {
        let index = Rule::TableDifferencing.index();
        let result = |of_tables: RuleResult, of_answers: RuleResult| {
            let [mut tables, mut answers] = [(); 2].map(|()| OutputReport::unchecked());
            tables.rules[index] = of_tables;
            answers.rules[index] = of_answers;
            let mut found = Found { comparer: Some(tables), ..Found::default() };
            join(&mut found, &answers);
            found.comparer.map(|report| report.rules[index])
        };
        use RuleResult::{Blocked, NotApplicable, NotChecked, Noted, Passed};
        assert_eq!(result(Passed, Passed), Some(Passed));
        assert_eq!(result(Noted, Passed), Some(Noted));
        assert_eq!(result(Blocked, Passed), Some(Blocked));
        for silent in [NotChecked, NotApplicable, Noted, Blocked] {
            assert_eq!(result(Passed, silent), Some(Blocked), "{silent:?}");
        }
    }
}
