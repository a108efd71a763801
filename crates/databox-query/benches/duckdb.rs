//! A group-by with all rules, beside DuckDB without any, on the same file: pairs, one after the other, and the median of
//! their ratios. `QUERY_BENCH_PYTHON` names an interpreter that has DuckDB; `cargo xtask bench query` makes one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use egress::QueryTask;
use release::statement::{
    Catalogue, CatalogueEntry, Column, DatasetGrant, Query, QueryFunction, QueryValue, Table, ValueType,
};
use release::value::{Count, Name, Timestamp};

const PAIRS: usize = 11;
const ROWS: u64 = 4_000_000;
const UNITS: u64 = 400_000;
const THREADS: usize = 2;

/// Each line on standard input is a question in SQL; the answer is the seconds that it took.
const DUCKDB: &str = "
import duckdb, sys, time
duckdb.sql('SET threads = 2')
for line in sys.stdin:
    begin = time.perf_counter()
    rows = duckdb.sql(line).fetchall()
    print(time.perf_counter() - begin, len(rows), flush=True)
";

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn main() {
    let Some(python) = std::env::var_os("QUERY_BENCH_PYTHON") else {
        println!("no QUERY_BENCH_PYTHON: run `cargo xtask bench query`");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("d")).expect("a directory");
    let file = directory.path().join("d/t.csv");
    write_rows(&file);
    let mut duckdb = DuckDb::start(Path::new(&python));
    let bytes = std::fs::metadata(&file).map_or(0, |found| found.len());
    println!("{ROWS} rows of {UNITS} units, {} MB, {THREADS} threads, {PAIRS} pairs", bytes / 1_000_000);
    for groups in [&["plan"][..], &["plan", "site"]] {
        let task = task(groups);
        let sql = format!(
            "SELECT {0}, count(*), sum(x), avg(y) FROM read_csv('{1}') GROUP BY {0}",
            groups.join(", "),
            file.display()
        );
        let mut ratios = Vec::new();
        for _ in 0..PAIRS {
            let begin = Instant::now();
            let answer = databox_query::answer(&task, directory.path()).expect("an answer");
            let ours = begin.elapsed().as_secs_f64();
            let (theirs, rows) = duckdb.ask(&sql);
            let told = answer.iter().filter(|byte| **byte == b'\n').count() - 1;
            assert_eq!(told, rows, "every group is large enough to be told");
            ratios.push((ours / theirs, ours, theirs));
        }
        ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (median, ours, theirs) = ratios[PAIRS / 2];
        let (least, most) = (ratios[0].0, ratios[PAIRS - 1].0);
        println!(
            "by {:<12} all rules {ours:.3} s, DuckDB without {theirs:.3} s: {median:.2} times ({least:.2} to {most:.2}), bar 2.0",
            groups.join(", ")
        );
    }
}

struct DuckDb {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl DuckDb {
    fn start(python: &Path) -> Self {
        let mut command = Command::new(python);
        command.args(["-c", DUCKDB]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the interpreter starts");
        let answers = BufReader::new(process.stdout.take().expect("it has an outlet"));
        Self { process, answers }
    }

    fn ask(&mut self, sql: &str) -> (f64, usize) {
        let inlet = self.process.stdin.as_mut().expect("it has an inlet");
        writeln!(inlet, "{sql}").expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let (seconds, rows) = line.trim().split_once(' ').expect("seconds and rows");
        (seconds.parse().expect("seconds"), rows.parse().expect("rows"))
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn write_rows(file: &Path) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).expect("a file"));
    writeln!(out, "person,plan,site,x,y,a,b,c").expect("room");
    let mut random = 5u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..ROWS {
        let (unit, plan, site, x, y) = (next(UNITS), next(6), next(20), next(40), next(100_000));
        writeln!(out, "{unit},plan-{plan},site-{site},{x},{}.{:02},{x},{y},{unit}", y / 100, y % 100)
            .expect("room");
    }
}

fn task(groups: &[&str]) -> QueryTask {
    let column = |column: &str, value_type, categories: Vec<String>| Column {
        name: name(column),
        value_type,
        categories,
    };
    let named = |what: &str, count: u32| (0..count).map(|number| format!("{what}-{number}")).collect();
    let mut columns = vec![
        column("person", ValueType::Integer, vec![]),
        column("plan", ValueType::Category, named("plan", 6)),
        column("site", ValueType::Category, named("site", 20)),
        column("x", ValueType::Integer, vec![]),
        column("y", ValueType::Decimal, vec![]),
    ];
    columns.extend(["a", "b", "c"].map(|other| column(other, ValueType::Integer, vec![])));
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
    let value = |function, column: &str| QueryValue { column: name(column), function };
    let issued_at = Timestamp::from_seconds(0).expect("a moment");
    QueryTask {
        policy: include_str!("../../../policies/egress/standard.toml").to_owned(),
        query: Query {
            dataset: name("d"),
            table: name("t.csv"),
            groups: groups.iter().map(|group| name(group)).collect(),
            values: vec![value(QueryFunction::Sum, "x"), value(QueryFunction::Mean, "y")],
            filter: None,
            privacy: None,
        },
        catalogue: Catalogue { site: name("s"), name: name("d"), version: Count(1), entry, issued_at },
        threads: THREADS,
        memory_bytes: 4 << 30,
        earlier: Vec::new(),
    }
}
