//! The data of a run at the desk: a directory of the researcher's own, or rows made up from the published catalogue.
//! Made-up rows have the columns and the public categories of the dataset and nothing else of it: they carry no bit of
//! the data.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use release::envelope::Envelope;
use release::statement::{Catalogue, CatalogueEntry, Column, Kind, Table, ValueType, parse_payload};
use release::value::Name;

use crate::check::stage::{self, Staged};
use crate::failure::{Exit, Failure, file_failure, whole};
use crate::job::Bench;
use crate::profile::Profile;

/// Rows of each person or other unit.
const ROWS_A_UNIT: u64 = 2;

/// One dataset of a run.
pub(super) struct Dataset {
    pub(super) name: Name,
    /// How many rows of each table were made up; None for rows of the researcher's own.
    pub(super) made_up: Option<u64>,
    staged: Staged,
}

impl Dataset {
    pub(super) fn path(&self) -> &Path {
        self.staged.path()
    }
}

/// The datasets that a manifest names, and what the catalogue says of those that it is known of.
pub(super) struct Data {
    pub(super) datasets: Vec<Dataset>,
    pub(super) catalogue: Vec<Catalogue>,
}

fn usage(reason: &str, text: String, hint: &str) -> Failure {
    Failure::new(reason, text).hint(hint).exit(Exit::Usage)
}

/// Reads `NAME=DIR`.
pub(super) fn own(arguments: &[String]) -> Result<BTreeMap<Name, PathBuf>, Failure> {
    let mut own = BTreeMap::new();
    for argument in arguments {
        let parts = argument.split_once('=').filter(|(_, directory)| !directory.is_empty());
        let named = parts.and_then(|(name, directory)| Some((name.parse::<Name>().ok()?, directory)));
        let Some((name, directory)) = named else {
            return Err(usage(
                "DATA_ARGUMENT",
                format!("--data {argument} is not NAME=DIR"),
                "NAME is that of `[data.NAME]` in databox.toml, DIR a directory with CSV files",
            ));
        };
        if !Path::new(directory).is_dir() {
            return Err(Failure::new(
                "DATA_DIRECTORY",
                format!("{directory} is not a directory that can be read"),
            )
            .hint("give a directory with files of the dataset's form"));
        }
        if own.insert(name.clone(), directory.into()).is_some() {
            return Err(usage(
                "DATA_ARGUMENT",
                format!("--data names {name} twice"),
                "give each dataset once",
            ));
        }
    }
    Ok(own)
}

/// Finds or makes the data of each dataset. The box is asked only if neither a directory nor a catalogue file tells
/// of one.
pub(super) fn prepare(
    wanted: impl Iterator<Item = Name>,
    mut own: BTreeMap<Name, PathBuf>,
    catalogue_files: &[PathBuf],
    asked: Option<&Catalogue>,
    profile: &str,
    rows: u64,
) -> Result<Data, Failure> {
    let wanted: Vec<Name> = wanted.collect();
    if let Some(other) = own.keys().find(|name| !wanted.contains(name)) {
        return Err(usage(
            "DATA_UNKNOWN",
            format!("databox.toml names no dataset {other}"),
            "`[data.NAME]` in databox.toml names what the job reads",
        ));
    }
    let mut catalogue: BTreeMap<Name, Catalogue> =
        asked.map(|entry| (entry.name.clone(), entry.clone())).into_iter().collect();
    for file in catalogue_files {
        let entry = read_catalogue(file)?;
        catalogue.insert(entry.name.clone(), entry);
    }
    let unknown = wanted.iter().find(|name| !own.contains_key(*name) && !catalogue.contains_key(*name));
    if let Some(unknown) = unknown {
        let known = from_box(profile, &wanted).map_err(|failure| {
            Failure::new("NO_DATA", format!("nothing is known of the dataset {unknown}: {}", failure.text)).hint(
                "give --data NAME=DIR with rows of your own, or --catalogue FILE, the dataset's entry from the site \
                 directory; or a profile with which the box can be asked",
            )
        })?;
        catalogue.extend(known);
    }
    let mut datasets = Vec::new();
    for name in &wanted {
        let (made_up, staged) = match (own.remove(name), catalogue.get(name)) {
            (Some(directory), _) => (None, stage::private(&directory)?),
            (None, Some(entry)) => (Some(rows), make_up(entry, rows)?),
            (None, None) => {
                return Err(Failure::new("NO_DATA", format!("the catalogue has no dataset {name}"))
                    .hint("`databox data ls` lists those that your grants cover; or give --data NAME=DIR"));
            }
        };
        datasets.push(Dataset { name: name.clone(), made_up, staged });
    }
    let catalogue = catalogue.into_values().filter(|entry| wanted.contains(&entry.name)).collect();
    Ok(Data { datasets, catalogue })
}

/// What the catalogue says of one dataset: from the files that were given, or from the box.
pub(crate) fn entry_of(
    dataset: &Name,
    catalogue_files: &[PathBuf],
    profile: &str,
) -> Result<Catalogue, Failure> {
    let files: Vec<Catalogue> =
        catalogue_files.iter().map(|file| read_catalogue(file)).collect::<Result<_, _>>()?;
    if let Some(entry) = files.into_iter().find(|entry| entry.name == *dataset) {
        return Ok(entry);
    }
    let known = from_box(profile, std::slice::from_ref(dataset)).map_err(|failure| {
        let text = format!("nothing is known of the dataset {dataset}: {}", failure.text);
        Failure::new("NO_CATALOGUE", text).hint(
            "a question is read by its dataset's catalogue entry: give --catalogue FILE, from the site directory, or a \
             profile with which the box can be asked",
        )
    })?;
    known.into_values().next().ok_or_else(|| {
        Failure::new("DATA", format!("the catalogue has no dataset {dataset}"))
            .hint("`databox data ls` lists those that your grants cover")
            .exit(Exit::Usage)
    })
}

/// A catalogue entry from a file: the signed statement of a site directory, or a draft. Who wrote it is not checked:
/// all that hangs on it is how made-up rows look, and which categories the check takes for public.
fn read_catalogue(file: &Path) -> Result<Catalogue, Failure> {
    let bytes = fs::read(file).map_err(file_failure(file))?;
    let refused = |text: String| {
        Failure::new("CATALOGUE", format!("{}: {text}", file.display()))
            .hint("give catalogue/datasets/NAME/VERSION.json of the site directory")
    };
    let entry = match Envelope::parse(&bytes) {
        Ok(envelope) if envelope.kind() == Kind::Catalogue => {
            envelope.unverified::<Catalogue>().map_err(|error| refused(whole(&error)))?
        }
        Ok(_) => return Err(refused("a signed statement of another kind".to_owned())),
        Err(_) => parse_payload::<Catalogue>(&bytes).map_err(|error| refused(whole(&error)))?,
    };
    match entry.entry {
        CatalogueEntry::Dataset { .. } => Ok(entry),
        CatalogueEntry::Runtime { .. } => Err(refused("it is a runtime's, not a dataset's".to_owned())),
    }
}

/// Asks the box, and verifies what it says from the pin.
fn from_box(profile: &str, wanted: &[Name]) -> Result<BTreeMap<Name, Catalogue>, Failure> {
    let profile = Profile::load(profile)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::new("RUNTIME", whole(&error)))?;
    let site = runtime.block_on(async { Bench::connect(profile).await?.site().await })?;
    let known = wanted.iter().filter_map(|name| site.dataset(name));
    Ok(known.map(|entry| (entry.statement().name.clone(), entry.statement().clone())).collect())
}

fn make_up(entry: &Catalogue, rows: u64) -> Result<Staged, Failure> {
    let CatalogueEntry::Dataset { unit_column, tables, .. } = &entry.entry else {
        return Err(Failure::new("CATALOGUE", format!("{} is not a dataset", entry.name)));
    };
    let staged = stage::directory()?;
    for table in tables {
        let path = staged.path().join(table.file.as_str());
        fs::write(&path, text(table, unit_column, rows)).map_err(file_failure(&path))?;
        stage::open_to_all(&path)?;
    }
    Ok(staged)
}

/// A table as CSV (RFC 4180), the same each time.
fn text(table: &Table, unit: &Name, rows: u64) -> Vec<u8> {
    let mut text = Vec::new();
    let names: Vec<String> = table.columns.iter().map(|column| quoted(column.name.as_str())).collect();
    // Writing to a vector does not fail.
    let _ = writeln!(text, "{}", names.join(","));
    let mut chance = Chance(0);
    for row in 0..rows {
        let cells: Vec<String> =
            table.columns.iter().map(|column| cell(column, unit, row, &mut chance)).collect();
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}

fn cell(column: &Column, unit: &Name, row: u64, chance: &mut Chance) -> String {
    let drawn = chance.next();
    let person = row / ROWS_A_UNIT;
    match column.value_type {
        ValueType::Integer if column.name == *unit => (100_000 + person).to_string(),
        ValueType::Integer => (drawn % 10).to_string(),
        ValueType::Decimal if column.name == *unit => (100_000 + person).to_string(),
        ValueType::Decimal => format!("{}.{:03}", drawn % 100, (drawn >> 32) % 1000),
        ValueType::Category => match column.categories.len() as u64 {
            0 => "made-up".to_owned(),
            number => quoted(&column.categories[(drawn % number) as usize]),
        },
        ValueType::Text if column.name == *unit => format!("made-up-{person}"),
        ValueType::Text => format!("made-up-{drawn:016x}"),
    }
}

fn quoted(value: &str) -> String {
    match value.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value.to_owned(),
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same rows each time, so that a run can be compared with the last.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, value_type: ValueType, categories: &[&str]) -> Column {
        let categories = categories.iter().map(|value| (*value).to_owned()).collect();
        Column { name: name.parse().unwrap(), value_type, categories }
    }

    #[test]
    fn made_up_rows_have_the_columns_and_categories_of_the_catalogue_and_are_the_same_each_time() {
        let table = Table {
            file: "visits.csv".parse().unwrap(),
            columns: vec![
                column("person", ValueType::Integer, &[]),
                column("plan", ValueType::Category, &["free", "with, comma"]),
                column("cost", ValueType::Decimal, &[]),
                column("note", ValueType::Text, &[]),
            ],
        };
        let unit = "person".parse().unwrap();
        let made = String::from_utf8(text(&table, &unit, 100)).unwrap();
        assert_eq!(made.as_bytes(), text(&table, &unit, 100));
        let lines: Vec<&str> = made.lines().collect();
        assert_eq!((lines.len(), lines[0]), (101, "person,plan,cost,note"));
        assert!(lines[1].starts_with("100000,") && lines[2].starts_with("100000,"));
        assert!(lines[3].starts_with("100001,"));
        assert!(made.contains(",free,") && made.contains(",\"with, comma\","));
        for line in &lines[1..] {
            assert!(line.contains(",made-up-"), "{line}");
        }
    }

    #[test]
    fn an_argument_that_is_no_name_and_directory_is_refused_by_name() {
        let here = std::env::temp_dir().display().to_string();
        assert!(own(&[format!("hie={here}")]).unwrap().contains_key(&"hie".parse().unwrap()));
        for (argument, reason) in [
            ("hie", "DATA_ARGUMENT"),
            ("hie=", "DATA_ARGUMENT"),
            ("a/b=/tmp", "DATA_ARGUMENT"),
            ("hie=/nonexistent", "DATA_DIRECTORY"),
        ] {
            assert_eq!(own(&[argument.to_owned()]).unwrap_err().reason, reason, "{argument}");
        }
        let twice = [format!("hie={here}"), format!("hie={here}")];
        assert_eq!(own(&twice).unwrap_err().reason, "DATA_ARGUMENT");
    }
}
