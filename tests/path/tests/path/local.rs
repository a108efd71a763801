//! `databox job run --local`: a bundle at the researcher's desk, behind the box's wall, as root and as a normal user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::{ONE_METRIC, manifest, programs, small_data, write_metric};
use release::statement::{Catalogue, CatalogueEntry, Column, DatasetGrant, Table, ValueType, payload};
use release::value::Count;
use serde_json::Value;

use crate::{precision, questions};

/// A normal user of no machine in particular.
const NOBODY: u32 = 65_534;

/// A desk: a directory of the researcher's own, closed to others, and the programs.
struct Desk {
    root: tempfile::TempDir,
    programs: PathBuf,
    normal_user: bool,
}

impl Desk {
    fn new(normal_user: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let programs = match normal_user {
            // Copied, as a researcher has them who has no root anywhere.
            true => {
                let copies = root.path().join("bin");
                fs::create_dir(&copies).unwrap();
                for name in ["databox", "databox-launch", "databox-check"] {
                    fs::copy(programs().join(name), copies.join(name)).unwrap();
                }
                copies
            }
            false => programs(),
        };
        let desk = Self { root, programs, normal_user };
        desk.write("data/hie.csv", &small_data(100));
        desk.write("catalogue.json", &String::from_utf8(payload(&catalogue())).unwrap());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn bundle(&self, code: &str) {
        self.write("bundle/databox.toml", &manifest(ONE_METRIC));
        self.write("bundle/job.py", code);
    }

    /// Everything at the desk belongs to the researcher, and to nobody else.
    fn close(&self) {
        let user = self.normal_user.then_some(NOBODY);
        let mut open = vec![self.root.path().to_owned()];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
            }
            if path.symlink_metadata().unwrap().is_symlink() {
                continue;
            }
            if is_root() {
                chown(&path, user, user).unwrap();
            }
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        self.databox(&["job", "run", "--local", "bundle"], words)
    }

    /// `databox check` of the bundle.
    fn check(&self, words: &[&str]) -> Output {
        self.databox(&["check", "--manifest", "bundle/databox.toml"], words)
    }

    fn databox(&self, command_words: &[&str], words: &[&str]) -> Output {
        self.close();
        let mut command = match self.normal_user && is_root() {
            true => {
                let mut command = Command::new("/usr/bin/setpriv");
                command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
                command.arg(self.programs.join("databox"));
                command
            }
            false => Command::new(self.programs.join("databox")),
        };
        command.args(command_words).args(["--profile", "none/such.toml"]).args(words);
        command.current_dir(self.root.path()).env("HOME", self.root.path()).env("TMPDIR", self.root.path());
        command.output().unwrap()
    }

    /// Runs on the desk's own rows, and reads the one object that it answers.
    fn answer(&self, code: &str, exit: i32) -> Value {
        self.bundle(code);
        let output = self.run(&["--data", "hie=data", "--out", "out", "--json"]);
        answer(&output, exit)
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn answer(output: &Output, exit: i32) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(exit), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(&said).unwrap()
}

fn catalogue() -> Catalogue {
    let column = |name: &str, value_type, categories: &[&str]| Column {
        name: name.parse().unwrap(),
        value_type,
        categories: categories.iter().map(|value| (*value).to_owned()).collect(),
    };
    Catalogue {
        site: "demo.databox.example".parse().unwrap(),
        name: "hie".parse().unwrap(),
        version: Count(1),
        entry: CatalogueEntry::Dataset {
            snapshots: Vec::new(),
            unit_column: "zper".parse().unwrap(),
            tables: vec![Table {
                file: "hie.csv".parse().unwrap(),
                columns: vec![
                    column("zper", ValueType::Integer, &[]),
                    column("plan", ValueType::Category, &["deductible", "free", "shared"]),
                    column("visits", ValueType::Integer, &[]),
                    column("note", ValueType::Text, &[]),
                ],
            }],
            limits: DatasetGrant { release_bits: Count(1), answer_bits: Count(1) },
            licence: "none".to_owned(),
            source: "a test".to_owned(),
            privacy: None,
            public: Vec::new(),
        },
        issued_at: "2026-11-24T09:00:00Z".parse().unwrap(),
    }
}

/// Each test's steps, by whoever runs the tests and by a normal user.
fn at_both_desks(steps: impl Fn(Desk)) {
    steps(Desk::new(false));
    if is_root() {
        steps(Desk::new(true));
    }
}

const COUNT_ROWS: &str = "rows = len(open('/data/hie/hie.csv').readlines()) - 1\n";

#[test]
fn a_bundle_runs_on_the_researchers_own_rows_and_its_outputs_are_copied_and_judged() {
    at_both_desks(|desk| {
        let code = format!("{COUNT_ROWS}print('rows', rows)\n{}", write_metric("rows"));
        let ran = desk.answer(&code, 0);
        assert_eq!((&ran["state"], &ran["check"]["result"]), (&"PASS".into(), &"PASS".into()), "{ran}");
        assert_eq!((&ran["exitCode"], &ran["printed"]), (&0.into(), &"rows 200\n".into()));
        assert_eq!(fs::read_to_string(desk.path("out/metrics.json")).unwrap(), "{\"value\": 200}");
        assert_eq!(ran["data"][0], serde_json::json!({ "name": "hie", "madeUpRows": null }));
        assert_eq!(ran["wall"]["name"], "native");
        let layers = ran["wall"]["layers"].as_array().unwrap();
        let on = |name: &str| layers.iter().any(|layer| layer["name"] == name && layer["state"] == "on");
        assert!(on("seccomp") && on("empty-root") && on("network-namespace"), "{layers:?}");
        assert_eq!(on("own-host-user"), is_root() && !desk.normal_user);
    });
}

#[test]
fn a_question_is_answered_at_the_desk_by_the_boxs_own_program_and_told_to_be_right_where_that_is_not() {
    at_both_desks(|desk| {
        let question =
            "SELECT plan, COUNT(*), SUM(visits) FROM hie WHERE plan IN ('free', 'shared') GROUP BY plan";
        desk.write("bundle/databox.toml", &questions::manifest(question));
        let own = ["--data", "hie=data", "--catalogue", "catalogue.json", "--out", "out", "--json"];
        let ran = answer(&desk.run(&own), 0);
        let words = ran["question"]["words"].as_str().unwrap();
        assert!(
            words.starts_with("how many people hie.csv of hie has, the sum of visits, of the rows"),
            "{ran}"
        );
        // What is checked without a run is the same question.
        let checked = answer(&desk.check(&["--catalogue", "catalogue.json", "--json"]), 0);
        assert_eq!(
            (&checked["result"], &checked["question"]),
            (&"PASS".into(), &ran["question"]),
            "{checked}"
        );
        if desk.normal_user {
            // The program is not there.
            assert_eq!(ran["result"], "PASS", "{ran}");
            assert!(ran["answered"].as_str().unwrap().starts_with("the box answers it"), "{ran}");
            assert!(!desk.path("out").exists());
            return;
        }
        assert_eq!((&ran["state"], &ran["check"]["result"]), (&"PASS".into(), &"PASS".into()), "{ran}");
        let table = fs::read_to_string(desk.path("out/answer.csv")).unwrap();
        let counted: Vec<_> = table.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>()).collect();
        assert_eq!(counted, [["plan", "units"], ["free", "34"], ["shared", "33"]]);
        let made_up = ["--catalogue", "catalogue.json", "--out", "made-up", "--json"];
        assert_eq!(answer(&desk.run(&made_up), 0)["data"][0]["madeUpRows"], 1000);
        // And what was written is judged again, as that question's answer.
        let checked =
            answer(&desk.check(&["--catalogue", "catalogue.json", "--outputs", "out", "--json"]), 0);
        assert_eq!(checked["question"], words, "{checked}");
    });
}

#[test]
fn a_question_that_the_desk_would_refuse_is_refused_by_check_and_by_a_run_in_the_same_words() {
    at_both_desks(|desk| {
        for (sql, words) in [
            ("SELECT MAX(visits) FROM hie", "MAX(visits) is one person's value"),
            ("SELECT APPROX_QUANTILE(visits, 0.35) FROM hie", "the policy allows no quantile above 35 %"),
            ("SELECT colour, COUNT(*) FROM hie GROUP BY colour", "the file hie.csv has no column colour"),
        ] {
            desk.write("bundle/databox.toml", &questions::manifest(sql));
            let known = ["--catalogue", "catalogue.json", "--json"];
            let outputs = [desk.check(&known), desk.run(&[&known[..], &["--out", "out"]].concat())];
            for output in outputs {
                let told: Value = serde_json::from_slice(&output.stderr).unwrap();
                assert_eq!((&told["error"], output.status.code()), (&"QUERY".into(), Some(2)), "{told}");
                assert!(told["text"].as_str().unwrap().contains(words), "{told}");
            }
        }
        // Without the catalogue nobody can read it.
        desk.write("bundle/databox.toml", &questions::manifest("SELECT COUNT(*) FROM hie"));
        let output = desk.check(&["--json"]);
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(told["error"], "NO_CATALOGUE", "{told}");
    });
}

#[test]
fn the_precision_is_chosen_at_the_desk_as_in_the_box_and_without_a_run_the_check_says_that_it_was_not() {
    at_both_desks(|desk| {
        let cases = [("1 / 7", "I8", "int4", 290), ("0.001", "BF16", "bf16", 1026)];
        for (index, (second, dtype, word, bits)) in cases.into_iter().enumerate() {
            desk.bundle(&precision::train(second));
            desk.write("bundle/databox.toml", &precision::outputs());
            let evaluate = format!("{}print(accuracy)\n{}", precision::EVALUATE, precision::WRITE);
            desk.write("bundle/evaluate.py", &evaluate);
            let (out, canonical) = (format!("out-{index}"), format!("canonical-{index}"));
            let words = ["--data", "hie=data", "--out", &out, "--canonical", &canonical, "--json"];
            let ran = answer(&desk.run(&words), 0);
            assert_eq!(ran["check"]["precisions"]["model.safetensors"], word, "{ran}");
            assert_eq!(ran["check"]["releasedBits"], bits.to_string(), "{ran}");
            let model = fs::read(desk.path(&canonical).join("model.safetensors")).unwrap();
            assert!(String::from_utf8_lossy(&model).contains(&format!("\"dtype\":\"{dtype}\"")));
        }
        desk.write("bundle/evaluate.py", "raise SystemExit(1)\n");
        let ran = answer(&desk.run(&["--data", "hie=data", "--out", "out-2", "--json"]), 0);
        assert_eq!(ran["check"]["precisions"]["model.safetensors"], "bf16", "{ran}");
        let mut check = Command::new(desk.programs.join("databox"));
        check.args(["check", "--manifest", "bundle/databox.toml", "--outputs", "out-0"]);
        let checked = check.current_dir(desk.root.path()).output().unwrap();
        let told = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && told.contains("its evaluation was not run"), "{told}");
    });
}

#[test]
fn categories_that_no_catalogue_was_given_for_are_said_not_to_be_compared() {
    at_both_desks(|desk| {
        let table = "[[output]]\npath = \"t.csv\"\nkind = \"table\"\ncount_column = \"n\"\ncolumns = [{ name = \"plan\", \
                     type = \"category:hie.plan\" }, { name = \"n\", type = \"integer\" }]\n";
        desk.bundle("open('/out/t.csv', 'w').write('plan,n\\nP1,100\\n')\n");
        desk.write("bundle/databox.toml", &manifest(table));
        let own = ["--data", "hie=data", "--json"];
        let alone = answer(&desk.run(&[&own[..], &["--out", "out"]].concat()), 0);
        assert_eq!(alone["check"]["categoriesNotCompared"], serde_json::json!(["hie"]), "{alone}");
        let known = desk.run(&[&own[..], &["--out", "known", "--catalogue", "catalogue.json"]].concat());
        let known = answer(&known, 10);
        assert_eq!(known["check"]["categoriesNotCompared"], serde_json::json!(null), "{known}");
    });
}

#[test]
fn without_rows_they_are_made_up_from_the_catalogue_and_hold_its_categories() {
    at_both_desks(|desk| {
        desk.bundle(&format!(
            "import csv\nrows = list(csv.DictReader(open('/data/hie/hie.csv')))\n\
             assert {{row['plan'] for row in rows}} == {{'free', 'shared', 'deductible'}}\n\
             people = len({{row['zper'] for row in rows}})\n{}",
            write_metric("people")
        ));
        let output = desk.run(&["--catalogue", "catalogue.json", "--rows", "500", "--out", "out", "--json"]);
        let ran = answer(&output, 0);
        assert_eq!(ran["data"][0], serde_json::json!({ "name": "hie", "madeUpRows": 500 }));
        assert_eq!(fs::read_to_string(desk.path("out/metrics.json")).unwrap(), "{\"value\": 250}");
    });
}

#[test]
fn a_program_that_fails_tells_its_traceback_and_its_exit_code() {
    at_both_desks(|desk| {
        let ran = desk.answer("import sys\nprint('before', file=sys.stderr)\nrow = {}['plan']\n", 20);
        assert_eq!(
            (&ran["state"], &ran["outcome"], &ran["exitCode"]),
            (&"FAILED".into(), &"failed".into(), &1.into())
        );
        let printed = ran["printed"].as_str().unwrap();
        assert!(
            printed.starts_with("before\n") && printed.contains("line 3") && printed.contains("KeyError"),
            "{printed}"
        );
        assert_eq!((&ran["reason"], &ran["check"]), (&"PROGRAM_FAILED".into(), &Value::Null));
    });
}

#[test]
fn a_program_that_is_too_slow_or_too_large_or_not_there_is_told_so() {
    let desk = Desk::new(true);
    let ends = [
        ("sleeps", "import time\ntime.sleep(60)\n", "time-limit", "TIME_LIMIT"),
        ("fills", "open('/out/big', 'wb').write(bytes(300 << 20))\n", "space-limit", "OUTPUT_LIMIT"),
    ];
    for (name, code, outcome, reason) in ends {
        desk.bundle(code);
        if reason == "TIME_LIMIT" {
            desk.write("bundle/databox.toml", &manifest(ONE_METRIC).replace("30s", "3s"));
        }
        let output = desk.run(&["--data", "hie=data", "--out", name, "--json"]);
        let ran = answer(&output, 20);
        assert_eq!((&ran["outcome"], &ran["reason"]), (&outcome.into(), &reason.into()), "{name}");
    }
    desk.write("bundle/databox.toml", &manifest(ONE_METRIC).replace("\"python3\"", "\"perl\""));
    let ran = answer(&desk.run(&["--data", "hie=data", "--out", "none", "--json"]), 20);
    assert_eq!(ran["outcome"], "not-executable");
}

#[test]
fn a_row_in_an_output_fails_the_check_and_a_link_is_no_output_and_leads_nowhere() {
    at_both_desks(|desk| {
        let theft = "row = open('/data/hie/hie.csv').read().split('\\n')[5]\n\
                     open('/out/metrics.json', 'w').write('{\"value\": 1, \"' + row + '\": 2}')\n";
        let ran = desk.answer(theft, 10);
        assert_eq!((&ran["state"], &ran["check"]["result"]), (&"FAIL".into(), &"FAIL".into()));
        fs::remove_dir_all(desk.path("out")).unwrap();

        desk.write("secret", "of the researcher");
        let secret = desk.path("secret").display().to_string();
        let reaching = format!(
            "import os\nos.symlink({secret:?}, '/out/metrics.json')\n\
             assert not os.path.exists({secret:?}) and not os.path.exists('/etc/passwd')\n"
        );
        let ran = desk.answer(&reaching, 10);
        assert_eq!(
            ran["notPlain"][0],
            serde_json::json!({ "path": "metrics.json", "kind": "symbolic-link" })
        );
        assert!(!desk.path("out/metrics.json").exists(), "it leads to the researcher's file");
    });
}

#[test]
fn what_is_wrong_is_named_before_anything_runs() {
    let desk = Desk::new(true);
    desk.bundle(&write_metric("1"));
    desk.write("not-a-catalogue", "{}");
    desk.write("full/file", "kept");
    let good = ["--data", "hie=data", "--out", "out"];
    let cases: [(&str, &[&str], i32); 9] = [
        ("NO_DATA", &["--out", "out"], 1),
        ("DATA_ARGUMENT", &["--data", "hie", "--out", "out"], 2),
        ("DATA_UNKNOWN", &["--data", "hie=data", "--data", "other=data", "--out", "out"], 2),
        ("DATA_DIRECTORY", &["--data", "hie=nowhere", "--out", "out"], 1),
        ("CATALOGUE", &["--catalogue", "not-a-catalogue", "--out", "out"], 1),
        ("FILE", &["--catalogue", "nowhere", "--out", "out"], 1),
        ("OUT_NOT_EMPTY", &["--data", "hie=data", "--out", "full"], 6),
        ("RUNTIME_DIRECTORY", &["--data", "hie=data", "--out", "out", "--runtime", "nowhere"], 1),
        ("POLICY", &["--data", "hie=data", "--out", "out", "--policy", "not-a-catalogue"], 1),
    ];
    for (name, words, exit) in cases {
        refused(&desk, words, name, exit);
    }
    let text = manifest(ONE_METRIC);
    desk.write("bundle/databox.toml", &text.replace("host-python", "other"));
    refused(&desk, &good, "RUNTIME_UNKNOWN", 1);
    desk.write("bundle/databox.toml", "[job");
    refused(&desk, &good, "MANIFEST_NOT_TOML", 2);
    fs::remove_file(desk.path("bundle/databox.toml")).unwrap();
    refused(&desk, &good, "NO_MANIFEST", 1);
    assert!(desk.path("full/file").exists() && !desk.path("out").exists(), "nothing was made or lost");
    desk.write("bundle/databox.toml", &text);
    let door = std::os::unix::net::UnixListener::bind(desk.path("data/door")).unwrap();
    refused(&desk, &["--data", "hie=data", "--out", "out"], "DATA_OTHER_KIND", 1);
    drop(door);
    fs::remove_file(desk.path("data/door")).unwrap();
    answer(&desk.run(&[&good[..], &["--json"]].concat()), 0);
}

fn refused(desk: &Desk, words: &[&str], name: &str, exit: i32) {
    let output = desk.run(&[words, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{name}: {error}: {said}"));
    assert_eq!((told["error"].as_str(), output.status.code()), (Some(name), Some(exit)), "{told}");
    assert!(output.stdout.is_empty());
}

/// The README's words: a bundle to start from runs at once, on any data.
#[test]
fn the_bundle_to_start_from_runs_as_it_is() {
    let desk = Desk::new(false);
    databox::job::new(&desk.path("bundle")).unwrap_or_else(|failure| panic!("{failure}"));
    let output = desk.run(&["--data", "DATASET=data", "--out", "out"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("PASS  at most"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(Path::new(&desk.path("out/metrics.json")).is_file());
}

/// The same Python once as the box copies it and once through an image: one tree, and a bundle runs in it.
#[test]
fn an_image_becomes_the_same_runtime_as_the_tree_in_it_and_a_bundle_runs_there() {
    let desk = Desk::new(false);
    let at = |name: &str| desk.path(name).display().to_string();
    let databox = |words: &[&str]| {
        let output = Command::new(programs().join("databox")).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    databox(&["init", "--dir", &at("box"), "--site", "other.example"]);
    databox(&["runtime", "add", "python", "--home", &at("box"), "--from-host-python"]);
    let tree = desk.path("box/drop/runtimes/python/tree");

    let blobs = desk.path("image/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = blobs::Digest::of(bytes);
        fs::write(blobs.join(digest.to_string()), bytes).unwrap();
        let media_type = format!("application/vnd.oci.image.{kind}");
        serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    };
    let archive = Command::new("/bin/tar").args(["-czf", "-", "-C"]).arg(&tree).arg(".").output().unwrap();
    assert!(archive.status.success());
    let layer = blob("layer.v1.tar+gzip", &archive.stdout);
    let manifest = blob("manifest.v1+json", serde_json::json!({ "layers": [layer] }).to_string().as_bytes());
    desk.write("image/index.json", &serde_json::json!({ "manifests": [manifest] }).to_string());
    databox(&["runtime", "add", "image", "--home", &at("box"), "--from-oci", &at("image")]);
    let unpacked = desk.path("box/drop/runtimes/image/tree");
    assert_eq!(blobs::tree_digest(&unpacked).unwrap(), blobs::tree_digest(&tree).unwrap());

    desk.bundle(&format!("{COUNT_ROWS}{}", write_metric("rows")));
    desk.write("bundle/databox.toml", &manifest_of_runtime("image"));
    let runtime = unpacked.display().to_string();
    let output = desk.run(&["--data", "hie=data", "--out", "out", "--runtime", &runtime, "--json"]);
    assert_eq!(answer(&output, 0)["check"]["result"], "PASS");
}

fn manifest_of_runtime(name: &str) -> String {
    manifest(ONE_METRIC).replace("host-python", name)
}
