//! A manifest's question at the researcher's desk: brought into its closed form, from where on nobody reads SQL, or refused
//! as it is refused before it is handed in. Nothing of it needs the data.

use bundle::{Manifest, Question, SnapshotChoice};
use egress::{Policy, QueryTask};
use release::statement::{Catalogue, CatalogueEntry, DeclaredOutput, Query};
use release::value::Name;
use serde::Serialize;

use crate::failure::{Exit, Failure, whole};

/// A question that the box would answer.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// What is asked, in a sentence.
    pub words: String,
    /// Its closed form, as the request has it.
    pub query: Query,
    /// The one output that follows from it.
    pub output: DeclaredOutput,
}

/// A failure of a question.
pub(crate) fn failure(text: impl Into<String>) -> Failure {
    Failure::new("QUERY", text)
        .hint("`[query]` in databox.toml asks one dataset for what the catalogue publishes, which `databox data show DATASET` \
             lists; docs/decisions/queries.md says what is answered")
        .exit(Exit::Usage)
}

/// The one dataset that a question is about.
///
/// # Errors
/// The manifest names another number.
pub fn dataset(manifest: &Manifest) -> Result<&Name, Failure> {
    let mut datasets = manifest.data.keys();
    match (datasets.next(), datasets.next()) {
        (Some(dataset), None) => Ok(dataset),
        _ => Err(failure("a question is about one dataset")),
    }
}

/// The closed form of a question about the dataset of this catalogue entry, under this policy.
///
/// # Errors
/// `QUERY`, by the first part that is not answered; `LIMITS`, if the answer needs more memory than the manifest asks for.
pub fn read(
    manifest: &Manifest,
    asked: &Question,
    entry: &Catalogue,
    policy: &Policy,
) -> Result<Asked, Failure> {
    let query =
        query::read(&asked.sql, asked.privacy.clone(), entry).map_err(|error| failure(whole(&error)))?;
    egress::check_question(policy, &query, entry).map_err(|error| failure(whole(&error)))?;
    check_memory(manifest, &query, entry)?;
    let output = query.output().map_err(|error| failure(whole(&error)))?;
    Ok(Asked { words: query.words(), query, output })
}

/// With less memory an answer with noise could fail for the number of people, which would tell it without noise. The box
/// refuses it, too, and does not say how much is enough.
fn check_memory(manifest: &Manifest, query: &Query, entry: &Catalogue) -> Result<(), Failure> {
    let CatalogueEntry::Dataset { snapshots, .. } = &entry.entry else { return Ok(()) };
    let snapshot = match manifest.data.get(&entry.name) {
        Some(SnapshotChoice::Tree(tree)) => snapshots.iter().find(|one| one.tree.sha256 == *tree),
        _ => snapshots.last(),
    };
    let least = snapshot.and_then(|one| QueryTask::least_noisy_memory(query, one.units.0));
    match least.filter(|least| manifest.limits.memory_bytes.0 < *least) {
        None => Ok(()),
        Some(least) => {
            let (asked, least) = (manifest.limits.memory_bytes.0 >> 20, least.div_ceil(1 << 20));
            let text =
                format!("the answer with noise needs {least} MiB, and databox.toml asks for {asked} MiB");
            Err(Failure::new("LIMITS", text)
                .hint("`memory` in [limits]; what is needed follows from the question and from how many units the catalogue tells")
                .exit(Exit::Usage))
        }
    }
}

impl Asked {
    /// For people.
    pub fn text(&self) -> String {
        format!("asks   {}\n", self.words)
    }
}

/// A question that is right, and was not answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alone {
    /// `PASS`: one that is not right is refused.
    pub result: &'static str,
    /// The question.
    pub question: Asked,
    /// Who answers it.
    pub answered: &'static str,
}

impl Alone {
    /// A question that nothing here answered.
    pub fn new(question: Asked) -> Self {
        let answered = "the box answers it (`databox job submit`); here `databox job run --local` does, where the program \
                        databox-query lies beside this one or --runtime names a runtime with it";
        Self { result: "PASS", question, answered }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Never in practice: it has a JSON form.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        match json {
            true => println!(
                "{}",
                serde_json::to_string(self).map_err(|error| Failure::new("JSON", whole(&error)))?
            ),
            false => {
                print!("{}not answered here: {}\n{}\n", self.question.text(), self.answered, self.result)
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use release::statement::{Column, DatasetGrant, PrivacyBudget, Snapshot, Table, ValueType};
    use release::value::{Count, Timestamp};

    use super::*;

    fn entry(units: u64) -> Catalogue {
        let column = |name: &str, value_type, categories: &[&str]| Column {
            name: name.parse().unwrap(),
            value_type,
            categories: categories.iter().map(|value| (*value).to_owned()).collect(),
        };
        let at = Timestamp::from_seconds(0).unwrap();
        let entry = CatalogueEntry::Dataset {
            snapshots: vec![Snapshot {
                tree: blobs::Digest::of(b"tree").into(),
                registered_at: at,
                bytes: Count(1),
                units: Count(units),
            }],
            unit_column: "person".parse().unwrap(),
            tables: vec![Table {
                file: "hie.csv".parse().unwrap(),
                columns: vec![
                    column("person", ValueType::Integer, &[]),
                    column("plan", ValueType::Category, &["free", "shared"]),
                    column("visits", ValueType::Integer, &[]),
                ],
            }],
            limits: DatasetGrant { release_bits: Count(1), answer_bits: Count(1) },
            licence: String::new(),
            source: String::new(),
            public: Vec::new(),
            privacy: Some(PrivacyBudget {
                rho_millionths: Count(500_000),
                answer_rho_millionths: Count(50_000),
                delta_exponent: Count(6),
            }),
        };
        let name = "hie".parse().unwrap();
        Catalogue { site: "site".parse().unwrap(), name, version: Count(1), entry, issued_at: at }
    }

    fn asked(query: &str, units: u64) -> Result<Asked, Failure> {
        let text = format!(
            "[job]\nname = \"a\"\nproject = \"p\"\nruntime = \"queries\"\npurpose = \"a test\"\n\n[data.hie]\nsnapshot = \
             \"latest\"\n\n[limits]\ncpus = 1\nmemory = \"300MiB\"\ntime = \"1min\"\n\n[query]\n{query}\n"
        );
        let manifest = Manifest::parse(&text).unwrap();
        let policy = Policy::parse(crate::check::STANDARD).unwrap();
        read(&manifest, manifest.query.as_ref().unwrap(), &entry(units), &policy)
    }

    #[test]
    fn a_question_is_refused_at_the_desk_for_what_the_box_would_refuse_and_one_that_is_right_is_told_in_words()
     {
        let right = asked("sql = \"SELECT plan, COUNT(*), APPROX_MEDIAN(visits) FROM hie GROUP BY plan\"", 1);
        assert!(
            right.unwrap().words.contains("the mean of visits around the rank above 50 %, for each plan")
        );
        for (query, reason, words) in [
            ("sql = \"SELECT MAX(visits) FROM hie\"", "QUERY", "one person's value"),
            ("sql = \"SELECT APPROX_QUANTILE(visits, 0.35) FROM hie\"", "QUERY", "no quantile above 35 %"),
            ("sql = \"SELECT COUNT(*) FROM hie WHERE plan = 'secret'\"", "QUERY", "no public value"),
        ] {
            let refused = asked(query, 1).unwrap_err();
            assert_eq!(refused.reason, reason, "{query}");
            assert!(refused.text.contains(words), "{query}: {}", refused.text);
        }
    }

    #[test]
    fn an_answer_with_noise_that_could_fail_for_the_number_of_people_is_refused_with_what_it_needs() {
        let noisy = "sql = \"SELECT plan, COUNT(*) FROM hie GROUP BY plan\"\n[query.privacy]\nrho = \"0.01\"";
        assert!(asked(noisy, 100).is_ok());
        let refused = asked(noisy, 1_000_000).unwrap_err();
        assert_eq!(refused.reason, "LIMITS");
        assert!(refused.text.contains("databox.toml asks for 300 MiB"), "{}", refused.text);
    }
}
