//! What the names of a manifest stand for in the pinned site, or why they stand for nothing.

use std::collections::BTreeMap;

use blobs::Digest;
use release::site::Site;
use release::statement::{CatalogueEntry, ColumnType, DeclaredOutput, GrantId, Query, ValueType};
use release::value::Name;

use crate::failure::{Exit, Failure, whole};
use crate::{published, question};

pub(super) fn grant_of(site: &Site, project: &Name, member: &Name) -> Result<GrantId, Failure> {
    let mut found = site.grants().filter(|grant| {
        let grant = grant.statement();
        &grant.project == project && grant.members.contains_key(member)
    });
    let missing = || {
        Failure::new("GRANT", format!("no grant names you, {member}, for the project {project}"))
            .hint("ask the owner of the data; `project` in databox.toml and `id` in the profile must fit the grant")
            .exit(Exit::Denied)
    };
    found.next().map(release::site::grant_id).ok_or_else(missing)
}

/// The closed form of the manifest's question, if it has one.
pub(super) fn question(
    site: &Site,
    manifest: &bundle::Manifest,
    grant: &GrantId,
) -> Result<Option<Query>, Failure> {
    let Some(asked) = &manifest.query else { return Ok(None) };
    let dataset = question::dataset(manifest)?;
    let missing = || question::failure(format!("the catalogue has no dataset {dataset}"));
    let entry = site.dataset(dataset).ok_or_else(missing)?;
    let unread = || question::failure("the grant's policy cannot be read");
    let policy = policy_of(site, grant).ok_or_else(unread)?;
    Ok(Some(question::read(manifest, asked, entry.statement(), &policy)?.query))
}

/// Refuses weights that could not leave, whatever the job computes: what they carry follows from their shapes.
pub(super) fn check_sizes(site: &Site, grant: &GrantId, outputs: &[DeclaredOutput]) -> Result<(), Failure> {
    // A policy that cannot be read here is refused by the box.
    let Some(policy) = policy_of(site, grant) else { return Ok(()) };
    egress::check_sizes(&policy, outputs).map_err(|error| {
        Failure::new("DECLARED", whole(&error))
            .hint(
                "nothing was handed in. Fewer or smaller tensors, an `evaluation` that finds a smaller precision, or a digest \
                 for each tensor that is not trained (`databox tensors`) carry less",
            )
            .exit(Exit::Usage)
    })
}

fn policy_of(site: &Site, grant: &GrantId) -> Option<egress::Policy> {
    let grant = site.grants().find(|one| release::site::grant_id(one) == *grant)?;
    let file = site.policy(&grant.statement().policy)?.file();
    egress::Policy::parse(std::str::from_utf8(file).ok()?).ok()
}

/// The tree of a runtime that does what is asked: answers a question, or runs code.
pub(super) fn runtime_of(site: &Site, name: &Name, is_question: bool) -> Result<Digest, Failure> {
    match site.runtime(name).map(|entry| &entry.statement().entry) {
        Some(CatalogueEntry::Runtime { tree, answers_queries, .. }) if *answers_queries == is_question => {
            Ok(tree.sha256)
        }
        Some(CatalogueEntry::Runtime { .. }) => {
            let others =
                published::runtimes(site).into_iter().filter(|one| one.answers_queries == is_question);
            let others: Vec<String> = others.map(|other| other.name.to_string()).collect();
            let (not, does) = match is_question {
                true => ("answers no questions", "answer questions"),
                false => ("answers questions and runs no code", "run code"),
            };
            let others = if others.is_empty() { "none of this box".to_owned() } else { others.join(", ") };
            Err(Failure::new("RUNTIME", format!("the runtime {name} {not}"))
                .hint(format!("`runtime` in databox.toml; those that {does}: {others}"))
                .exit(Exit::Usage))
        }
        _ => Err(Failure::new("NO_RUNTIME", format!("the box has no runtime {name}"))
            .hint("`runtime` in databox.toml names one of the catalogue")),
    }
}

pub(super) fn latest_snapshots(
    site: &Site,
    manifest: &bundle::Manifest,
) -> Result<BTreeMap<Name, Digest>, Failure> {
    let mut latest = BTreeMap::new();
    for name in manifest.data.keys() {
        let newest = match site.dataset(name).map(|entry| &entry.statement().entry) {
            Some(CatalogueEntry::Dataset { snapshots, .. }) => snapshots.last(),
            _ => None,
        };
        let missing = || {
            Failure::new("DATA", format!("the catalogue has no dataset {name}"))
                .hint("`[data.NAME]` in databox.toml names one that your grant covers")
        };
        latest.insert(name.clone(), newest.ok_or_else(missing)?.tree.sha256);
    }
    Ok(latest)
}

/// Whether each category column is one that the catalogue publishes; the box would refuse the request without saying which
/// is not.
pub(super) fn check_categories(site: &Site, outputs: &[DeclaredOutput]) -> Result<(), Failure> {
    for output in outputs {
        let columns = match output {
            DeclaredOutput::Table { columns, .. } | DeclaredOutput::Figure { columns, .. } => columns,
            DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => continue,
        };
        for column in columns {
            let ColumnType::Category { dataset, category } = &column.column_type else { continue };
            let public = categories(site, dataset);
            if !public.contains(&category) {
                let (path, name) = (output.path(), &column.name);
                let public: Vec<&str> = public.iter().map(|category| category.as_str()).collect();
                let text = format!("{path}, column {name}: {dataset} has no public category {category}");
                return Err(Failure::new("CATEGORY", text)
                    .hint(format!("it has: {}", public.join(", ")))
                    .exit(Exit::Usage));
            }
        }
    }
    Ok(())
}

fn categories<'a>(site: &'a Site, dataset: &Name) -> Vec<&'a Name> {
    match site.dataset(dataset).map(|entry| &entry.statement().entry) {
        Some(CatalogueEntry::Dataset { tables, .. }) => {
            let columns = tables.iter().flat_map(|table| &table.columns);
            columns
                .filter(|column| column.value_type == ValueType::Category)
                .map(|column| &column.name)
                .collect()
        }
        Some(CatalogueEntry::Runtime { .. }) | None => Vec::new(),
    }
}
