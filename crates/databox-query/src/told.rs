//! What answers tell: which groups and which rows around a rank, of which classes and units.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use egress::{EarlierQuery, QueryTask, TablePolicy};
use release::statement::{Query, QueryFunction};
use release::value::Name;

use crate::aggregate::{Source, Summed};
use crate::cells::{Groups, are_spread};
use crate::classes::Cell;
use crate::modular::{WHOLE, fraction};
use crate::rank::{System, TooLarge};
use crate::window::{Units, Valued, Window, windows};
use crate::{AnswerError, table_policy};

/// What one unit has in one class.
struct Held {
    class: usize,
    unit: u32,
    summed: Vec<Summed>,
}

/// A number that is asked for.
#[derive(Clone, Copy)]
struct Asked {
    /// The column, by its place among all of them.
    column: usize,
    function: QueryFunction,
}

/// Something told: the question, the group, and of a quantile its place among what the question asks for.
type Item = (usize, u32, Option<usize>);

/// What is told of a class of rows, and how much of each: all of the class, or a part.
type Parts = Vec<(Item, u64)>;

/// The units of a class, and what each has there of the column that is looked at.
type Members = HashMap<u32, f64>;

/// What may not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A number of a few units.
    Few,
    /// A sum of which one or two units have nearly all.
    Dominated,
    /// How many rows there are, of which one or two units have nearly all.
    Rows,
}

/// What a sum of 0 says of numbers that are not negative: each of them is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zero {
    /// It may not be told, as no group with it is.
    Tells,
    /// Around a rank it may: that others have other numbers was looked at there.
    IsTold,
}

/// All questions, the earlier ones first and the own one last, and what they tell.
pub(crate) struct Told<'a> {
    queries: Vec<&'a Query>,
    /// The columns of numbers that any of them asks for.
    numbers: Vec<&'a Name>,
    held: Vec<Held>,
    /// The rows of each column of numbers of which a quantile is asked, sorted.
    valued: Vec<Vec<Valued>>,
    /// The told group of each question that each class is in.
    patterns: Vec<Vec<Cell>>,
    /// The rows around each rank, by question and place among what it asks for.
    windows: BTreeMap<(usize, usize), BTreeMap<u32, Window>>,
    /// Whether the rows around some rank are not known.
    is_unknown: bool,
    policy: TablePolicy,
}

impl<'a> Told<'a> {
    pub(crate) fn read(task: &'a QueryTask, data: &Path) -> Result<Self, AnswerError> {
        let mut queries: Vec<&Query> = task.earlier.iter().map(|earlier| &earlier.query).collect();
        queries.push(&task.query);
        let asked = || queries.iter().flat_map(|query| &query.values);
        let numbers: BTreeSet<&Name> = asked().map(|value| &value.column).collect();
        let numbers: Vec<&Name> = numbers.into_iter().collect();
        let source = Source::open(task, data, &queries, &numbers)?;
        let (mut held, mut units) = (Vec::new(), Units::default());
        source.each_unit(|class, unit, summed| {
            held.push(Held { class: class as usize, unit: units.number(unit), summed: summed.to_vec() });
        })?;
        let mut valued = Vec::new();
        for (column, name) in numbers.iter().enumerate() {
            let is_of = |of: &&Name, function| of == name && matches!(function, QueryFunction::Quantile(_));
            let is_asked = asked().any(|value| is_of(&&value.column, value.function));
            valued.push(if is_asked { source.sorted(column, &mut units)? } else { Vec::new() });
        }
        let policy = table_policy(&task.policy)?;
        let patterns = source.classes().patterns();
        let (windows, is_unknown) = (BTreeMap::new(), false);
        let mut told = Self { queries, numbers, held, valued, patterns, windows, is_unknown, policy };
        for (index, earlier) in task.earlier.iter().enumerate() {
            told.leave_out_untold(index, policy_of(earlier)?.as_deref())?;
        }
        told.leave_out_untold(task.earlier.len(), Some(&task.policy))?;
        Ok(told)
    }

    pub(crate) fn smallest(&self) -> u64 {
        self.policy.smallest_count
    }

    /// Takes the groups that an answer does not tell out of the patterns, and finds the rows around the ranks of the others.
    /// Without a policy it told all groups; how many rows around a rank, is then not known.
    fn leave_out_untold(&mut self, question: usize, policy: Option<&str>) -> Result<(), AnswerError> {
        let asked: Vec<Asked> = self.asked(question).collect();
        let Some(policy) = policy.map(table_policy).transpose()? else {
            self.is_unknown |= self.queries[question].quantiles().next().is_some();
            return Ok(());
        };
        let mut held: HashMap<(u32, u32), Vec<Summed>> = HashMap::new();
        for one in &self.held {
            let Some(cell) = self.patterns[one.class][question] else { continue };
            let sums = held.entry((cell, one.unit)).or_insert_with(|| vec![Summed::default(); asked.len()]);
            for (sum, asked) in sums.iter_mut().zip(&asked) {
                sum.sum += one.summed[asked.column].sum;
                sum.rows += one.summed[asked.column].rows;
            }
        }
        let mut groups = Groups::new(asked.iter().map(|asked| asked.function));
        held.iter().for_each(|((cell, _), summed)| groups.add(*cell, summed.iter().copied()));
        for (value, asked) in asked.iter().enumerate() {
            let QueryFunction::Quantile(percent) = asked.function else { continue };
            let (valued, patterns) = (&self.valued[asked.column], &self.patterns);
            let cell = |class: u32| patterns[class as usize][question];
            let windows = windows(valued, cell, percent, policy.smallest_count);
            groups.put_windows(value, &windows, valued);
            self.windows.insert((question, value), windows);
        }
        let is_told = |cell: &u32| groups.cells.get(cell).is_some_and(|group| group.is_told(&policy));
        for pattern in &mut self.patterns {
            pattern[question] = pattern[question].filter(is_told);
        }
        for ((_, _), windows) in self.windows.range_mut((question, 0)..(question + 1, 0)) {
            windows.retain(|cell, _| is_told(cell));
        }
        Ok(())
    }

    /// The numbers that a question asks for, in their order.
    fn asked(&self, question: usize) -> impl Iterator<Item = Asked> {
        let values = self.queries[question].values.iter();
        values.filter_map(|value| {
            let column = self.numbers.iter().position(|number| **number == value.column)?;
            Some(Asked { column, function: value.function })
        })
    }

    /// What the own answer and those to these earlier questions together tell that may not be told: by counts, or by numbers of a
    /// column.
    /// It does not help that something seems to have been told before: what an earlier answer told is worked out anew, by a
    /// policy or a catalogue that may have changed since.
    pub(crate) fn finds(&self, earlier: &[usize]) -> Result<Option<Finding>, TooLarge> {
        if self.is_unknown {
            return Err(TooLarge);
        }
        let own = self.queries.len() - 1;
        let mut questions = earlier.to_vec();
        questions.push(own);
        if self.system(&self.counted(&questions)).isolates(self.smallest())? {
            return Ok(Some(Finding::Few));
        }
        let columns: BTreeSet<usize> = self.asked(own).map(|asked| asked.column).collect();
        for column in columns {
            let asks_for = |question: &usize| self.asked(*question).any(|one| one.column == column);
            let questions: Vec<usize> = questions.iter().copied().filter(asks_for).collect();
            let summing: Vec<usize> =
                questions.iter().copied().filter(|question| self.sums(*question, column)).collect();
            let sums = self.summed(&summing, column, |summed| summed.sum);
            let mut found = self.finds_in(&sums, Zero::Tells)?;
            if found.is_none() && !self.valued[column].is_empty() {
                found = self.finds_in(&self.ranked(&questions, column), Zero::IsTold)?;
            }
            if found.is_some() {
                return Ok(found);
            }
            if self.tells_rows(&questions, column)? {
                return Ok(Some(Finding::Rows));
            }
        }
        Ok(None)
    }

    /// What sums over these classes tell that may not be told.
    fn finds_in(&self, classes: &BTreeMap<Parts, Members>, zero: Zero) -> Result<Option<Finding>, TooLarge> {
        let system = self.system(classes);
        if system.isolates(self.smallest())? {
            return Ok(Some(Finding::Few));
        }
        Ok(self.is_dominated(&system, classes, zero)?.then_some(Finding::Dominated))
    }

    /// Whether a question asks for the sum or the mean of a column.
    fn sums(&self, question: usize, column: usize) -> bool {
        let is_sum = |function| matches!(function, QueryFunction::Sum | QueryFunction::Mean);
        self.asked(question).any(|one| one.column == column && is_sum(one.function))
    }

    /// Whether one or two units have nearly all rows of something whose rows may be counted: a sum and a mean, each told by an
    /// answer of its own, tell their number. All groups are taken as if both were told.
    fn tells_rows(&self, questions: &[usize], column: usize) -> Result<bool, TooLarge> {
        // One that told no group at all, for one person's many rows say, tells nothing of rows either.
        let asks = |question: &usize, function| {
            self.asked(*question).any(|one| one.column == column && one.function == function)
                && self.patterns.iter().any(|pattern| pattern[*question].is_some())
        };
        let [sums, means] = [QueryFunction::Sum, QueryFunction::Mean]
            .map(|function| questions.iter().copied().filter(|one| asks(one, function)).collect::<Vec<_>>());
        if sums.is_empty() || means.is_empty() {
            return Ok(false);
        }
        let questions = [sums, means].concat();
        let classes = self.summed(&questions, column, |summed| summed.rows as f64);
        self.is_dominated(&self.system(&classes), &classes, Zero::Tells)
    }

    /// Whether one or two units have nearly all of a sum that follows. Such a one has a class of which they have nearly all, and
    /// little else: all, less every group but the one that was left out, say.
    fn is_dominated(
        &self,
        system: &System,
        classes: &BTreeMap<Parts, Members>,
        zero: Zero,
    ) -> Result<bool, TooLarge> {
        let members: Vec<&Members> = classes.values().collect();
        let size = |members: &&Members| members.values().map(|sum| sum.abs()).sum();
        let sizes: Vec<f64> = members.iter().map(size).collect();
        let is_spread = |parts: &[f64]| {
            let is_zero = parts.iter().all(|part| *part == 0.0);
            !(zero == Zero::Tells && is_zero) && are_spread(&self.policy, parts.iter().copied())
        };
        let dominated = |class: &usize| !is_spread(&members[*class].values().copied().collect::<Vec<_>>());
        let dominated: Vec<usize> = (0..members.len()).filter(dominated).collect();
        let around = system.around(&dominated, &sizes)?;
        Ok(around.iter().any(|combination| {
            let mut parts: HashMap<u32, f64> = HashMap::new();
            for (class, times) in combination {
                // How often it is in it is not known: nothing says then that it is no one's.
                let Some(times) = times else { return true };
                for (unit, sum) in members[*class] {
                    *parts.entry(*unit).or_default() += times * sum;
                }
            }
            !is_spread(&parts.into_values().collect::<Vec<_>>())
        }))
    }

    fn system(&self, classes: &BTreeMap<Parts, Members>) -> System {
        let items: BTreeSet<Item> = classes.keys().flatten().map(|(item, _)| *item).collect();
        let items: BTreeMap<Item, usize> = items.into_iter().zip(0..).collect();
        let members = |units: &Members| match (units.len() as u64) < self.smallest() {
            true => units.keys().copied().collect(),
            false => Vec::new(),
        };
        let mut system = System {
            units: classes.values().map(|units| units.len() as u64).collect(),
            members: classes.values().map(members).collect(),
            groups: vec![Vec::new(); items.len()],
        };
        for (class, parts) in classes.keys().enumerate() {
            parts.iter().for_each(|(item, part)| system.groups[items[item]].push((class, *part)));
        }
        system
    }

    /// The told groups of these questions that a class is in.
    fn groups_of(&self, class: usize, questions: &[usize]) -> Parts {
        let group = |question: &usize| {
            let cell = self.patterns[class][*question]?;
            Some(((*question, cell, None), WHOLE))
        };
        questions.iter().filter_map(group).collect()
    }

    /// Units by the groups in which they stand: counts are of units, and one that stands in several classes is counted once
    /// in each group.
    fn counted(&self, questions: &[usize]) -> BTreeMap<Parts, Members> {
        let mut of_units: HashMap<u32, BTreeSet<(Item, u64)>> = HashMap::new();
        for held in &self.held {
            of_units.entry(held.unit).or_default().extend(self.groups_of(held.class, questions));
        }
        let mut classes: BTreeMap<Parts, Members> = BTreeMap::new();
        for (unit, groups) in of_units.into_iter().filter(|(_, groups)| !groups.is_empty()) {
            classes.entry(groups.into_iter().collect()).or_default().insert(unit, 0.0);
        }
        classes
    }

    /// Rows with a number in this column by the groups in which they stand, and what units have there.
    fn summed(
        &self,
        questions: &[usize],
        column: usize,
        part: impl Fn(Summed) -> f64,
    ) -> BTreeMap<Parts, Members> {
        let mut units: BTreeMap<Parts, Members> = BTreeMap::new();
        for held in self.held.iter().filter(|held| held.summed[column].rows > 0) {
            let groups = self.groups_of(held.class, questions);
            if !groups.is_empty() {
                *units.entry(groups).or_default().entry(held.unit).or_default() += part(held.summed[column]);
            }
        }
        units
    }

    /// The same, where the rows around a rank are told as well: those of one group stand apart from the rest of it. Of a unit's
    /// rows with one number a part may stand there, and then so much of their sum is told.
    fn ranked(&self, questions: &[usize], column: usize) -> BTreeMap<Parts, Members> {
        let valued = &self.valued[column];
        let (mut whole, mut parts) = (Vec::new(), vec![Parts::new(); valued.len()]);
        for question in questions {
            for (value, asked) in
                self.asked(*question).enumerate().filter(|(_, asked)| asked.column == column)
            {
                match asked.function {
                    QueryFunction::Sum | QueryFunction::Mean => whole.push(*question),
                    QueryFunction::Quantile(_) => {
                        for (cell, window) in self.windows.get(&(*question, value)).into_iter().flatten() {
                            let item = (*question, *cell, Some(value));
                            window.iter().for_each(|(place, rows)| {
                                parts[*place].push((item, fraction(*rows, valued[*place].rows)));
                            });
                        }
                    }
                }
            }
        }
        let mut units: BTreeMap<Parts, Members> = BTreeMap::new();
        for (one, mut parts) in valued.iter().zip(parts) {
            parts.extend(self.groups_of(one.class as usize, &whole));
            if !parts.is_empty() {
                parts.sort_unstable();
                *units.entry(parts).or_default().entry(one.unit).or_default() += one.number * one.rows as f64;
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
