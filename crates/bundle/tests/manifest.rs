//! Manifests: what is accepted, what each mistake is called, and what the client then signs.

use std::collections::BTreeMap;
use std::error::Error as _;

use blobs::Digest;
use bundle::{Manifest, ManifestError, Question, RequestContext, SnapshotChoice};
use release::statement::{
    Better, Bounds, ColumnType, DeclaredOutput, GrantId, QUERY_PROGRAM, Query, Requester, SaltedPurpose,
};
use release::value::{Count, Name, Timestamp, Whole};

const MANIFEST: &str = r#"
[job]
name = "any-visit"
project = "hie"
runtime = "host-python"
command = ["python3", "train.py"]
purpose = "Logistic model of any visit on nine attributes"

[data.hie]
snapshot = "latest"

[limits]
cpus = 1
memory = "2GiB"
time = "20min"

[[output]]
path = "model.safetensors"
kind = "weights"
tensors = [{ name = "w", shape = [10] }]

[[output]]
path = "metrics.json"
kind = "metrics"
names = ["log_loss", "baseline_log_loss"]

[[output]]
path = "by_plan.csv"
kind = "table"
count_column = "n"
largest_column = "max_share"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }, { name = "mean_visits", type = "decimal:3" }, { name = "max_share", type = "decimal:3" }]
"#;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Parses the manifest with one piece of its text replaced.
fn changed(from: &str, to: &str) -> Result<Manifest, ManifestError> {
    assert!(MANIFEST.contains(from), "{from} is not in the manifest");
    Manifest::parse(&MANIFEST.replacen(from, to, 1))
}

fn context(latest: &[(&str, Digest)]) -> RequestContext {
    RequestContext {
        site: name("hospital"),
        grant: GrantId { id: name("g1"), version: Count(1), payload: Digest::of(b"grant").into() },
        requester: Requester { id: name("r1"), key_id: Digest::of(b"key") },
        bundle: Digest::of(b"bundle"),
        runtime: Digest::of(b"runtime"),
        latest: latest.iter().map(|(dataset, tree)| (name(dataset), *tree)).collect(),
        query: None,
        salt: [1; 32],
        nonce: [2; 32],
        issued_at: Timestamp::from_seconds(0).unwrap(),
        expires: Timestamp::from_seconds(60).unwrap(),
    }
}

#[test]
fn a_manifest_says_what_its_text_says() {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    assert_eq!(manifest.command, ["python3", "train.py"]);
    assert_eq!(manifest.limits.memory_bytes, Count(2 << 30));
    assert_eq!(manifest.limits.seconds, Count(1200));
    assert_eq!(manifest.data, BTreeMap::from([(name("hie"), SnapshotChoice::Latest)]));
    let DeclaredOutput::Table { columns, count_column, largest_column, .. } = &manifest.outputs[2] else {
        panic!("the third output is a table");
    };
    assert_eq!((count_column, largest_column), (&Some(name("n")), &Some(name("max_share"))));
    let plan = ColumnType::Category { dataset: name("hie"), category: name("plan") };
    assert_eq!((&columns[0].column_type, &columns[2].column_type), (&plan, &ColumnType::Decimal(3)));
}

#[test]
fn a_request_says_what_the_manifest_says() {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let tree = Digest::of(b"tree");
    let request = manifest.request(context(&[("hie", tree), ("other", Digest::of(b"no"))])).unwrap();
    assert_eq!((request.job, request.project), (manifest.job, manifest.project));
    assert_eq!((request.limits, request.outputs), (manifest.limits, manifest.outputs));
    assert_eq!(
        (request.runtime.name, request.runtime.tree),
        (manifest.runtime, Digest::of(b"runtime").into())
    );
    assert_eq!(request.datasets.len(), 1);
    assert_eq!((&request.datasets[0].name, request.datasets[0].tree), (&name("hie"), tree.into()));
    assert_eq!(request.purpose, SaltedPurpose::of(&[1; 32], &manifest.purpose));
}

#[test]
fn a_snapshot_is_the_newest_or_one_by_its_digest() {
    let tree = Digest::of(b"an older one");
    let manifest = changed("latest", &tree.to_string()).unwrap();
    let request = manifest.request(context(&[])).unwrap();
    assert_eq!(request.datasets[0].tree, tree.into());
    let unknown = Manifest::parse(MANIFEST).unwrap().request(context(&[("other", tree)]));
    assert!(matches!(unknown, Err(ManifestError::SnapshotUnknown { dataset }) if dataset == name("hie")));
    assert!(matches!(changed("latest", "newest"), Err(ManifestError::Snapshot { .. })));
}

#[test]
fn an_unknown_or_missing_key_is_named_with_its_line() {
    for (from, to, key) in [
        ("cpus = 1", "cpus = 1\ncpu_time = 3", "cpu_time"),
        ("snapshot", "snapshotted", "snapshotted"),
        ("cpus = 1\n", "", "cpus"),
        ("shape = [10]", "shape = [10], dtype = \"f64\"", "dtype"),
        ("[limits]", "[limit]", "limit"),
        ("count_column", "count-column", "count-column"),
        ("type = \"integer\"", "type = \"integer\", note = \"x\"", "note"),
    ] {
        let error = changed(from, to).unwrap_err();
        assert!(matches!(error, ManifestError::Form(_)), "{to}: {error:?}");
        assert!(error.source().unwrap().to_string().contains(key), "{to}");
    }
    assert!(matches!(Manifest::parse_bytes(b"\xff"), Err(ManifestError::NotText)));
    assert!(matches!(Manifest::parse("[job"), Err(ManifestError::Form(_))));
    assert!(matches!(changed("cpus = 1", "cpus = -1"), Err(ManifestError::Form(_))));
    assert!(matches!(changed("[job]", "[job]\nname = \"twice\""), Err(ManifestError::Form(_))));
}

#[test]
fn names_commands_and_purposes_have_their_form() {
    use ManifestError as E;
    let not_a_name =
        |wanted: &'static str| move |error: &E| matches!(error, E::NotAName { key, .. } if key == wanted);
    type Check = Box<dyn Fn(&E) -> bool>;
    let cases: Vec<(&str, &str, Check)> = vec![
        ("\"any-visit\"", "\"any visit\"", Box::new(not_a_name("job.name"))),
        ("\"hie\"", "\"../hie\"", Box::new(not_a_name("job.project"))),
        ("\"host-python\"", "\"\"", Box::new(not_a_name("job.runtime"))),
        ("[data.hie]", "[data.\"h/e\"]", Box::new(not_a_name("data"))),
        ("\"metrics.json\"", "\"a/metrics.json\"", Box::new(not_a_name("output.path"))),
        ("\"log_loss\"", "\"log loss\"", Box::new(not_a_name("output.names"))),
        ("[\"python3\", \"train.py\"]", "[]", Box::new(|error| matches!(error, E::Command))),
        ("\"python3\"", "\"\"", Box::new(|error| matches!(error, E::Command))),
        ("train.py", "train.py\\u0000", Box::new(|error| matches!(error, E::Command))),
        ("Logistic", "\\u001b[2JLogistic", Box::new(|error| matches!(error, E::Purpose))),
    ];
    for (from, to, expected) in cases {
        let error = changed(from, to).unwrap_err();
        assert!(expected(&error), "{to}: {error:?}");
    }
    let purpose = |text: &str| changed("Logistic model of any visit on nine attributes", text);
    assert!(matches!(purpose(""), Err(E::Purpose)));
    assert!(matches!(purpose("  "), Err(E::Purpose)));
    assert!(matches!(purpose(&"p".repeat(2001)), Err(E::Purpose)));
    assert!(purpose(&"p".repeat(2000)).is_ok());
    assert!(changed("train.py", "train.py\", \"--länge=3 4").is_ok());
}

#[test]
fn limits_have_units_and_bounds() {
    use ManifestError as E;
    for memory in
        ["2", "2GB", "2 GiB", "GiB", "-2GiB", "2.5GiB", "15MiB", "4097GiB", "99999999999999999999GiB"]
    {
        assert!(matches!(changed("2GiB", memory), Err(E::Memory { value }) if value == memory), "{memory}");
    }
    for time in ["20", "20m", "20 min", "0s", "721h", "min", "1h30min"] {
        assert!(matches!(changed("20min", time), Err(E::Time { value }) if value == time), "{time}");
    }
    assert!(matches!(changed("cpus = 1", "cpus = 0"), Err(E::Cpus)));
    assert!(matches!(changed("cpus = 1", "cpus = 1025"), Err(E::Cpus)));
    assert_eq!(changed("20min", "720h").unwrap().limits.seconds, Count(720 * 3600));
    assert_eq!(changed("2GiB", "512MiB").unwrap().limits.memory_bytes, Count(512 << 20));
}

#[test]
fn outputs_declare_what_their_kind_has_and_nothing_else() {
    use ManifestError as E;
    let table = "kind = \"table\"";
    assert!(
        matches!(changed("\"weights\"", "\"pickle\""), Err(E::OutputKind { kind, .. }) if kind == "pickle")
    );
    assert!(matches!(
        changed("\"weights\"", "\"metrics\""),
        Err(E::OutputKeyForeign { key: "tensors", kind: "metrics", .. })
    ));
    assert!(matches!(
        changed("names = [\"log_loss\", \"baseline_log_loss\"]", ""),
        Err(E::OutputKeyMissing { key: "names", .. })
    ));
    assert!(matches!(
        changed(table, "kind = \"figure\""),
        Err(E::OutputKeyForeign { key: "largest_column", .. })
    ));
    assert!(matches!(
        changed("[\"log_loss\", \"baseline_log_loss\"]", "[]"),
        Err(E::OutputItems { key: "names", .. })
    ));
    assert!(matches!(changed("\"baseline_log_loss\"", "\"log_loss\""), Err(E::OutputItemTwice { .. })));
    assert!(matches!(changed("by_plan.csv", "Metrics.JSON"), Err(E::OutputTwice { .. })));
    let without_outputs = MANIFEST.split("[[output]]").next().unwrap();
    assert!(matches!(Manifest::parse(&format!("output = []\n{without_outputs}")), Err(E::Outputs)));
    assert!(changed("largest_column = \"max_share\"\n", "").is_ok());
    assert!(matches!(
        changed("count_column = \"n\"", "count_column = \"n\"\ndegrees_of_freedom = \"n\""),
        Err(E::OutputKeyForeign { key: "degrees_of_freedom", .. })
    ));
}

#[test]
fn what_the_rules_of_tables_and_models_ask_names_what_is_declared() {
    use ManifestError as E;
    let columns = "columns = [{ name = \"plan\"";
    let zeros = |rows: &str| changed(columns, &format!("structural_zeros = {rows}\n{columns}"));
    for rows in ["[[]]", "[[\"free\", \"male\"]]", "[[\"free\"], [\"free\"]]"] {
        assert!(matches!(zeros(rows), Err(E::StructuralZeros { .. })), "{rows}");
    }
    for rows in ["[]", "[[\"free\"]]", "[[\"free\"], [\"individual\"]]"] {
        assert!(zeros(rows).is_ok(), "{rows}");
    }
    let names = "names = [\"log_loss\", \"baseline_log_loss\"]";
    let freedom = |name: &str| changed(names, &format!("{names}\ndegrees_of_freedom = \"{name}\""));
    assert!(matches!(freedom("n"), Err(E::DegreesOfFreedom { .. })));
    assert!(freedom("log_loss").is_ok());
    let largest = "largest_column = \"max_share\"";
    let two = |column: &str| changed(largest, &format!("two_largest_column = \"{column}\"\n{largest}"));
    assert!(matches!(two("n"), Err(E::RoleColumn { key: "two_largest_column", wanted: "decimal", .. })));
    assert!(two("mean_visits").is_ok());
}

#[test]
fn shapes_and_columns_make_sense() {
    use ManifestError as E;
    for shape in
        ["[0]", "[10, 0]", "[1, 1, 1, 1, 1, 1, 1, 1, 1]", "[1048576, 1048576]", "[4294967296, 4294967296]"]
    {
        assert!(matches!(changed("[10]", shape), Err(E::Shape { .. })), "{shape}");
    }
    assert!(changed("[10]", "[]").is_ok());
    assert!(changed("[10]", "[1048576, 1048575]").is_ok());
    for column_type in
        ["text", "decimal", "decimal:10", "decimal:03", "category:plan", "category:hie.plan.x", ""]
    {
        // A category may itself have a dot in its name, but `plan.x` is then one name, so only the rest is refused.
        let result = changed("\"category:hie.plan\"", &format!("\"{column_type}\""));
        let one_name = column_type == "category:hie.plan.x";
        assert!(one_name == result.is_ok(), "{column_type}: {result:?}");
    }
    assert!(matches!(
        changed("category:hie.plan", "category:census.plan"),
        Err(E::CategoryWithoutData { dataset, .. }) if dataset == name("census")
    ));
    assert!(matches!(
        changed("count_column = \"n\"", "count_column = \"mean_visits\""),
        Err(E::RoleColumn { key: "count_column", wanted: "integer", .. })
    ));
    assert!(matches!(
        changed("largest_column = \"max_share\"", "largest_column = \"n\""),
        Err(E::RoleColumn { key: "largest_column", wanted: "decimal", .. })
    ));
    assert!(matches!(changed("count_column = \"n\"", "count_column = \"rows\""), Err(E::RoleColumn { .. })));
}

#[test]
fn no_dataset_is_refused() {
    assert!(matches!(changed("[data.hie]\nsnapshot = \"latest\"", "[data]"), Err(ManifestError::Datasets)));
}

#[test]
fn a_question_stands_in_the_place_of_code_and_its_output_follows_from_it() {
    let question = r#"
[job]
name = "by-plan"
project = "hie"
runtime = "queries"
purpose = "People by plan"

[query]
sql = "SELECT plan, COUNT(*) FROM hie GROUP BY plan"

[data.hie]
snapshot = "latest"

[limits]
cpus = 1
memory = "1GiB"
time = "1min"
"#;
    let manifest = Manifest::parse(question).unwrap();
    let sql = "SELECT plan, COUNT(*) FROM hie GROUP BY plan".to_owned();
    assert_eq!(manifest.query, Some(Question { sql, privacy: None }));
    assert_eq!((&manifest.command[..], manifest.outputs.len()), (&[QUERY_PROGRAM.to_owned()][..], 0));
    let query = Query {
        dataset: name("hie"),
        table: name("hie.csv"),
        groups: vec![name("plan")],
        values: vec![],
        filter: None,
        privacy: None,
    };
    let latest = [("hie", Digest::of(b"tree"))];
    let asked = RequestContext { query: Some(query.clone()), ..context(&latest) };
    let request = manifest.request(asked.clone()).unwrap();
    assert_eq!(request.outputs, [query.output().unwrap()]);
    assert_eq!(request.query, Some(query));
    // What was not read is not signed, and code does not become a question.
    assert!(matches!(manifest.request(context(&latest)), Err(ManifestError::QueryUnread)));
    let code = Manifest::parse(MANIFEST).unwrap();
    assert!(matches!(code.request(asked), Err(ManifestError::QueryUnread)));
    let output = "\n[[output]]\npath = \"m.json\"\nkind = \"metrics\"\nnames = [\"a\"]\n";
    for beside in
        [question.replace("runtime =", "command = [\"python3\"]\nruntime ="), format!("{question}{output}")]
    {
        assert!(matches!(Manifest::parse(&beside), Err(ManifestError::QueryAndCode)), "{beside}");
    }
    // With noise: whole numbers of what it costs and of what one person may add.
    let noisy = |rest: &str| question.replace("\n[data", &format!("\n[query.privacy]\n{rest}\n\n[data"));
    let privacy = |text: &str| Manifest::parse(&noisy(text)).map(|one| one.query.unwrap().privacy.unwrap());
    let found = privacy("rho = \"0.01\"").unwrap();
    assert_eq!(
        (found.rho_millionths, found.groups_per_unit, found.bounds.len()),
        (Count(10_000), Count(1), 0)
    );
    let found = privacy("rho = \"1\"\ngroups_per_unit = 3\nbounds = { visits = [-1, 20] }").unwrap();
    let bounds = Bounds { least: Whole(-1), most: Whole(20) };
    assert_eq!((found.groups_per_unit, found.bounds), (Count(3), [(name("visits"), bounds)].into()));
    for rho in ["0", "5", "1e-3", "0.0000001", "-1"] {
        let refused = privacy(&format!("rho = \"{rho}\""));
        assert!(matches!(refused, Err(ManifestError::Rho { .. })), "{rho}");
    }
    for unfit in
        ["rho = 0.01", "", "rho = \"1\"\nbounds = { visits = [0.5, 2] }", "rho = \"1\"\nepsilon = \"1\""]
    {
        assert!(privacy(unfit).is_err(), "{unfit}");
    }
    let neither = question.replace("[query]\nsql = \"SELECT plan, COUNT(*) FROM hie GROUP BY plan\"\n", "");
    assert!(matches!(Manifest::parse(&neither), Err(ManifestError::Command)));
}

#[test]
fn an_evaluation_stands_in_the_request_and_each_mistake_in_it_has_a_name() {
    let with = |evaluation: &str| {
        changed("shape = [10] }]\n", &format!("shape = [10] }}]\nevaluation = {evaluation}\n"))
    };
    let manifest = with(r#"{ command = ["python3", "e.py"], metric = "loss", better = "lower" }"#).unwrap();
    let evaluation = manifest.outputs[0].evaluation().unwrap();
    assert_eq!(evaluation.command, ["python3", "e.py"]);
    assert_eq!((evaluation.metric.as_str(), evaluation.better), ("loss", Better::Lower));
    let request = manifest.request(context(&[("hie", Digest::of(b"tree"))])).unwrap();
    assert_eq!(request.outputs[0].evaluation(), Some(evaluation));
    let named = |evaluation: &str| with(evaluation).unwrap_err().name();
    let cases = [
        (r#"{ command = [], metric = "loss", better = "lower" }"#, "MANIFEST_EVALUATION_COMMAND"),
        (r#"{ command = ["e\u0000"], metric = "loss", better = "lower" }"#, "MANIFEST_EVALUATION_COMMAND"),
        (r#"{ command = ["e"], metric = "the loss", better = "lower" }"#, "MANIFEST_NOT_A_NAME"),
        (r#"{ command = ["e"], metric = "loss", better = "less" }"#, "MANIFEST_EVALUATION_BETTER"),
        (r#"{ command = ["e"], metric = "loss" }"#, "MANIFEST_KEY_MISSING"),
        (r#"{ command = ["e"], metric = "loss", better = "lower", worst = 1 }"#, "MANIFEST_KEY_UNKNOWN"),
    ];
    for (evaluation, expected) in cases {
        assert_eq!(named(evaluation), expected, "{evaluation}");
    }
    let digest = "0".repeat(64);
    let fixed = format!(
        "shape = [10], sha256 = \"{digest}\" }}]\nevaluation = {{ command = [\"e\"], metric = \"loss\", better = \"lower\" }}\n"
    );
    let refused = changed("shape = [10] }]\n", &fixed).unwrap_err();
    assert_eq!(refused.name(), "MANIFEST_FIXED_AND_EVALUATED");
    let foreign = "names = [\"log_loss\", \"baseline_log_loss\"]\nevaluation = { command = [\"e\"], metric = \"m\", better = \"lower\" }";
    let refused = changed("names = [\"log_loss\", \"baseline_log_loss\"]", foreign).unwrap_err();
    assert_eq!(refused.name(), "MANIFEST_OUTPUT_KEY_FOREIGN");
}
