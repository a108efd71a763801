//! An answer with noise: how many units each public group has and what they have, each number off by discrete Gaussian noise of
//! OpenDP. `docs/decisions/differential-privacy.md` says what it promises.
//!
//! One unit more or less moves the numbers before noise by no more than the question says, whatever the rows are: what a unit
//! adds follows from its own rows alone, is a whole number within the question's bounds, and is added to no more groups than it
//! may stand in. Everything is added up in whole numbers: sums of floating point depend on the order of all rows, and so a
//! unit's part of them on others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use blobs::Digest;
use dashu::integer::{IBig, UBig};
use dashu::rational::RBig;
use egress::QueryTask;
use opendp::traits::samplers::sample_discrete_gaussian;
use release::statement::{DeclaredOutput, QueryPrivacy};
use release::value::Name;

use crate::AnswerError;
use crate::aggregate::Source;
use crate::classes::UNCOUNTED;
use crate::rows::FIRST_NUMBER;

/// In what a unit's rows are added up: millionths of a whole.
const PARTS_OF_A_WHOLE: i128 = 1_000_000;

/// The largest number of a row, so that no sum of rows overflows.
const LARGEST: f64 = 1e15;

/// The answer, as CSV: a row for each group that the catalogue allows, whoever stands in it.
pub(crate) fn answer(task: &QueryTask, privacy: &QueryPrivacy, data: &Path) -> Result<Vec<u8>, AnswerError> {
    let totals = totals(task, privacy, data)?;
    let columns: Vec<Option<&Name>> =
        std::iter::once(None).chain(task.query.values.iter().map(|value| Some(&value.column))).collect();
    let output = task.query.output()?;
    let DeclaredOutput::Table { columns: declared, .. } = &output else {
        return Err(AnswerError::Engine);
    };
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let header = declared.iter().map(|column| column.name.as_str());
    writer.write_record(header).map_err(|_| AnswerError::Engine)?;
    for (group, numbers) in totals {
        let mut record = group;
        for (column, number) in columns.iter().zip(numbers) {
            let noisy = number.checked_add(noise(privacy.deviation_of(*column))?);
            record.push(noisy.ok_or(AnswerError::Overflow)?.to_string());
        }
        writer.write_record(&record).map_err(|_| AnswerError::Engine)?;
    }
    writer.into_inner().map_err(|_| AnswerError::Engine)
}

/// Discrete Gaussian noise of this deviation in thousandths, drawn exactly and from the operating system's randomness.
fn noise(thousandths: u128) -> Result<i128, AnswerError> {
    let deviation = RBig::from_parts(IBig::from(thousandths), UBig::from(1000u32));
    let drawn = sample_discrete_gaussian(deviation).map_err(|_| AnswerError::Noise)?;
    drawn.try_into().map_err(|_| AnswerError::Noise)
}

/// Public groups by their categories, and the numbers of each before noise: units, then the sums in the question's order.
type Totals = BTreeMap<Vec<String>, Vec<i128>>;

/// What one unit has in one group.
#[derive(Debug, Clone)]
struct Held {
    /// By which the groups of a unit are chosen that it counts in.
    lot: Digest,
    /// Of each column the sum of its rows, in millionths; none without a number.
    sums: Vec<Option<i128>>,
}

/// The numbers before noise. Nothing but [`answer`] sees them.
fn totals(task: &QueryTask, privacy: &QueryPrivacy, data: &Path) -> Result<Totals, AnswerError> {
    let numbers: Vec<&Name> = task.query.values.iter().map(|value| &value.column).collect();
    let source = Source::open(task, data, &[&task.query], &numbers)?;
    let mut kept = Kept {
        most: usize::try_from(privacy.groups_per_unit.0).unwrap_or(usize::MAX),
        numbers: numbers.len(),
        units: HashMap::new(),
    };
    source.each_row(|batch| {
        kept.add(batch, &Groups::known(&source))?;
        // Never, with the units that the catalogue says there are: the task's memory is made for them.
        let bytes = QueryTask::noisy_sums_bytes(&task.query, kept.units.len() as u64);
        if bytes.is_none_or(|bytes| bytes > task.memory_bytes) { Err(AnswerError::Memory) } else { Ok(()) }
    })?;
    let groups = Groups::known(&source);
    let mut totals = public_groups(task)?;
    for held in kept.units.values() {
        for (class, held) in held {
            // Rows whose category is not public are in no group, so that each group is one of these.
            let group = groups.of(*class).ok_or(AnswerError::Groups)?;
            let total = totals.get_mut(group).ok_or(AnswerError::Groups)?;
            total[0] += 1;
            for ((total, name), sum) in total[1..].iter_mut().zip(&numbers).zip(&held.sums) {
                let bounds = privacy.bounds.get(*name).ok_or(AnswerError::Engine)?;
                *total += sum.map_or(0, |sum| bounds.clip(nearest_whole(sum)));
            }
        }
    }
    Ok(totals)
}

/// All groups that the catalogue allows, each with nobody.
fn public_groups(task: &QueryTask) -> Result<Totals, AnswerError> {
    let asked = task.query.check(&task.catalogue)?;
    let values = |name: &Name| asked.table.columns.iter().find(|column| column.name == *name);
    let mut groups = vec![Vec::new()];
    for column in &task.query.groups {
        let categories = &values(column).ok_or(AnswerError::Header)?.categories;
        let with = |group: &Vec<String>| {
            let group = group.clone();
            categories.iter().map(move |value| [&group[..], std::slice::from_ref(value)].concat())
        };
        groups = groups.iter().flat_map(with).collect();
    }
    let nobody = vec![0; task.query.values.len() + 1];
    Ok(groups.into_iter().map(|group| (group, nobody.clone())).collect())
}

/// Orders the groups of a unit: of more than it may count in those with the lowest lots are kept. Lots follow from the unit and
/// the groups' names alone, so that they do not depend on others, and fall on no group more often than on another.
fn lot(unit: &[u8], group: &[String]) -> Digest {
    let mut text = b"databox-group-of-a-unit/v1\n".to_vec();
    for part in std::iter::once(unit).chain(group.iter().map(String::as_bytes)) {
        text.extend((part.len() as u64).to_be_bytes());
        text.extend(part);
    }
    Digest::of(&text)
}

/// Half a whole is rounded away from zero.
fn nearest_whole(millionths: i128) -> i128 {
    (millionths + millionths.signum() * PARTS_OF_A_WHOLE / 2) / PARTS_OF_A_WHOLE
}

/// A row's number in millionths. It follows from the number alone.
fn millionths(number: f64) -> i128 {
    (number.clamp(-LARGEST, LARGEST) * PARTS_OF_A_WHOLE as f64).round() as i128
}

/// The public groups of the classes that were read so far.
struct Groups {
    cells: Vec<Vec<String>>,
    of: Vec<Option<u32>>,
}

impl Groups {
    fn known(source: &Source) -> Self {
        let of = source.classes().patterns().into_iter().map(|cells| cells[0]).collect();
        Self { cells: source.classes().cells(0), of }
    }

    /// None if the class is in no public group.
    fn of(&self, class: u32) -> Option<&Vec<String>> {
        self.of.get(class as usize).copied().flatten().map(|cell| &self.cells[cell as usize])
    }
}

/// What each unit has in each class that it counts in. A unit's name may be long: its digest stands for it, so that memory
/// follows from how many units there are.
struct Kept {
    /// In how many groups a unit counts.
    most: usize,
    numbers: usize,
    units: HashMap<Digest, HashMap<u32, Held>>,
}

impl Kept {
    fn add(&mut self, batch: &RecordBatch, groups: &Groups) -> Result<(), AnswerError> {
        let classes = batch.column(0).as_primitive_opt::<UInt32Type>().ok_or(AnswerError::Engine)?;
        let names = batch.column(1).as_binary_opt::<i32>().ok_or(AnswerError::Engine)?;
        let mut columns = Vec::new();
        for number in 0..self.numbers {
            let column = batch.column(FIRST_NUMBER + number).as_primitive_opt::<Float64Type>();
            columns.push(column.ok_or(AnswerError::Engine)?);
        }
        for row in (0..batch.num_rows()).filter(|row| classes.value(*row) != UNCOUNTED) {
            let Some(held) = self.held(names.value(row), classes.value(row), groups) else { continue };
            for (sum, column) in held.sums.iter_mut().zip(&columns) {
                if !column.is_null(row) {
                    *sum = Some(sum.unwrap_or(0) + millionths(column.value(row)));
                }
            }
        }
        Ok(())
    }

    /// Where a row of the unit is added up; none if it does not count in this class. A group that gave way to others with
    /// lower lots never comes back: those only become lower.
    fn held(&mut self, name: &[u8], class: u32, groups: &Groups) -> Option<&mut Held> {
        let group = groups.of(class)?;
        let unit = self.units.entry(Digest::of(name)).or_default();
        if !unit.contains_key(&class) {
            let lot = lot(name, group);
            if unit.len() >= self.most {
                let (last, highest) =
                    unit.iter().map(|(class, held)| (*class, held.lot)).max_by_key(|of| of.1)?;
                if lot > highest {
                    return None;
                }
                unit.remove(&last);
            }
            unit.insert(class, Held { lot, sums: vec![None; self.numbers] });
        }
        unit.get_mut(&class)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use release::statement::{
        Bounds, Catalogue, CatalogueEntry, Column, DatasetGrant, PrivacyBudget, Query, QueryFunction,
        QueryValue, Table, ValueType,
    };
    use release::value::{Count, Timestamp, Whole};

    use super::*;

    const POLICY: &str = include_str!("../../../policies/egress/standard.toml");

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// A question about `plan`, a category with so many values, and the sum of `x`.
    fn task(plans: usize, rho: u64, groups_per_unit: u64, bounds: (i64, i64)) -> QueryTask {
        let column = |column: &str, value_type, categories: Vec<String>| Column {
            name: name(column),
            value_type,
            categories,
        };
        let columns = vec![
            column("person", ValueType::Integer, Vec::new()),
            column("plan", ValueType::Category, (0..plans).map(|plan| format!("p{plan:03}")).collect()),
            column("x", ValueType::Decimal, Vec::new()),
        ];
        let budget = PrivacyBudget {
            rho_millionths: Count(4_000_000),
            answer_rho_millionths: Count(4_000_000),
            delta_exponent: Count(6),
        };
        let limits = DatasetGrant { release_bits: Count(1), answer_bits: Count(1) };
        let entry = CatalogueEntry::Dataset {
            snapshots: Vec::new(),
            unit_column: name("person"),
            tables: vec![Table { file: name("rows.csv"), columns }],
            limits,
            licence: String::new(),
            source: String::new(),
            privacy: Some(budget),
            public: Vec::new(),
        };
        let issued_at = Timestamp::from_seconds(0).unwrap();
        let bounds = Bounds { least: Whole(bounds.0), most: Whole(bounds.1) };
        QueryTask {
            policy: POLICY.to_owned(),
            query: Query {
                dataset: name("hie"),
                table: name("rows.csv"),
                groups: vec![name("plan")],
                values: vec![QueryValue { column: name("x"), function: QueryFunction::Sum }],
                filter: None,
                privacy: Some(QueryPrivacy {
                    rho_millionths: Count(rho),
                    groups_per_unit: Count(groups_per_unit),
                    bounds: [(name("x"), bounds)].into(),
                }),
            },
            catalogue: Catalogue {
                site: name("site"),
                name: name("hie"),
                version: Count(1),
                entry,
                issued_at,
            },
            threads: 2,
            memory_bytes: 64 << 20,
            earlier: Vec::new(),
        }
    }

    fn laid(rows: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("hie")).unwrap();
        std::fs::write(directory.path().join("hie/rows.csv"), format!("person,plan,x\n{rows}")).unwrap();
        directory
    }

    fn before_noise(task: &QueryTask, rows: &str) -> Totals {
        totals(task, task.query.privacy.as_ref().unwrap(), laid(rows).path()).unwrap()
    }

    /// Numbers that look like chance, the same each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    /// Rows of people in a random order, some without a number, of huge ones, and of halves that add up to a whole at the edge.
    fn rows(dice: &mut Dice, people: u64) -> Vec<(u64, String)> {
        const NUMBERS: [&str; 9] = ["", "0.5", "-0.5", "0.1", "0.2", "1e300", "-1e300", "7", "0.4999999"];
        let count = 5 * people;
        let row = |dice: &mut Dice| {
            let (person, plan) = (dice.below(people), dice.below(6));
            (person, format!("{person},p{plan:03},{}\n", NUMBERS[dice.below(9) as usize]))
        };
        (0..count).map(|_| row(dice)).collect()
    }

    #[test]
    fn one_person_more_moves_the_numbers_before_noise_by_no_more_than_is_stated() {
        let mut dice = Dice(1);
        for (groups_per_unit, bounds) in [(1, (0, 20)), (2, (-3, 1)), (5, (2, 9))] {
            let task = task(5, 10_000, groups_per_unit, bounds);
            let reach = task.query.privacy.as_ref().unwrap().bounds[&name("x")].reach() as i128;
            let mut farthest = 0;
            for _ in 0..60 {
                let all = rows(&mut dice, 12);
                let gone = dice.below(12);
                let text = |keep: &dyn Fn(u64) -> bool| {
                    all.iter()
                        .filter(|(person, _)| keep(*person))
                        .map(|(_, row)| row.as_str())
                        .collect::<String>()
                };
                let with = before_noise(&task, &text(&|_| true));
                let without = before_noise(&task, &text(&|person| person != gone));
                let mut moved = [0u64; 2];
                for (one, other) in with.values().zip(without.values()) {
                    for (place, reach) in [(0, 1), (1, reach)] {
                        let distance = (one[place] - other[place]).abs();
                        assert!(distance <= reach, "{distance} of {reach}");
                        moved[place] += u64::from(distance > 0);
                        farthest = farthest.max(if place == 1 { distance } else { 0 });
                    }
                }
                assert!(moved.iter().all(|groups| *groups <= groups_per_unit), "{moved:?}");
            }
            // It is no looser than it must be.
            assert_eq!(farthest, reach);
        }
    }

    #[test]
    fn what_a_person_adds_does_not_depend_on_others_or_on_the_order_of_rows() {
        let mut dice = Dice(2);
        let task = task(5, 10_000, 2, (-3, 9));
        let mut all = rows(&mut dice, 40);
        let first = before_noise(&task, &all.iter().map(|(_, row)| row.as_str()).collect::<String>());
        all.reverse();
        all.sort_by_key(|(person, _)| *person);
        assert_eq!(before_noise(&task, &all.iter().map(|(_, row)| row.as_str()).collect::<String>()), first);
        // Summed up person by person it is the same.
        let mut sum: Totals = before_noise(&task, "");
        for person in 0..40 {
            let own =
                all.iter().filter(|(of, _)| *of == person).map(|(_, row)| row.as_str()).collect::<String>();
            for (sums, own) in sum.values_mut().zip(before_noise(&task, &own).into_values()) {
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            }
        }
        assert_eq!(sum, first);
    }

    #[test]
    fn sums_are_exact_and_the_groups_that_are_kept_fall_on_none_more_often() {
        let task_of = |groups| task(2, 10_000, groups, (0, 20));
        let rows =
            "1,p000,0.1\n1,p000,0.2\n1,p000,0.2\n2,p000,1e9\n3,p001,-5\n4,p001,\n,p001,7\n5,secret,7\n";
        let totals = before_noise(&task_of(1), rows);
        // Of the first person a half, which is rounded up; of the second the bound; nobody else's row counts.
        assert_eq!(totals[&vec!["p000".to_owned()]], [2, 21]);
        assert_eq!(totals[&vec!["p001".to_owned()]], [2, 0]);
        let mut text = String::new();
        (0..2000).for_each(|person| write!(text, "{person},p000,1\n{person},p001,1\n").unwrap());
        let counts: Vec<i128> = before_noise(&task_of(1), &text).values().map(|numbers| numbers[0]).collect();
        assert_eq!(counts.iter().sum::<i128>(), 2000);
        // 22 is one standard deviation of a fair coin; the choice is the same each time.
        assert!((counts[0] - 1000).abs() < 110, "{counts:?}");
        let both: Vec<i128> = before_noise(&task_of(2), &text).values().map(|numbers| numbers[0]).collect();
        assert_eq!(both, [2000, 2000]);
    }

    /// The noise of the answer to a question about nobody: counts and sums of so many groups.
    fn noise_of(task: &QueryTask) -> [Vec<f64>; 2] {
        let text = crate::answer(task, laid("").path()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("plan,noisy.units,noisy.sum.x"));
        let mut found = [Vec::new(), Vec::new()];
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            found.iter_mut().zip(&cells[1..]).for_each(|(list, cell)| list.push(cell.parse().unwrap()));
        }
        found
    }

    #[test]
    fn every_public_group_is_told_with_noise_of_the_stated_deviation() {
        // Half of ρ = 0.02 for each: σ² = 1 / (2 · 0.01) = 50 for counts, 400 times that for sums up to 20.
        let task = task(600, 20_000, 1, (0, 20));
        let [counts, sums] = noise_of(&task);
        assert_eq!(counts.len(), 600);
        let stated = |column| task.query.privacy.as_ref().unwrap().deviation_of(column) as f64 / 1000.0;
        let column = name("x");
        for (noise, stated) in [(&counts, stated(None)), (&sums, stated(Some(&column)))] {
            let mean = noise.iter().sum::<f64>() / 600.0;
            let variance = noise.iter().map(|one| one * one).sum::<f64>() / 600.0;
            // Eight standard deviations of either, so that it never fails by chance; without noise both would be 0.
            assert!(mean.abs() < 8.0 * stated / 600f64.sqrt(), "{mean} at {stated}");
            let ratio = variance / (stated * stated);
            assert!((ratio - 1.0).abs() < 8.0 * (2.0 / 600f64).sqrt(), "{ratio}");
            // Whole numbers, of which about two in three are within one deviation.
            let within = noise.iter().filter(|one| one.abs() <= stated).count();
            assert!((330..=480).contains(&within), "{within}");
        }
        assert!((stated(None) - 7.072).abs() < 0.001 && (stated(Some(&column)) - 141.422).abs() < 0.001);
        // Another answer to the same question has another noise.
        assert_ne!(noise_of(&task)[0], counts);
    }

    #[test]
    fn an_exact_question_about_the_same_rows_has_no_noise_and_leaves_small_groups_out() {
        let mut exact = task(2, 10_000, 1, (0, 20));
        (exact.query.privacy, exact.query.values) = (None, Vec::new());
        let rows: String =
            (0..30).map(|person| format!("{person},p00{},1\n", u8::from(person < 3))).collect();
        let text = crate::answer(&exact, laid(&rows).path()).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "plan,units\np000,27\n");
    }

    #[test]
    fn memory_follows_from_how_many_people_there_are_and_not_from_their_rows() {
        let mut task = task(5, 10_000, 2, (0, 20));
        task.memory_bytes = QueryTask::noisy_sums_bytes(&task.query, 100).unwrap();
        let long = "9".repeat(4000);
        let name = |person: u32| {
            if person.is_multiple_of(2) { format!("{person}{long}") } else { person.to_string() }
        };
        let rows = |people: u32| -> String {
            let of = |person| (0..15).map(move |row| format!("{},p00{},1\n", name(person), row % 5));
            (0..people).flat_map(of).collect()
        };
        let counts = before_noise(&task, &rows(100));
        assert_eq!(counts.values().map(|numbers| numbers[0]).sum::<i128>(), 200);
        // More than the catalogue says there are.
        assert!(matches!(crate::answer(&task, laid(&rows(101)).path()), Err(AnswerError::Memory)));
        let least = QueryTask::least_noisy_memory(&task.query, 100).unwrap();
        assert!(least > 2 * task.memory_bytes);
        task.query.privacy = None;
        assert_eq!(
            QueryTask::least_noisy_memory(&task.query, 100),
            None,
            "an exact one is refused when it is full"
        );
    }
}
