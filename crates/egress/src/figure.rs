//! Figures: a chart as its values and how they are drawn, in a small part of Vega-Lite 5. Nothing is drawn here.
//!
//! The values are a table under the rules for tables. In the canonical form they stand in one place, as CSV, which
//! Vega-Lite takes as inline data.

use std::collections::BTreeMap;

use release::value::Name;

use crate::finding::quoted;
use crate::json::Json;
use crate::table::{Cell, Columns};

/// What the canonical form names as its schema.
const SCHEMA: &str = "https://vega.github.io/schema/vega-lite/v5.json";

/// What a written form may name.
const SCHEMAS: &str = "https://vega.github.io/schema/vega-lite/";

/// How values are drawn. Marks with words, links or pictures of their own are not among them.
const MARKS: [&str; 6] = ["area", "bar", "line", "point", "rect", "tick"];

/// What a column decides in the drawing.
const CHANNELS: [&str; 8] = ["color", "column", "opacity", "row", "shape", "size", "x", "y"];

/// Types that a category can have, and a number besides.
const TYPES: [&str; 2] = ["nominal", "ordinal"];
const NUMBER: &str = "quantitative";

/// A figure that has no canonical form.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum FigureError {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("{0} is not an object")]
    NotObject(&'static str),
    #[error("{within} has {found} twice")]
    Twice { within: &'static str, found: String },
    #[error("{within} has {found}; {expected}")]
    Unknown { within: &'static str, found: String, expected: &'static str },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("$schema is not one of Vega-Lite's")]
    Schema,
    #[error("the mark is none of area, bar, line, point, rect, tick")]
    Mark,
    #[error("the channel {channel} names no column of the figure")]
    Field { channel: &'static str },
    #[error(
        "the channel {channel} has another type than its column: nominal or ordinal, or for numbers quantitative"
    )]
    Type { channel: &'static str },
    #[error("no column is drawn")]
    NothingDrawn,
    #[error("the values are neither a list of objects nor text in CSV with the format that says so")]
    Values,
    #[error("value {row} does not have each declared column once and nothing else")]
    Row { row: usize },
}

/// A figure as it was written: its table in CSV, and how it is drawn.
pub(crate) struct Figure {
    mark: &'static str,
    encoding: BTreeMap<&'static str, Channel>,
    /// The values.
    pub(crate) table: Vec<u8>,
}

struct Channel {
    field: Name,
    kind: &'static str,
}

/// Reads a figure, whose values have these columns.
pub(crate) fn read(columns: &Columns, written: &[u8]) -> Result<Figure, FigureError> {
    let parsed =
        Json::parse(written).map_err(|error| FigureError::NotJson(quoted(error.to_string().as_bytes())))?;
    let mut parts = Parts::of("the figure", parsed, "$schema, data, encoding and mark are expected")?;
    match parts.take("$schema") {
        None => {}
        Some(Json::Text(schema)) if schema.starts_with(SCHEMAS) => {}
        Some(_) => return Err(FigureError::Schema),
    }
    let mark = mark(parts.needed("mark")?)?;
    let encoding = encoding(columns, parts.needed("encoding")?)?;
    let table = values(columns, parts.needed("data")?)?;
    parts.end()?;
    Ok(Figure { mark, encoding, table })
}

impl Figure {
    /// The canonical form, with this canonical table. `docs/formats/canonical.md` has it byte by byte.
    pub(crate) fn write(&self, table: &[u8]) -> Vec<u8> {
        let text = |text: &str| serde_json::to_string(text).expect("text is JSON");
        let channels = self.encoding.iter().map(|(name, channel)| {
            format!("\"{name}\":{{\"field\":\"{}\",\"type\":\"{}\"}}", channel.field, channel.kind)
        });
        let channels: Vec<_> = channels.collect();
        let table = text(&String::from_utf8_lossy(table));
        format!(
            "{{\"$schema\":\"{SCHEMA}\",\"data\":{{\"format\":{{\"type\":\"csv\"}},\"values\":{table}}},\
             \"encoding\":{{{}}},\"mark\":\"{}\"}}\n",
            channels.join(","),
            self.mark
        )
        .into_bytes()
    }
}

/// The table of a canonical figure, as CSV: what is searched for copies as a table would be. None for other bytes.
pub fn figure_table(canonical: &[u8]) -> Option<Vec<u8>> {
    let parsed = Json::parse(canonical).ok()?;
    let mut parts = Parts::of("the figure", parsed, "").ok()?;
    let mut data = Parts::of("data", parts.take("data")?, "").ok()?;
    match data.take("values")? {
        Json::Text(table) => Some(table.into_bytes()),
        _ => None,
    }
}

fn mark(written: Json) -> Result<&'static str, FigureError> {
    let name = match written {
        Json::Text(name) => name,
        object @ Json::Object(_) => {
            let mut parts = Parts::of("mark", object, "only its type is expected")?;
            let Some(Json::Text(name)) = parts.take("type") else { return Err(FigureError::Mark) };
            parts.end()?;
            name
        }
        _ => return Err(FigureError::Mark),
    };
    MARKS.into_iter().find(|mark| *mark == name).ok_or(FigureError::Mark)
}

fn encoding(columns: &Columns, written: Json) -> Result<BTreeMap<&'static str, Channel>, FigureError> {
    let mut parts =
        Parts::of("encoding", written, "color, column, opacity, row, shape, size, x and y are expected")?;
    let mut encoding = BTreeMap::new();
    for channel in CHANNELS {
        if let Some(written) = parts.take(channel) {
            encoding.insert(channel, read_channel(columns, channel, written)?);
        }
    }
    parts.end()?;
    if encoding.is_empty() { Err(FigureError::NothingDrawn) } else { Ok(encoding) }
}

fn read_channel(columns: &Columns, channel: &'static str, written: Json) -> Result<Channel, FigureError> {
    let mut parts = Parts::of("a channel", written, "field and type are expected")?;
    let (field, kind) = (parts.needed("field")?, parts.needed("type")?);
    parts.end()?;
    let (Json::Text(field), Json::Text(kind)) = (field, kind) else {
        return Err(FigureError::Field { channel });
    };
    let column = columns.list.iter().find(|(name, _)| name.as_str() == field);
    let (name, cell) = column.ok_or(FigureError::Field { channel })?;
    let is_number = matches!(cell, Cell::Number { .. });
    let mut types = TYPES.into_iter().chain(is_number.then_some(NUMBER));
    let kind = types.find(|one| *one == kind).ok_or(FigureError::Type { channel })?;
    Ok(Channel { field: name.clone(), kind })
}

/// The values as CSV.
fn values(columns: &Columns, written: Json) -> Result<Vec<u8>, FigureError> {
    let mut parts = Parts::of("data", written, "values are expected, and a format where they are CSV")?;
    let (values, format) = (parts.needed("values")?, parts.take("format"));
    parts.end()?;
    match (values, format) {
        (Json::Text(table), Some(format)) => {
            let mut format = Parts::of("the format", format, "only the type csv is expected")?;
            let kind = format.take("type");
            format.end()?;
            if kind == Some(Json::Text("csv".to_owned())) {
                Ok(table.into_bytes())
            } else {
                Err(FigureError::Values)
            }
        }
        (Json::Array(rows), None) => as_csv(columns, rows),
        _ => Err(FigureError::Values),
    }
}

fn as_csv(columns: &Columns, rows: Vec<Json>) -> Result<Vec<u8>, FigureError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |cells: &[String]| writer.write_record(cells).map_err(|_| FigureError::Values);
    let names: Vec<_> = columns.list.iter().map(|(name, _)| name.to_string()).collect();
    write(&names)?;
    for (index, row) in rows.into_iter().enumerate() {
        let wrong = FigureError::Row { row: index + 1 };
        let Json::Object(pairs) = row else { return Err(wrong) };
        if pairs.len() != names.len() {
            return Err(wrong);
        }
        let cell = |name: &String| {
            let (_, value) = pairs.iter().find(|(key, _)| key == name)?;
            match value {
                Json::Text(text) => Some(text.clone()),
                Json::Whole(number) => Some(number.to_string()),
                Json::Number(number) => Some(number.to_string()),
                Json::Object(_) | Json::Array(_) | Json::Bool | Json::Null => None,
            }
        };
        let cells: Option<Vec<_>> = names.iter().map(cell).collect();
        write(&cells.ok_or(wrong)?)?;
    }
    writer.into_inner().map_err(|_| FigureError::Values)
}

/// The keys of an object, each taken once. One that nobody takes is refused: it could say anything.
struct Parts {
    within: &'static str,
    expected: &'static str,
    pairs: Vec<(String, Json)>,
}

impl Parts {
    fn of(within: &'static str, written: Json, expected: &'static str) -> Result<Self, FigureError> {
        let Json::Object(pairs) = written else { return Err(FigureError::NotObject(within)) };
        let mut seen = std::collections::BTreeSet::new();
        match pairs.iter().find(|(key, _)| !seen.insert(key)) {
            Some((key, _)) => Err(FigureError::Twice { within, found: quoted(key.as_bytes()) }),
            None => Ok(Self { within, expected, pairs }),
        }
    }

    fn take(&mut self, key: &str) -> Option<Json> {
        let place = self.pairs.iter().position(|(found, _)| found == key)?;
        Some(self.pairs.swap_remove(place).1)
    }

    fn needed(&mut self, key: &'static str) -> Result<Json, FigureError> {
        self.take(key).ok_or(FigureError::Missing(key))
    }

    fn end(self) -> Result<(), FigureError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(FigureError::Unknown {
                within: self.within,
                found: quoted(key.as_bytes()),
                expected: self.expected,
            }),
        }
    }
}
