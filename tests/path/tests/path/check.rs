//! `databox check`: the researcher's desk runs the box's own code behind the same wall.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use databox::check::{Answer, CheckArguments, Checked, check, words};
use harness::{manifest, programs, small_data};

const OUTPUTS: &str = r#"[[output]]
path = "model.safetensors"
kind = "weights"
tensors = [{ name = "w", shape = [64] }]

[[output]]
path = "by_plan.csv"
kind = "table"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]
"#;

struct Desk {
    root: tempfile::TempDir,
}

impl Desk {
    /// A desk with an honest job's outputs. Its directories are closed to other users, as a researcher's are.
    fn new() -> Self {
        databox::programs::are_in(programs());
        let root = tempfile::tempdir().unwrap();
        for name in ["out", "data"] {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let desk = Self { root };
        desk.write("databox.toml", manifest(OUTPUTS).as_bytes());
        desk.write("data/hie.csv", small_data(100).as_bytes());
        desk.write("out/model.safetensors", &model((0..64).map(|value| (value as f32).sin())));
        desk.write("out/by_plan.csv", b"plan,n\nshared,33\nfree,34\n");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn check(&self) -> Checked {
        self.check_under(None)
    }

    fn check_under(&self, policy: Option<PathBuf>) -> Checked {
        self.check_with(CheckArguments { policy, ..self.arguments() })
    }

    fn check_with(&self, arguments: CheckArguments) -> Checked {
        check(&arguments, None).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn arguments(&self) -> CheckArguments {
        CheckArguments {
            manifest: self.path("databox.toml"),
            outputs: Some(self.path("out")),
            catalogue: Vec::new(),
            private: Some(self.path("data")),
            public: None,
            policy: None,
            canonical: Some(self.path("canonical")),
        }
    }
}

fn model(values: impl Iterator<Item = f32>) -> Vec<u8> {
    let data: Vec<u8> = values.chain(std::iter::repeat(0.0)).take(64).flat_map(f32::to_le_bytes).collect();
    let header = r#"{"w":{"dtype":"F32","shape":[64],"data_offsets":[0,256]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn rules(checked: &Checked) -> Vec<&str> {
    checked.files.iter().flat_map(|file| &file.findings).map(|finding| finding.rule.as_str()).collect()
}

#[test]
fn an_honest_job_passes_and_its_canonical_bytes_and_price_are_shown() {
    let desk = Desk::new();
    let checked = desk.check();
    assert_eq!(checked.result, Answer::Pass, "{checked:?}");
    let table = fs::read(desk.path("canonical/by_plan.csv")).unwrap();
    assert_eq!(table, b"plan,n\nfree,35\nshared,35\n");
    assert_eq!(checked.released_bits.0, 16 * 64 + 8 * (table.len() as u64 - 7));
    let shown = serde_json::to_value(&checked).unwrap();
    assert_eq!(shown["result"], "PASS");
    assert_eq!(shown["files"][1]["releasedBits"], (8 * (table.len() - 7)).to_string());
}

#[test]
fn noise_that_the_policy_adds_to_weights_is_told_and_is_not_where_it_adds_none_or_there_are_no_weights() {
    let noise = "noise of 10 % of each tensor's deviation is added where weights leave, as the policy asks\n";
    let strict = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/strict.toml");
    let told = |policy: Option<PathBuf>| words(&Desk::new().check_under(policy));
    let under_strict = told(Some(strict.into()));
    assert!(under_strict.contains(noise), "{under_strict}");
    assert!(!told(None).contains("noise"));
    let desk = Desk::new();
    desk.write(
        "databox.toml",
        manifest("[[output]]\npath = \"m.json\"\nkind = \"metrics\"\nnames = [\"n\"]\n").as_bytes(),
    );
    for name in ["model.safetensors", "by_plan.csv"] {
        fs::remove_file(desk.path("out").join(name)).unwrap();
    }
    desk.write("out/m.json", b"{\"n\":1}");
    assert!(!words(&desk.check_under(Some(strict.into()))).contains("noise"));
}

#[test]
fn what_was_not_searched_for_copies_is_said_and_a_place_without_data_is_refused() {
    let desk = Desk::new();
    let searched = words(&desk.check());
    let of_what = "searched for copies of 1 file(s) of data, ";
    assert!(
        searched.contains(of_what) && searched.contains(": model.safetensors, by_plan.csv\n"),
        "{searched}"
    );
    let desk = Desk::new();
    desk.write("out/notes.csv", small_data(30).as_bytes());
    let checked = desk.check();
    let told = words(&checked);
    assert!(told.contains("not searched, not written or without a canonical form: notes.csv\n"), "{told}");
    assert_eq!(serde_json::to_value(&checked).unwrap()["searched"]["notSearched"][0], "notes.csv");
    let desk = Desk::new();
    let alone = desk.check_with(CheckArguments { private: None, ..desk.arguments() });
    assert!(words(&alone).contains("no copies were looked for"), "{}", words(&alone));
    let shown = serde_json::to_value(&alone).unwrap();
    let not_checked = shown["notChecked"].as_array().unwrap();
    assert!(not_checked.iter().any(|rule| rule == "copy.exact"), "{shown}");
    assert!(shown["searched"].is_null(), "{shown}");
    fs::create_dir(desk.path("empty")).unwrap();
    for (private, error) in [("empty", "NO_DATA"), ("data/hie.csv", "FILE")] {
        let arguments = CheckArguments { private: Some(desk.path(private)), ..desk.arguments() };
        let refused = check(&CheckArguments { canonical: None, ..arguments }, None).unwrap_err();
        assert_eq!(refused.reason, error, "{refused}");
    }
}

#[test]
fn a_row_of_the_data_in_weights_fails_and_nothing_is_written() {
    let desk = Desk::new();
    let text = small_data(100);
    desk.write("out/model.safetensors", &model(text.bytes().skip(200).map(f32::from)));
    let checked = desk.check();
    assert_eq!(checked.result, Answer::Fail);
    assert!(rules(&checked).contains(&"copy.exact"), "{checked:?}");
    assert!(!desk.path("canonical").exists());
}

#[test]
fn the_heading_of_the_data_is_no_copy_as_in_the_box_whose_catalogue_lists_it() {
    let desk = Desk::new();
    let names: Vec<String> = (0..8).map(|column| format!("measurement_{column}")).collect();
    let row: Vec<String> = (0..8).map(|column| format!("{}", 1_000_003 * (column + 7))).collect();
    let (heading, row) = (names.join(","), row.join(","));
    desk.write("data/measured.csv", format!("{heading}\n{row}\n{row}\n").as_bytes());
    for (text, expected) in [(heading, Answer::Pass), (row, Answer::Fail)] {
        desk.write("out/model.safetensors", &model(text.bytes().map(f32::from)));
        let checked = desk.check();
        assert_eq!(checked.result, expected, "{text}: {checked:?}");
        let _ = fs::remove_dir_all(desk.path("canonical"));
    }
}

#[test]
fn what_is_given_as_public_is_no_copy_and_other_rows_are_one() {
    let desk = Desk::new();
    let text = small_data(100);
    desk.write("out/model.safetensors", &model(text.bytes().skip(200).take(64).map(f32::from)));
    fs::create_dir(desk.path("public")).unwrap();
    for (public, expected) in [(200..264, Answer::Pass), (400..464, Answer::Fail)] {
        desk.write("public/quoted.txt", &text.as_bytes()[public]);
        let given = CheckArguments { public: Some(desk.path("public")), ..desk.arguments() };
        let checked = desk.check_with(given);
        assert_eq!(checked.result, expected, "{checked:?}");
        let _ = fs::remove_dir_all(desk.path("canonical"));
    }
}

#[test]
fn a_link_is_found_as_a_link_and_small_groups_fail() {
    let desk = Desk::new();
    fs::remove_file(desk.path("out/by_plan.csv")).unwrap();
    symlink(desk.path("data/hie.csv"), desk.path("out/by_plan.csv")).unwrap();
    let checked = desk.check();
    assert_eq!((checked.result, checked.files[1].bytes.0), (Answer::Fail, 0));
    assert!(rules(&checked).contains(&"output.declared"), "{checked:?}");

    let desk = Desk::new();
    desk.write("out/by_plan.csv", b"plan,n\nfree,34\nshared,9\n");
    let checked = desk.check();
    assert_eq!(checked.result, Answer::Fail);
    assert!(rules(&checked).contains(&"table.smallest-count"), "{checked:?}");
}

#[test]
fn what_is_not_declared_is_charged_for() {
    let desk = Desk::new();
    desk.write(
        "databox.toml",
        b"[[output]]\npath = \"by_plan.csv\"\nkind = \"table\"\ncount_column = \"n\"\n",
    );
    fs::remove_file(desk.path("out/model.safetensors")).unwrap();
    let checked = desk.check();
    assert_eq!(checked.result, Answer::Pass, "{checked:?}");
    let table = fs::metadata(desk.path("canonical/by_plan.csv")).unwrap().len();
    assert_eq!(checked.released_bits.0, 8 * table);
}

/// Values of weights that take a little more than one part, as bfloat16.
const LARGE: usize = (4 << 20) + (64 << 10);

#[test]
fn a_copy_across_the_end_of_a_part_of_large_weights_is_found_and_zeros_in_its_place_pass() {
    let desk = Desk::new();
    let output = format!(
        "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\ntensors = [{{ name = \"w\", shape = [{LARGE}] }}]\n"
    );
    desk.write("databox.toml", manifest(&output).as_bytes());
    fs::remove_file(desk.path("out/by_plan.csv")).unwrap();
    let policy = databox::check::STANDARD
        .replace("bits = 134217728\n", "bits = 1073741824\n")
        .replace("max_file_bytes = 68157440\n", "max_file_bytes = 134217728\n");
    desk.write("policy.toml", policy.as_bytes());
    let header =
        format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":[{LARGE}],\"data_offsets\":[0,{}]}}}}", 4 * LARGE);
    let text = small_data(100);
    let stolen: Vec<u8> =
        text.bytes().skip(200).take(60).flat_map(|byte| f32::from(byte).to_le_bytes()).collect();
    // The first part ends within the stolen text.
    let at = 4 * ((egress::PART_BYTES / 2) as usize - 20);
    for (stolen, answer) in [(vec![0; stolen.len()], Answer::Pass), (stolen, Answer::Fail)] {
        let mut data = vec![0; 4 * LARGE];
        data[at..at + stolen.len()].copy_from_slice(&stolen);
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        desk.write("out/model.safetensors", &file);
        let checked = desk.check_under(Some(desk.path("policy.toml")));
        assert_eq!(checked.result, answer, "{checked:?}");
        assert_eq!(rules(&checked).contains(&"copy.exact"), answer == Answer::Fail, "{checked:?}");
        let _ = fs::remove_dir_all(desk.path("canonical"));
    }
}
