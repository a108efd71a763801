//! Whether an answer, with all answers before it about the same rows, gives a few people away.
//!
//! Everything that an answer tells is a sum over the rows of a told group, or the number of its units. So whatever anyone
//! works out of all answers by adding and subtracting is a sum over classes of rows that no question tells apart. Here the
//! box knows the classes and how many units each has; [`crate::rank`] asks whether some combination is of a few alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use egress::{Detail, EarlierQuery, Finding, JudgedFile, QueryTask};
use release::report::{DETAIL_LIMIT, OutputReport};
use release::rule::Rule;
use release::statement::{ANSWER_FILE, OutputKind, Query, RuleResult};
use release::value::{Count, Name};

use crate::aggregate::{Source, Summed};
use crate::cells::Groups;
use crate::classes::Cell;
use crate::rank::{System, TooLarge};
use crate::{AnswerError, table_policy};

/// What one unit has in one class.
struct Held {
    class: usize,
    unit: u32,
    summed: Vec<Summed>,
}

/// All questions, the earlier ones first and the own one last, and what they tell.
struct Told<'a> {
    queries: Vec<&'a Query>,
    /// The columns of numbers that any of them sums up.
    numbers: Vec<&'a Name>,
    held: Vec<Held>,
    /// The told group of each question that each class is in.
    patterns: Vec<Vec<Cell>>,
    smallest: u64,
}

/// A told group: question and number.
type Group = (usize, u32);

/// Compares the answer to the task's question with those to the earlier ones. It gives the message of fixed size and the
/// findings for stewards.
///
/// # Errors
/// By name, and never with a value.
pub fn compare(task: &QueryTask, data: &Path) -> Result<(OutputReport, Vec<u8>), AnswerError> {
    let told = Told::read(task, data)?;
    let names: Vec<&str> = task.earlier.iter().map(|earlier| earlier.of.as_str()).collect();
    let smallest = told.smallest;
    let mut report = OutputReport::unchecked();
    let everyone: Vec<usize> = (0..names.len()).collect();
    let found = match told.isolates(&everyone) {
        Ok(false) => None,
        Ok(true) => {
            let pairs = (0..names.len()).filter(|earlier| told.isolates(&[*earlier]).unwrap_or(true));
            let pairs: Vec<&str> = pairs.map(|earlier| names[earlier]).collect();
            let named = if pairs.is_empty() { names } else { pairs };
            let with = named.join(", ");
            Some(format!("together with {with} it tells something of fewer than {smallest} units alone"))
        }
        Err(TooLarge) => Some("there are more earlier answers than can be put together".to_owned()),
    };
    let result = if found.is_some() { RuleResult::Blocked } else { RuleResult::Passed };
    report.rules[Rule::TableDifferencing.index()] = result;
    Ok((report, found.map(detail).unwrap_or_default()))
}

fn detail(words: String) -> Vec<u8> {
    let finding =
        |detail| Finding { rule: Rule::TableDifferencing.name(), result: RuleResult::Blocked, detail };
    let of = |words: String| Detail {
        files: vec![JudgedFile {
            name: ANSWER_FILE.to_owned(),
            kind: Some(OutputKind::Table),
            bytes: Count(0),
            released_bits: Count(0),
            findings: vec![finding(words)],
        }],
    };
    let bytes = serde_json::to_vec(&of(words)).expect("findings have a JSON form");
    match bytes.len() <= DETAIL_LIMIT {
        true => bytes,
        false => {
            let short =
                "together with many earlier answers it tells something of a few units alone".to_owned();
            serde_json::to_vec(&of(short)).expect("findings have a JSON form")
        }
    }
}

impl<'a> Told<'a> {
    fn read(task: &'a QueryTask, data: &Path) -> Result<Self, AnswerError> {
        let mut queries: Vec<&Query> = task.earlier.iter().map(|earlier| &earlier.query).collect();
        queries.push(&task.query);
        let numbers: BTreeSet<&Name> =
            queries.iter().flat_map(|query| query.values.iter().map(|value| &value.column)).collect();
        let numbers: Vec<&Name> = numbers.into_iter().collect();
        let source = Source::open(task, data, &queries, &numbers)?;
        let (mut held, mut units) = (Vec::new(), HashMap::new());
        source.each_unit(|class, unit, summed| {
            let next = units.len() as u32;
            let unit = *units.entry(unit.to_vec()).or_insert(next);
            held.push(Held { class: class as usize, unit, summed: summed.to_vec() });
        })?;
        let smallest = table_policy(&task.policy)?.smallest_count;
        let mut told = Self { queries, numbers, held, patterns: source.classes().patterns(), smallest };
        for (index, earlier) in task.earlier.iter().enumerate() {
            told.leave_out_untold(index, policy_of(earlier)?.as_deref())?;
        }
        told.leave_out_untold(task.earlier.len(), Some(&task.policy))?;
        Ok(told)
    }

    /// Takes the groups that an answer does not tell out of the patterns. Without a policy it told all of them.
    fn leave_out_untold(&mut self, question: usize, policy: Option<&str>) -> Result<(), AnswerError> {
        let Some(policy) = policy.map(table_policy).transpose()? else { return Ok(()) };
        let own: Vec<usize> = self.columns_of(question).collect();
        let mut held: HashMap<(u32, u32), Vec<Summed>> = HashMap::new();
        for one in &self.held {
            let Some(cell) = self.patterns[one.class][question] else { continue };
            let sums = held.entry((cell, one.unit)).or_insert_with(|| vec![Summed::default(); own.len()]);
            for (sum, column) in sums.iter_mut().zip(&own) {
                sum.sum += one.summed[*column].sum;
                sum.rows += one.summed[*column].rows;
            }
        }
        let mut groups = Groups::default();
        held.iter().for_each(|((cell, _), summed)| groups.add(*cell, summed));
        for pattern in &mut self.patterns {
            let cell = &mut pattern[question];
            *cell = cell.filter(|cell| groups.0.get(cell).is_some_and(|group| group.is_told(&policy)));
        }
        Ok(())
    }

    /// The columns of numbers that a question sums up, by their places among all of them.
    fn columns_of(&self, question: usize) -> impl Iterator<Item = usize> {
        let values = self.queries[question].values.iter();
        values.filter_map(|value| self.numbers.iter().position(|number| **number == value.column))
    }

    /// Whether the own answer and those to these earlier questions together isolate a few: by counts, or by sums of a column.
    fn isolates(&self, earlier: &[usize]) -> Result<bool, TooLarge> {
        let own = self.queries.len() - 1;
        let mut questions = earlier.to_vec();
        questions.push(own);
        if self.tells(&self.counted(&questions))? {
            return Ok(true);
        }
        for column in self.columns_of(own) {
            let sums_it = |question: &usize| self.columns_of(*question).any(|one| one == column);
            let questions: Vec<usize> = questions.iter().copied().filter(sums_it).collect();
            if self.tells(&self.summed(&questions, column))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether these groups isolate something, be it new or not. What an earlier answer told is worked out anew, by a policy or a
    /// catalogue that may have changed since: it is never an excuse that something seems to have been told before.
    fn tells(&self, classes: &BTreeMap<Vec<Group>, HashSet<u32>>) -> Result<bool, TooLarge> {
        let groups: BTreeSet<Group> = classes.keys().flatten().copied().collect();
        let groups: BTreeMap<Group, usize> = groups.into_iter().zip(0..).collect();
        let members = |units: &HashSet<u32>| match (units.len() as u64) < self.smallest {
            true => units.iter().copied().collect(),
            false => Vec::new(),
        };
        let mut system = System {
            units: classes.values().map(|units| units.len() as u64).collect(),
            members: classes.values().map(members).collect(),
            groups: vec![Vec::new(); groups.len()],
        };
        for (class, pattern) in classes.keys().enumerate() {
            pattern.iter().for_each(|group| system.groups[groups[group]].push(class));
        }
        Ok(system.isolated(self.smallest)? > 0)
    }

    /// The told groups of these questions that a class is in.
    fn groups_of(&self, class: usize, questions: &[usize]) -> Vec<Group> {
        let group = |question: &usize| Some((*question, self.patterns[class][*question]?));
        questions.iter().filter_map(group).collect()
    }

    /// Units by the groups in which they stand: counts are of units, and one that stands in several classes is counted once
    /// in each group.
    fn counted(&self, questions: &[usize]) -> BTreeMap<Vec<Group>, HashSet<u32>> {
        let mut of_units: HashMap<u32, BTreeSet<Group>> = HashMap::new();
        for held in &self.held {
            of_units.entry(held.unit).or_default().extend(self.groups_of(held.class, questions));
        }
        let mut classes: BTreeMap<Vec<Group>, HashSet<u32>> = BTreeMap::new();
        for (unit, groups) in of_units.into_iter().filter(|(_, groups)| !groups.is_empty()) {
            classes.entry(groups.into_iter().collect()).or_default().insert(unit);
        }
        classes
    }

    /// Rows with a number in this column by the groups in which they stand, and of which units they are.
    fn summed(&self, questions: &[usize], column: usize) -> BTreeMap<Vec<Group>, HashSet<u32>> {
        let mut units: BTreeMap<Vec<Group>, HashSet<u32>> = BTreeMap::new();
        for held in self.held.iter().filter(|held| held.summed[column].rows > 0) {
            let groups = self.groups_of(held.class, questions);
            if !groups.is_empty() {
                units.entry(groups).or_default().insert(held.unit);
            }
        }
        units
    }
}

/// The policy that says what an earlier answer left out; none if it cannot be read any more.
fn policy_of(earlier: &EarlierQuery) -> Result<Option<String>, AnswerError> {
    let readable = |text: &&String| table_policy(text).is_ok();
    Ok(earlier.policy.as_ref().filter(readable).cloned())
}
