//! `databox.toml` that is not what it should be: said at the desk, before anything is sent.

use std::fs;

use harness::{ONE_METRIC, TestBox, manifest, write_metric};

use crate::command;
use crate::table::Table;

const GROUP: &str = "manifest";

const WEIGHTS: &str =
    "[[output]]\npath = \"m.safetensors\"\nkind = \"weights\"\ntensors = [{ name = \"w\", shape = [0] }]\n";
const TABLE: &str =
    "[[output]]\npath = \"t.csv\"\nkind = \"table\"\ncolumns = [{ name = \"n\", type = \"TYPE\" }]\n";

/// What is changed in a good manifest, and the name of the error.
fn changes() -> Vec<(&'static str, &'static str, String)> {
    let good = manifest(ONE_METRIC);
    let put = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    vec![
        ("a key that nobody knows", "MANIFEST_KEY_UNKNOWN", put("[limits]", "[limits]\ngpus = 1")),
        ("a key that is missing", "MANIFEST_KEY_MISSING", put("runtime = \"host-python\"\n", "")),
        ("a key twice", "MANIFEST_KEY_TWICE", put("cpus = 1", "cpus = 1\ncpus = 2")),
        ("a word where a number belongs", "MANIFEST_TYPE", put("cpus = 1", "cpus = \"one\"")),
        ("a limit that is NaN", "MANIFEST_TYPE", put("cpus = 1", "cpus = nan")),
        ("no processor", "MANIFEST_CPUS", put("cpus = 1", "cpus = 0")),
        ("no device of a kind", "MANIFEST_DEVICES", put("[limits]", "[devices]\ngpu = 0\n\n[limits]")),
        ("memory that is NaN", "MANIFEST_MEMORY", put("1GiB", "NaN")),
        ("a time without an end", "MANIFEST_TIME", put("30s", "inf")),
        ("no TOML", "MANIFEST_NOT_TOML", "[job\n".to_owned()),
        ("no command", "MANIFEST_COMMAND", put("[\"python3\", \"job.py\"]", "[]")),
        ("no purpose", "MANIFEST_PURPOSE", put("A test of the box", "")),
        ("a snapshot that is no digest", "MANIFEST_SNAPSHOT", put("latest", "yesterday")),
        ("no outputs", "MANIFEST_OUTPUTS", format!("output = []\n{}", manifest(""))),
        ("the same output twice", "MANIFEST_OUTPUT_TWICE", manifest(&ONE_METRIC.repeat(2))),
        ("an output of an unknown kind", "MANIFEST_OUTPUT_KIND", put("\"metrics\"", "\"pickle\"")),
        ("an output outside of /out", "MANIFEST_NOT_A_NAME", put("metrics.json", "../metrics.json")),
        ("a metric without names", "MANIFEST_OUTPUT_KEY_MISSING", put("names = [\"value\"]\n", "")),
        ("a metric with tensors", "MANIFEST_OUTPUT_KEY_FOREIGN", put("names =", "tensors = []\nnames =")),
        ("a metric twice", "MANIFEST_OUTPUT_ITEM_TWICE", put("[\"value\"]", "[\"value\", \"value\"]")),
        ("a list of no metrics", "MANIFEST_OUTPUT_ITEMS", put("[\"value\"]", "[]")),
        ("a tensor of no values", "MANIFEST_SHAPE", manifest(WEIGHTS)),
        (
            "the share of the two largest alone",
            "MANIFEST_SHARE_ALONE",
            manifest(
                &TABLE
                    .replace("columns =", "two_largest_column = \"n\"\ncolumns =")
                    .replace("TYPE", "decimal:3"),
            ),
        ),
        (
            "a category that the dataset does not have",
            "CATEGORY",
            manifest(&TABLE.replace("TYPE", "category:hie.plann")),
        ),
        (
            "a tensor with a digest that is none",
            "MANIFEST_TENSOR_DIGEST",
            manifest(&WEIGHTS.replace("[0] }", "[1], sha256 = \"abc\" }")),
        ),
        ("a column of free text", "MANIFEST_COLUMN_TYPE", manifest(&TABLE.replace("TYPE", "text"))),
        (
            "a category of data that is not asked for",
            "MANIFEST_CATEGORY_WITHOUT_DATA",
            manifest(&TABLE.replace("TYPE", "category:other.plan")),
        ),
        ("a project without a grant", "GRANT", put("project = \"hie\"", "project = \"other\"")),
        ("a runtime that is not there", "NO_RUNTIME", put("host-python", "host-perl")),
        ("a dataset that is not there", "DATA", put("[data.hie]", "[data.other]")),
    ]
}

pub async fn cases(tested: &TestBox, table: &mut Table) {
    let profile = command::profile(tested, "kim");
    let submit = |directory: &std::path::Path| {
        command::run(&["--profile", profile.to_str().unwrap(), "job", "submit", directory.to_str().unwrap()])
    };
    for (index, (case, expected, text)) in changes().into_iter().enumerate() {
        let files = [("databox.toml", &text[..]), ("job.py", "")];
        let bundle = tested.bundle(&format!("manifest-{index}"), &files);
        table.refused(GROUP, case, expected, &command::name(&submit(&bundle)));
    }
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1"))];
    let bundle = tested.bundle("good", &files);
    fs::write(bundle.join("databox.toml"), b"[job]\nname = \"\xff\"\n").unwrap();
    table.refused(GROUP, "no UTF-8", "MANIFEST_NOT_TEXT", &command::name(&submit(&bundle)));
    fs::remove_file(bundle.join("databox.toml")).unwrap();
    table.refused(GROUP, "none at all", "NO_MANIFEST", &command::name(&submit(&bundle)));
    fs::write(bundle.join("databox.toml"), manifest(ONE_METRIC)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bundle.join("link")).unwrap();
    table.refused(GROUP, "a link beside it", "BUNDLE_SOURCE_KIND", &command::name(&submit(&bundle)));
    fs::remove_file(bundle.join("link")).unwrap();
    fs::write(bundle.join("naïve.py"), "").unwrap();
    table.refused(
        GROUP,
        "a file name with an accent beside it",
        "BUNDLE_PATH_CHARACTER",
        &command::name(&submit(&bundle)),
    );
    fs::remove_file(bundle.join("naïve.py")).unwrap();
    table.taken(GROUP, "manifest", command::said(&submit(&bundle)));
}
