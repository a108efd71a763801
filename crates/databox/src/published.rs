//! What the signed catalogue publishes of a dataset, for whoever writes a manifest: the columns and the values of
//! categories that tables and questions may name, and the runtimes.

use release::site::Site;
use release::statement::{CatalogueEntry, PrivacyBudget, PublicFile, Table, ValueType, rho_text};
use release::value::Name;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::review::printable;

/// A dataset, and what runs beside it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Its name.
    pub dataset: Name,
    /// The column by which people, or whatever else the units are, are counted.
    pub unit_column: Name,
    /// What answers with noise may spend of the units' privacy in all; none if nothing is answered so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyBudget>,
    /// Files that anybody may read: what stands in them is no copy of the data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public: Vec<PublicFile>,
    /// Its files.
    pub tables: Vec<Table>,
    /// The box's runtimes.
    pub runtimes: Vec<PublishedRuntime>,
}

/// A runtime of the catalogue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedRuntime {
    /// Its name.
    pub name: Name,
    /// Whether it answers questions; else it runs code.
    pub answers_queries: bool,
}

/// Looks a dataset up.
///
/// # Errors
/// The catalogue has none of this name.
pub fn of(site: &Site, dataset: &Name) -> Result<Published, Failure> {
    match site.dataset(dataset).map(|entry| &entry.statement().entry) {
        Some(CatalogueEntry::Dataset { unit_column, tables, privacy, public, .. }) => Ok(Published {
            dataset: dataset.clone(),
            unit_column: unit_column.clone(),
            privacy: *privacy,
            public: public.clone(),
            tables: tables.clone(),
            runtimes: runtimes(site),
        }),
        _ => Err(Failure::new("DATA", format!("the catalogue has no dataset {dataset}"))
            .hint("`databox data ls` lists those that your grants cover")
            .exit(Exit::Usage)),
    }
}

/// The runtimes of the catalogue.
pub fn runtimes(site: &Site) -> Vec<PublishedRuntime> {
    let runtimes = site.runtimes().map(|entry| entry.statement());
    let answers =
        |entry: &CatalogueEntry| matches!(entry, CatalogueEntry::Runtime { answers_queries: true, .. });
    let published =
        |name: &Name, entry| PublishedRuntime { name: name.clone(), answers_queries: answers(entry) };
    runtimes.map(|runtime| published(&runtime.name, &runtime.entry)).collect()
}

impl Published {
    /// For people.
    pub fn words(&self) -> String {
        let mut text = format!("{}: people are counted by {}\n", self.dataset, self.unit_column);
        text += &match &self.privacy {
            Some(budget) => {
                let rho = budget.rho_millionths.0;
                let words = budget.words(rho);
                format!(
                    "answers with noise: ρ = {} in all, {words}; at most {} each\n",
                    rho_text(rho),
                    rho_text(budget.answer_rho_millionths.0)
                )
            }
            None => "no answers with noise: the dataset has no privacy budget\n".to_owned(),
        };
        for PublicFile { name, file, bytes } in &self.public {
            text += &format!("anybody may read {name} ({bytes} bytes, sha256 {})\n", file.sha256);
        }
        for table in &self.tables {
            text += &format!("{}\n", table.file);
            for column in &table.columns {
                let values = column.categories.iter().map(|value| format!("'{}'", printable(value)));
                let values = values.collect::<Vec<_>>().join(", ");
                text += format!("  {:<24} {:<9} {values}", column.name.as_str(), word(column.value_type))
                    .trim_end();
                text.push('\n');
            }
        }
        for runtime in &self.runtimes {
            let does = if runtime.answers_queries { "answers questions" } else { "runs code" };
            text += &format!("runtime {}: {does}\n", runtime.name);
        }
        text
    }
}

fn word(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Integer => "integer",
        ValueType::Decimal => "decimal",
        ValueType::Category => "category",
        ValueType::Text => "text",
    }
}
