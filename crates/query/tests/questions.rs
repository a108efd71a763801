//! What is answered, and what is refused by which name.

use query::{SqlError, read};
use release::statement::{
    Bounds, Catalogue, CatalogueEntry, Column, Condition, DatasetGrant, DeclaredOutput, PrivacyBudget, Query,
    QueryError, QueryFunction, QueryPrivacy, QueryValue, Table, ValueType,
};
use release::value::{Count, Name, Timestamp, Whole};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn catalogue(files: &[&str]) -> Catalogue {
    let column = |column: &str, value_type, categories: &[&str]| Column {
        name: name(column),
        value_type,
        categories: categories.iter().map(|value| (*value).to_owned()).collect(),
    };
    let columns = vec![
        column("person", ValueType::Integer, &[]),
        column("plan", ValueType::Category, &["family plan", "free", "it's"]),
        column("year", ValueType::Category, &["1", "2"]),
        column("visits", ValueType::Integer, &[]),
        column("cost.total", ValueType::Decimal, &[]),
        column("note", ValueType::Text, &[]),
        column("units", ValueType::Category, &["a"]),
    ];
    let tables = files.iter().map(|file| Table { file: name(file), columns: columns.clone() });
    let entry = CatalogueEntry::Dataset {
        snapshots: Vec::new(),
        unit_column: name("person"),
        tables: tables.collect(),
        limits: DatasetGrant { release_bits: Count(1), answer_bits: Count(1) },
        licence: String::new(),
        source: String::new(),
        privacy: None,
        public: Vec::new(),
    };
    let issued_at = Timestamp::from_seconds(0).unwrap();
    Catalogue { site: name("site"), name: name("hie"), version: Count(1), entry, issued_at }
}

fn asked(groups: &[&str], values: &[(QueryFunction, &str)], filter: Option<Condition>) -> Query {
    Query {
        dataset: name("hie"),
        table: name("visits.csv"),
        groups: groups.iter().map(|group| name(group)).collect(),
        values: values
            .iter()
            .map(|(function, column)| QueryValue { column: name(column), function: *function })
            .collect(),
        filter,
        privacy: None,
    }
}

fn among(column: &str, values: &[&str]) -> Condition {
    Condition::Among {
        column: name(column),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

#[test]
fn what_is_answered_has_one_closed_form() {
    use QueryFunction::{Mean, Quantile, Sum};
    let answered = [
        ("SELECT COUNT(*) FROM hie", asked(&[], &[], None)),
        ("select count(*) from hie;", asked(&[], &[], None)),
        ("SELECT COUNT(DISTINCT person) FROM hie.visits", asked(&[], &[], None)),
        ("SELECT plan, COUNT(*) FROM hie.\"visits.csv\" GROUP BY plan", asked(&["plan"], &[], None)),
        (
            "SELECT year, plan, AVG(visits), SUM(\"cost.total\") FROM hie GROUP BY plan, year",
            asked(&["year", "plan"], &[(Mean, "visits"), (Sum, "cost.total")], None),
        ),
        (
            "SELECT approx_median(visits), AVG(visits), APPROX_QUANTILE(visits, 0.9), APPROX_QUANTILE(\"cost.total\", .250) FROM hie",
            asked(
                &[],
                &[
                    (Quantile(50), "visits"),
                    (Mean, "visits"),
                    (Quantile(90), "visits"),
                    (Quantile(25), "cost.total"),
                ],
                None,
            ),
        ),
        (
            "SELECT SUM(visits) FROM hie WHERE plan = 'it''s'",
            asked(&[], &[(Sum, "visits")], Some(among("plan", &["it's"]))),
        ),
        (
            "SELECT COUNT(*) FROM hie WHERE year IN (2, '1') AND (plan = 'free' OR plan = 'family plan')",
            asked(
                &[],
                &[],
                Some(Condition::All {
                    of: vec![
                        among("year", &["1", "2"]),
                        Condition::Any {
                            of: vec![among("plan", &["free"]), among("plan", &["family plan"])],
                        },
                    ],
                }),
            ),
        ),
    ];
    let catalogue = catalogue(&["visits.csv"]);
    for (sql, expected) in answered {
        let found = read(sql, None, &catalogue).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(found, expected, "{sql}");
        assert_eq!(found.check(&catalogue).map(|asked| asked.unit.as_str()), Ok("person"), "{sql}");
    }
}

#[test]
fn what_is_not_answered_is_refused_by_name() {
    let clause = |name: &'static str| SqlError::Clause(name);
    let item = |text: &str| SqlError::Item(text.to_owned());
    let one_value = |text: &str| SqlError::OneValue(text.to_owned());
    let level = |text: &str| SqlError::Level(text.to_owned());
    let grouped = |text: &str| SqlError::NotGrouped(text.to_owned());
    let alias = |text: &str| SqlError::Alias(text.to_owned());
    let comparison = |text: &str| SqlError::Comparison(text.to_owned());
    let refused = [
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plan HAVING COUNT(*) > 9", clause("HAVING")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plan ORDER BY COUNT(*)", clause("ORDER BY")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plan LIMIT 1", clause("LIMIT")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plan OFFSET 1", clause("LIMIT")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plan FETCH FIRST 1 ROWS ONLY", clause("LIMIT")),
        ("SELECT TOP 1 COUNT(*) FROM hie", clause("TOP")),
        ("SELECT DISTINCT plan FROM hie GROUP BY plan", clause("DISTINCT")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY ROLLUP (plan)", grouped("ROLLUP (plan)")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plan WITH ROLLUP", clause("ROLLUP or CUBE")),
        ("SELECT COUNT(*) FROM hie GROUP BY ALL", clause("GROUP BY ALL")),
        ("WITH a AS (SELECT 1) SELECT COUNT(*) FROM hie", clause("WITH")),
        (
            "SELECT COUNT(*) FROM hie UNION SELECT COUNT(*) FROM hie",
            clause("UNION, VALUES or another form than one SELECT"),
        ),
        ("SELECT", clause("another number of tables than one")),
        ("SELECT COUNT(*) FROM hie, hie", clause("another number of tables than one")),
        ("SELECT COUNT(*) FROM hie JOIN hie USING (person)", clause("JOIN")),
        ("SELECT COUNT(*) FROM (SELECT * FROM hie)", clause("a table that is no name")),
        ("SELECT COUNT(*) FROM hie AS h", alias("hie AS h")),
        ("SELECT COUNT(*) FROM hie TABLESAMPLE BERNOULLI (10)", clause("a further clause")),
        ("SELECT COUNT(*) FROM hie FOR UPDATE", clause("a further clause")),
        ("DROP TABLE hie", clause("another statement than SELECT")),
        ("SELECT COUNT(*), COUNT(*) FROM hie", clause("a second COUNT")),
        ("SELECT * FROM hie", item("*")),
        ("SELECT COUNT(*) AS n FROM hie", alias("COUNT(*) AS n")),
        ("SELECT plan p, COUNT(*) FROM hie GROUP BY plan", alias("plan AS p")),
        ("SELECT COUNT(visits) FROM hie", item("COUNT(visits)")),
        ("SELECT SUM(DISTINCT visits) FROM hie", item("SUM(DISTINCT visits)")),
        (
            "SELECT SUM(visits) FILTER (WHERE plan = 'free') FROM hie",
            item("SUM(visits) FILTER (WHERE plan = 'free')"),
        ),
        ("SELECT SUM(visits) OVER () FROM hie", item("SUM(visits) OVER ()")),
        ("SELECT SUM(visits * visits) FROM hie", item("SUM(visits * visits)")),
        ("SELECT SUM(-visits) FROM hie", item("SUM(-visits)")),
        ("SELECT STDDEV(visits) FROM hie", item("STDDEV(visits)")),
        ("SELECT MAX(visits) FROM hie", one_value("MAX(visits)")),
        ("SELECT MEDIAN(visits) FROM hie", one_value("MEDIAN(visits)")),
        ("SELECT quantile_cont(visits, 0.5) FROM hie", one_value("quantile_cont(visits, 0.5)")),
        (
            "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY visits) FROM hie",
            one_value("PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY visits)"),
        ),
        ("SELECT APPROX_MEDIAN(DISTINCT visits) FROM hie", item("APPROX_MEDIAN(DISTINCT visits)")),
        ("SELECT APPROX_QUANTILE(visits) FROM hie", item("APPROX_QUANTILE(visits)")),
        ("SELECT APPROX_QUANTILE(visits, 0.5, 100) FROM hie", item("APPROX_QUANTILE(visits, 0.5, 100)")),
        ("SELECT APPROX_QUANTILE(-visits, 0.5) FROM hie", item("APPROX_QUANTILE(-visits, 0.5)")),
        ("SELECT APPROX_QUANTILE(visits, 1) FROM hie", level("APPROX_QUANTILE(visits, 1)")),
        ("SELECT APPROX_QUANTILE(visits, 0.0) FROM hie", level("APPROX_QUANTILE(visits, 0.0)")),
        ("SELECT APPROX_QUANTILE(visits, 1.0) FROM hie", level("APPROX_QUANTILE(visits, 1.0)")),
        ("SELECT APPROX_QUANTILE(visits, 1.5) FROM hie", level("APPROX_QUANTILE(visits, 1.5)")),
        ("SELECT APPROX_QUANTILE(visits, 0.125) FROM hie", level("APPROX_QUANTILE(visits, 0.125)")),
        ("SELECT APPROX_QUANTILE(visits, -0.5) FROM hie", level("APPROX_QUANTILE(visits, -0.5)")),
        ("SELECT APPROX_QUANTILE(visits, '0.5') FROM hie", level("APPROX_QUANTILE(visits, '0.5')")),
        ("SELECT APPROX_QUANTILE(visits, [0.5]) FROM hie", level("APPROX_QUANTILE(visits, [0.5])")),
        ("SELECT 1 + COUNT(*) FROM hie", item("1 + COUNT(*)")),
        ("SELECT plan, COUNT(*) FROM hie", grouped("plan")),
        ("SELECT COUNT(*) FROM hie GROUP BY plan", grouped("plan")),
        ("SELECT COUNT(*) FROM hie GROUP BY 1", grouped("1")),
        ("SELECT COUNT(*) FROM hie WHERE plan <> 'free'", comparison("plan <> 'free'")),
        ("SELECT COUNT(*) FROM hie WHERE plan NOT IN ('free')", comparison("plan NOT IN ('free')")),
        ("SELECT COUNT(*) FROM hie WHERE NOT plan = 'free'", comparison("NOT plan = 'free'")),
        ("SELECT COUNT(*) FROM hie WHERE plan > 'free'", comparison("plan > 'free'")),
        ("SELECT COUNT(*) FROM hie WHERE plan LIKE 'f%'", comparison("plan LIKE 'f%'")),
        ("SELECT COUNT(*) FROM hie WHERE plan IS NULL", comparison("plan IS NULL")),
        ("SELECT COUNT(*) FROM hie WHERE 'free' = plan", comparison("'free' = plan")),
        ("SELECT COUNT(*) FROM hie WHERE plan = year", comparison("plan = year")),
        (
            "SELECT COUNT(*) FROM hie WHERE plan IN (SELECT plan FROM hie)",
            comparison("plan IN (SELECT plan FROM hie)"),
        ),
        ("SELECT COUNT(*) FROM hie WHERE plan BETWEEN 'a' AND 'z'", comparison("plan BETWEEN 'a' AND 'z'")),
        ("SELECT COUNT(*) FROM hie WHERE true", comparison("true")),
        ("SELECT COUNT(*) FROM other", SqlError::Table("other".to_owned())),
        ("SELECT COUNT(*) FROM hie.other", SqlError::Table("hie.other".to_owned())),
        ("SELECT COUNT(*) FROM a.hie.visits", SqlError::Table("a.hie.visits".to_owned())),
    ];
    let catalogue = catalogue(&["visits.csv"]);
    for (sql, expected) in refused {
        assert_eq!(read(sql, None, &catalogue), Err(expected), "{sql}");
    }
    for no_sql in ["", ";", "SELECT COUNT(*) FROM hie; SELECT COUNT(*) FROM hie", "plan"] {
        assert!(matches!(read(no_sql, None, &catalogue), Err(SqlError::NotSql(_))), "{no_sql}");
    }
    let deep = format!("SELECT COUNT(*) FROM hie WHERE {}plan = 'free'{}", "(".repeat(200), ")".repeat(200));
    assert!(matches!(read(&deep, None, &catalogue), Err(SqlError::NotSql(_))));
}

#[test]
fn only_what_the_catalogue_publishes_can_be_asked() {
    let no_column = |column: &str| QueryError::NoColumn { table: name("visits.csv"), column: name(column) };
    let refused = [
        (
            "SELECT visits, COUNT(*) FROM hie GROUP BY visits",
            QueryError::NotCategory { column: name("visits") },
        ),
        ("SELECT note, COUNT(*) FROM hie GROUP BY note", QueryError::NotCategory { column: name("note") }),
        ("SELECT COUNT(*) FROM hie WHERE person = 7", QueryError::NotCategory { column: name("person") }),
        (
            "SELECT COUNT(*) FROM hie WHERE plan = 'secret'",
            QueryError::NotPublic { column: name("plan"), value: "secret".to_owned() },
        ),
        ("SELECT SUM(note) FROM hie", QueryError::NotNumber { column: name("note") }),
        ("SELECT SUM(person) FROM hie", QueryError::Unit { column: name("person") }),
        ("SELECT SUM(plan) FROM hie", QueryError::NotNumber { column: name("plan") }),
        ("SELECT plan, SUM(plan) FROM hie GROUP BY plan", QueryError::NotNumber { column: name("plan") }),
        ("SELECT SUM(visits), AVG(visits) FROM hie", QueryError::Twice { column: name("visits") }),
        (
            "SELECT APPROX_MEDIAN(visits), APPROX_QUANTILE(visits, 0.5) FROM hie",
            QueryError::SameName { name: "quantile-50.visits".to_owned() },
        ),
        ("SELECT APPROX_MEDIAN(person) FROM hie", QueryError::Unit { column: name("person") }),
        ("SELECT plan, plan FROM hie GROUP BY plan", QueryError::GroupTwice { column: name("plan") }),
        ("SELECT color, COUNT(*) FROM hie GROUP BY color", no_column("color")),
        ("SELECT COUNT(*) FROM hie GROUP BY color", no_column("color")),
        ("SELECT color, COUNT(*) FROM hie", no_column("color")),
        ("SELECT plan, COUNT(*) FROM hie GROUP BY plna", no_column("plna")),
        ("SELECT SUM(visit) FROM hie", no_column("visit")),
        ("SELECT COUNT(*) FROM hie WHERE color = 'free'", no_column("color")),
        ("SELECT units FROM hie GROUP BY units", QueryError::SameName { name: "units".to_owned() }),
    ];
    let one = catalogue(&["visits.csv"]);
    for (sql, expected) in refused {
        assert_eq!(read(sql, None, &one), Err(SqlError::Query(expected)), "{sql}");
    }
    let two = catalogue(&["visits.csv", "people.csv"]);
    assert_eq!(read("SELECT COUNT(*) FROM hie", None, &two), Err(SqlError::Table("hie".to_owned())));
    assert_eq!(
        read("SELECT COUNT(*) FROM hie.people", None, &two).map(|found| found.table),
        Ok(name("people.csv"))
    );
}

#[test]
fn a_question_in_another_than_its_one_form_is_refused() {
    let catalogue = catalogue(&["visits.csv"]);
    for percent in [0, 100, 255] {
        let quantile = asked(&[], &[(QueryFunction::Quantile(percent), "visits")], None);
        assert_eq!(quantile.check(&catalogue).map(drop), Err(QueryError::Percent { percent }));
    }
    for text in [
        "quantile:025",
        "quantile:+25",
        "quantile:",
        "quantile",
        "quantile:25.0",
        "quantile:256",
        "median",
        "SUM",
    ] {
        assert!(QueryFunction::try_from(text.to_owned()).is_err(), "{text}");
    }
    for text in ["sum", "mean", "quantile:1", "quantile:99"] {
        assert_eq!(QueryFunction::try_from(text.to_owned()).map(String::from), Ok(text.to_owned()));
    }
    let filtered = |filter| asked(&["plan"], &[], Some(filter)).check(&catalogue).map(drop);
    assert_eq!(filtered(among("plan", &["family plan", "free"])), Ok(()));
    for filter in [
        among("plan", &[]),
        among("plan", &["free", "family plan"]),
        among("plan", &["free", "free"]),
        Condition::All { of: vec![among("plan", &["free"])] },
        Condition::Any { of: vec![] },
        Condition::Any { of: vec![among("plan", &["free"]); 65] },
        (0..5).fold(among("plan", &["free"]), |inner, _| Condition::All { of: vec![inner.clone(), inner] }),
    ] {
        assert_eq!(filtered(filter.clone()), Err(QueryError::Filter), "{filter:?}");
    }
    let deepest = (0..4)
        .fold(among("plan", &["free"]), |inner, _| Condition::All { of: vec![among("year", &["1"]), inner] });
    assert_eq!(filtered(deepest.clone()), Ok(()));
    // It fits into a signed payload.
    let bytes = release::json::to_bytes(&vec![vec![asked(&["plan"], &[], Some(deepest))]]);
    assert!(bytes.len() > 100);
    let other = Query { dataset: name("other"), ..asked(&[], &[], None) };
    let missing = QueryError::NoTable { dataset: name("other"), table: name("visits.csv") };
    assert_eq!(other.check(&catalogue).map(drop), Err(missing));
}

/// A catalogue with a privacy budget that lets an answer cost so much.
fn with_budget(rho: u64) -> Catalogue {
    let mut catalogue = catalogue(&["visits.csv"]);
    if let CatalogueEntry::Dataset { privacy, .. } = &mut catalogue.entry {
        *privacy = Some(PrivacyBudget {
            rho_millionths: Count(10 * rho),
            answer_rho_millionths: Count(rho),
            delta_exponent: Count(6),
        });
    }
    catalogue
}

fn noise(rho: u64, groups: u64, bounds: &[(&str, i64, i64)]) -> QueryPrivacy {
    let bounds = bounds
        .iter()
        .map(|(column, least, most)| (name(column), Bounds { least: Whole(*least), most: Whole(*most) }));
    QueryPrivacy { rho_millionths: Count(rho), groups_per_unit: Count(groups), bounds: bounds.collect() }
}

#[test]
fn noise_is_answered_where_the_owner_gives_a_budget_and_each_mistake_in_it_has_a_name() {
    let sums = "SELECT plan, COUNT(*), SUM(visits) FROM hie GROUP BY plan";
    let bound = [("visits", 0, 20)];
    let ask = |sql: &str, privacy, catalogue: &Catalogue| match read(sql, Some(privacy), catalogue) {
        Ok(query) => Ok(query.output().unwrap()),
        Err(SqlError::Query(error)) => Err(error),
        Err(error) => panic!("{error}"),
    };
    let given = with_budget(10_000);
    let output = ask(sums, noise(10_000, 1, &bound), &given).unwrap();
    assert!(output.is_noised() && !output.states_counts());
    let DeclaredOutput::Table { columns, .. } = output else { panic!("an answer is a table") };
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["plan", "noisy.units", "noisy.sum.visits"]);
    let none = catalogue(&["visits.csv"]);
    let no_budget = QueryError::NoBudget { dataset: name("hie") };
    assert_eq!(ask(sums, noise(10_000, 1, &bound), &none), Err(no_budget));
    let price = QueryError::Price { dataset: name("hie"), asked: 10_001, most: 10_000 };
    assert_eq!(ask(sums, noise(10_001, 1, &bound), &given), Err(price));
    assert_eq!(ask(sums, noise(0, 1, &bound), &given), Err(QueryError::Rho));
    let bounds = || Err(QueryError::Bounds { column: name("visits") });
    assert_eq!(ask(sums, noise(1, 1, &[]), &given), bounds());
    assert_eq!(ask(sums, noise(1, 1, &[("visits", 20, 20)]), &given), bounds());
    assert_eq!(ask(sums, noise(1, 1, &[("visits", 0, 1_000_000_001)]), &given), bounds());
    let other = noise(1, 1, &[("visits", 0, 20), ("note", 0, 20)]);
    assert_eq!(ask(sums, other, &given), Err(QueryError::Bounds { column: name("note") }));
    for groups in [0, 99] {
        assert!(matches!(ask(sums, noise(1, groups, &bound), &given), Err(QueryError::GroupsPerUnit { .. })));
    }
    for (sql, function) in [
        ("SELECT AVG(visits) FROM hie", QueryFunction::Mean),
        ("SELECT APPROX_MEDIAN(visits) FROM hie", QueryFunction::Quantile(50)),
    ] {
        let refused = ask(sql, noise(1, 1, &bound), &given);
        assert_eq!(refused, Err(QueryError::NotNoisy { function }));
    }
}

#[test]
fn a_question_is_told_in_plain_words() {
    let catalogue = catalogue(&["visits.csv"]);
    let sql = "SELECT plan, COUNT(*), AVG(visits) FROM hie WHERE year = 1 AND plan IN ('free', 'it''s') GROUP BY plan";
    let words = read(sql, None, &catalogue).unwrap().words();
    assert_eq!(
        words,
        "how many people visits.csv of hie has, the mean of visits, of the rows where (year is \"1\" and plan is one of \
         \"free\", \"it's\"), for each plan; counted by the box, sums and means to 3 digits"
    );
    let noisy = noise(10_000, 2, &[("visits", -1, 20)]);
    let words =
        read("SELECT SUM(visits), COUNT(*), plan FROM hie GROUP BY plan", Some(noisy), &with_budget(10_000));
    assert_eq!(
        words.unwrap().words(),
        "how many people visits.csv of hie has, the sum of visits, for each plan; counted by the box, with noise at the price \
         of ρ = 0.01, each person counted in at most 2 groups: counts are off by 14.2 (one standard deviation), sums of visits, \
         -1 to 20 a person, by 282.9"
    );
    let words = read("SELECT APPROX_QUANTILE(visits, 0.75) FROM hie", None, &catalogue).unwrap().words();
    assert_eq!(
        words,
        "how many people visits.csv of hie has, the mean of visits around the rank above 75 %, all together; counted by the \
         box, sums and means to 3 digits"
    );
}
