//! A dataset on disk, its catalogue, and a second way to answer: row by row, with exact fractions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use databox_query::compare;
use egress::{Detail, EarlierQuery, QueryTask};
use release::rule::Rule;
use release::statement::{
    Catalogue, CatalogueEntry, Column, DatasetGrant, Query, QueryFunction, QueryValue, RuleResult, Table,
    ValueType,
};
use release::value::{Count, Name, Timestamp};

pub const POLICY: &str = include_str!("../../../../policies/egress/standard.toml");

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The file `t.csv` of the dataset `d`: `person`, the categories `plan` and `site`, the numbers `x` and `y`.
pub fn catalogue() -> Catalogue {
    let column = |column: &str, value_type, categories: &[&str]| Column {
        name: name(column),
        value_type,
        categories: categories.iter().map(|value| (*value).to_owned()).collect(),
    };
    let columns = vec![
        column("person", ValueType::Text, &[]),
        column("plan", ValueType::Category, &["a,b", "free", "it's"]),
        column("site", ValueType::Category, &["far", "near"]),
        column("x", ValueType::Integer, &[]),
        column("y", ValueType::Decimal, &[]),
    ];
    let entry = CatalogueEntry::Dataset {
        snapshots: Vec::new(),
        unit_column: name("person"),
        tables: vec![Table { file: name("t.csv"), columns }],
        limits: DatasetGrant { release_bits: Count(1), answer_bits: Count(1) },
        licence: String::new(),
        source: String::new(),
        privacy: None,
        public: Vec::new(),
    };
    let issued_at = Timestamp::from_seconds(0).unwrap();
    Catalogue { site: name("site"), name: name("d"), version: Count(1), entry, issued_at }
}

pub fn query(groups: &[&str], values: &[(QueryFunction, &str)]) -> Query {
    Query {
        dataset: name("d"),
        table: name("t.csv"),
        groups: groups.iter().map(|group| name(group)).collect(),
        values: values
            .iter()
            .map(|(function, column)| QueryValue { column: name(column), function: *function })
            .collect(),
        filter: None,
        privacy: None,
    }
}

pub fn task(query: Query, threads: usize) -> QueryTask {
    QueryTask {
        policy: POLICY.to_owned(),
        query,
        catalogue: catalogue(),
        threads,
        memory_bytes: 64 << 20,
        earlier: Vec::new(),
    }
}

/// Lays a dataset down, and gives the directory with datasets.
pub fn data(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::write(directory.path().join("d/t.csv"), text).unwrap();
    directory
}

pub fn answered(task: &QueryTask, data: &Path) -> String {
    let answer = databox_query::answer(task, data).unwrap_or_else(|error| panic!("no answer: {error}"));
    String::from_utf8(answer).unwrap()
}

/// One row of a made-up file.
#[derive(Debug, Clone)]
pub struct Row {
    pub person: u32,
    pub plan: &'static str,
    pub site: &'static str,
    pub x: Option<i64>,
}

impl Row {
    pub fn of(&self, column: &Name) -> &'static str {
        if column.as_str() == "plan" { self.plan } else { self.site }
    }

    pub fn counts(&self, query: &Query) -> bool {
        query.filter.as_ref().is_none_or(|filter| filter.holds(&|column: &Name| Some(self.of(column))))
    }
}

pub fn text(rows: &[Row]) -> String {
    let mut text = "person,plan,site,x,y\n".to_owned();
    for Row { person, plan, site, x } in rows {
        let quoted = if plan.contains(',') { format!("\"{plan}\"") } else { (*plan).to_owned() };
        let x = x.map_or(String::new(), |x| x.to_string());
        text += &format!("p{person},{quoted},{site},{x},0.5\n");
    }
    text
}

/// The told groups by the definitions: units, the sum of `x`, its rows. By single people's totals and whole numbers.
pub fn by_hand(rows: &[Row], query: &Query) -> BTreeMap<Vec<String>, (usize, i64, i64)> {
    let public: BTreeSet<&str> = ["a,b", "free", "it's", "far", "near"].into();
    let mut people: BTreeMap<Vec<String>, BTreeMap<u32, (i64, i64)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.counts(query)) {
        let key: Vec<String> = query.groups.iter().map(|group| row.of(group).to_owned()).collect();
        if key.iter().all(|value| public.contains(value.as_str())) {
            let total = people.entry(key).or_default().entry(row.person).or_default();
            *total = (total.0 + row.x.unwrap_or(0), total.1 + i64::from(row.x.is_some()));
        }
    }
    let mut told = BTreeMap::new();
    for (key, people) in people {
        let mut sizes: Vec<i64> =
            people.values().filter(|total| total.1 > 0).map(|total| total.0.abs()).collect();
        sizes.sort_by_key(|size| std::cmp::Reverse(*size));
        let size: i64 = sizes.iter().sum();
        let (one, two) = (sizes.first().copied().unwrap_or(0), sizes.get(1).copied().unwrap_or(0));
        let many = people.len() >= 10 && sizes.len() >= 10;
        // (2, 90 %), and the second largest learns the largest one's value to no less than 10 %.
        let spread = size == 0 || ((one + two) * 10 < size * 9 && (size - one - two) * 10 > one);
        if many && spread {
            let sum = people.values().map(|total| total.0).sum();
            told.insert(key, (people.len(), sum, people.values().map(|total| total.1).sum()));
        }
    }
    told
}

/// A number from 0 on, each time another, the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Whether the last question is blocked after the others, and what is found.
pub fn blocked(text: &str, queries: &[Query]) -> Option<String> {
    blocked_in(&catalogue(), text, queries)
}

/// The same, of a file with this catalogue.
pub fn blocked_in(catalogue: &Catalogue, text: &str, queries: &[Query]) -> Option<String> {
    let data = data(text);
    let (last, before) = queries.split_last().unwrap();
    let mut task = QueryTask { catalogue: catalogue.clone(), ..task(last.clone(), 2) };
    task.earlier = before
        .iter()
        .enumerate()
        .map(|(index, query)| EarlierQuery {
            of: format!("job-{index}"),
            query: query.clone(),
            policy: Some(POLICY.to_owned()),
        })
        .collect();
    let (report, detail) = compare(&task, data.path()).unwrap();
    match report.rules[Rule::TableDifferencing.index()] {
        RuleResult::Passed => None,
        RuleResult::Blocked => Some(Detail::from_json(&detail).unwrap().files[0].findings[0].detail.clone()),
        other => panic!("{other:?}"),
    }
}
