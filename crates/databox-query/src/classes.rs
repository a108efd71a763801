//! Which rows the asked questions tell apart: two rows are of one class if each question puts both into the same group, or
//! leaves both out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use release::statement::{Condition, Query, Table};
use release::value::Name;

/// The group of a question in which a row is; none if the question leaves the row out.
pub(crate) type Cell = Option<u32>;

/// Most classes, and most groups of a question.
const LIMIT: usize = 1 << 22;

/// A category column that decides.
pub(crate) struct Category {
    /// Its place in the file.
    pub(crate) column: usize,
    name: Name,
    values: Vec<String>,
    codes: HashMap<Vec<u8>, u32>,
}

/// The code of a value that is not public.
const NOT_PUBLIC: u32 = 0;

/// A question, with its groups as places in the list of categories.
struct Asked {
    groups: Vec<usize>,
    filter: Option<Condition>,
    /// The groups that were seen, by the codes of their categories.
    cells: HashMap<Vec<u32>, u32>,
}

/// What is known of the classes so far. Shared by the threads that read.
#[derive(Default)]
struct Known {
    classes: HashMap<Vec<u32>, u32>,
    numbers: HashMap<Vec<Cell>, u32>,
    patterns: Vec<Vec<Cell>>,
}

/// Tells classes apart.
pub(crate) struct Classes {
    categories: Vec<Category>,
    known: Mutex<(Vec<Asked>, Known)>,
}

/// More classes or groups than can be told apart.
#[derive(Debug)]
pub(crate) struct TooMany;

/// The class of rows that no question counts.
pub(crate) const UNCOUNTED: u32 = u32::MAX;

impl Classes {
    /// For these questions about one table, each of which the catalogue covers.
    pub(crate) fn new(queries: &[&Query], table: &Table) -> Self {
        let mut names: Vec<&Name> = queries.iter().flat_map(|query| query.categories()).collect();
        names.sort();
        names.dedup();
        let column = |name: &Name| table.columns.iter().position(|column| column.name == *name);
        let category = |name: &&Name| {
            let column = column(name)?;
            let values = table.columns[column].categories.clone();
            let codes = values.iter().zip(NOT_PUBLIC + 1..);
            let codes = codes.map(|(value, code)| (value.clone().into_bytes(), code)).collect();
            Some(Category { column, name: (*name).clone(), values, codes })
        };
        let categories: Vec<Category> = names.iter().filter_map(category).collect();
        let place = |name: &Name| categories.iter().position(|category| category.name == *name);
        let asked = queries.iter().map(|query| Asked {
            groups: query.groups.iter().filter_map(place).collect(),
            filter: query.filter.clone(),
            cells: HashMap::new(),
        });
        let known = Mutex::new((asked.collect(), Known::default()));
        Self { categories, known }
    }

    /// The columns that decide, in the order of the codes.
    pub(crate) fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The class of rows with these codes. Whoever asks keeps the answer.
    pub(crate) fn class(&self, codes: &[u32]) -> Result<u32, TooMany> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, known) = &mut *known;
        if let Some(class) = known.classes.get(codes) {
            return Ok(*class);
        }
        let mut pattern = Vec::with_capacity(asked.len());
        for question in asked.iter_mut() {
            pattern.push(question.cell(&self.categories, codes)?);
        }
        let class = match pattern.iter().all(Option::is_none) {
            true => UNCOUNTED,
            false => {
                let next = u32::try_from(known.patterns.len()).map_err(|_| TooMany)?;
                let class = *known.numbers.entry(pattern.clone()).or_insert(next);
                if class == next {
                    known.patterns.push(pattern);
                }
                class
            }
        };
        if known.classes.len() >= LIMIT {
            return Err(TooMany);
        }
        known.classes.insert(codes.to_vec(), class);
        Ok(class)
    }

    /// The group of each question that each class is in.
    pub(crate) fn patterns(&self) -> Vec<Vec<Cell>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1.patterns.clone()
    }

    /// The categories of each group of a question, by its number.
    pub(crate) fn cells(&self, question: usize) -> Vec<Vec<String>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = &known.0[question];
        let mut cells = vec![Vec::new(); asked.cells.len()];
        for (codes, cell) in &asked.cells {
            let text = |(place, code): (&usize, &u32)| self.categories[*place].text(*code);
            let texts = asked.groups.iter().zip(codes).filter_map(text);
            cells[*cell as usize] = texts.map(str::to_owned).collect();
        }
        cells
    }
}

impl Asked {
    /// The group of a row with these codes. A row whose group has no public name is in none: the answer has no row for it.
    fn cell(&mut self, categories: &[Category], codes: &[u32]) -> Result<Cell, TooMany> {
        let value = |name: &Name| {
            let place = categories.iter().position(|category| category.name == *name)?;
            categories[place].text(codes[place])
        };
        if self.filter.as_ref().is_some_and(|filter| !filter.holds(&value)) {
            return Ok(None);
        }
        let key: Vec<u32> = self.groups.iter().map(|place| codes[*place]).collect();
        if key.contains(&NOT_PUBLIC) {
            return Ok(None);
        }
        let next = u32::try_from(self.cells.len()).map_err(|_| TooMany)?;
        if next as usize >= LIMIT {
            return Err(TooMany);
        }
        Ok(Some(*self.cells.entry(key).or_insert(next)))
    }
}

impl Category {
    /// The code of a cell of the file.
    pub(crate) fn code(&self, cell: &[u8]) -> u32 {
        self.codes.get(cell).copied().unwrap_or(NOT_PUBLIC)
    }

    fn text(&self, code: u32) -> Option<&str> {
        let place = usize::try_from(code.checked_sub(NOT_PUBLIC + 1)?).ok()?;
        self.values.get(place).map(String::as_str)
    }
}
