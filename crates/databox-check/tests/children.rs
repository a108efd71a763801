//! The subcommands as the box runs them, one process each, on real directories. The wall around them is tested
//! elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use blobs::Digest;
use egress::rules::{Written, explain};
use egress::{Detail, ScanTask, Task};
use release::report::{OutputReport, ScanReport, VIEWS};
use release::rule::Rule;
use release::statement::{DeclaredOutput, RuleResult};

const WEIGHTS: &str =
    r#"{"kind":"weights","path":"model.safetensors","tensors":[{"name":"w","shape":["64"]}]}"#;
const METRICS: &str = r#"{"kind":"metrics","path":"metrics.json","names":["loss"]}"#;
const SECRET: &str = "125024,free,3,patient-00f1-record-of-1974,Jane Roe,12 Elm Street, moved to";

struct Desk {
    root: tempfile::TempDir,
    task: Task,
}

impl Desk {
    fn new(declared: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["out", "canonical", "views", "data", "data/hie"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let rows: String = (0..50).map(|row| format!("{row},nothing,of,note,{}\n", row * 7919)).collect();
        fs::write(root.path().join("data/hie/hie.csv"), format!("{rows}{SECRET}\n{rows}")).unwrap();
        let outputs: Vec<DeclaredOutput> =
            declared.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let policy = include_str!("../../../policies/egress/standard.toml").to_owned();
        Self {
            root,
            task: Task {
                policy,
                outputs,
                catalogue: Vec::new(),
                query: None,
                precisions: BTreeMap::new(),
                as_written: false,
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, subcommand: &str) -> Output {
        let task = match subcommand {
            "scan" => ScanTask::new(&self.task.outputs, &self.task.catalogue).to_json(),
            _ => self.task.to_json(),
        };
        run(subcommand, self.root.path(), &task)
    }

    /// The report of `canonicalise` or `judge`, and what it says of the rule.
    fn report(&self, subcommand: &str) -> (OutputReport, Detail) {
        let output = self.run(subcommand);
        assert!(output.status.success(), "{output:?}");
        let (report, detail) = output.stdout.split_at(OutputReport::BYTES);
        (OutputReport::from_bytes(report).unwrap(), serde_json::from_slice(detail).unwrap())
    }

    /// The report of `views`. It says nothing of any rule but its own.
    fn viewed(&self) -> RuleResult {
        let views = self.run("views");
        assert!(views.status.success(), "{views:?}");
        let mut report = OutputReport::from_bytes(&views.stdout).unwrap();
        let made = std::mem::replace(&mut report.rules[Rule::CopyViews.index()], RuleResult::NotChecked);
        assert_eq!(report, OutputReport::unchecked());
        made
    }

    fn scanned(&self) -> ScanReport {
        assert_eq!(self.viewed(), RuleResult::Passed);
        self.searched()
    }

    fn searched(&self) -> ScanReport {
        let scan = self.run("scan");
        assert!(scan.status.success(), "{scan:?}");
        ScanReport::from_bytes(&scan.stdout).unwrap()
    }
}

fn run(subcommand: &str, root: &Path, task: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_databox-check"));
    command.arg(subcommand);
    for name in ["out", "canonical", "views", "data", "index", "public"] {
        command.arg(format!("--{name}")).arg(root.join(name));
    }
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments does not wait for its task.
    if let Err(error) = child.stdin.take().unwrap().write_all(task) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    child.wait_with_output().unwrap()
}

fn model(values: impl Iterator<Item = f32>) -> Vec<u8> {
    model_of(&values.chain(std::iter::repeat(0.0)).take(64).collect::<Vec<f32>>())
}

fn model_of(values: &[f32]) -> Vec<u8> {
    model_in(&format!("[{}]", values.len()), values)
}

fn model_in(shape: &str, values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let bytes = data.len();
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn an_honest_job_passes_all_four() {
    let desk = Desk::new(&[WEIGHTS, METRICS]);
    desk.write("out/model.safetensors", model((0..64).map(|value| (value as f32).sin())));
    desk.write("out/metrics.json", "{\"loss\":0.25}");
    let (formed, _) = desk.report("canonicalise");
    assert_eq!(formed.rules[Rule::OutputDeclared.index()], RuleResult::Passed);
    let (judged, detail) = desk.report("judge");
    assert!(!judged.rules.contains(&RuleResult::Blocked), "{detail:?}");
    assert_eq!((judged.bits[0], judged.bits[1]), (64 * 16, 8 * 4));
    let scan = desk.scanned();
    assert_eq!(scan.rules[Rule::CopyExact.index()], RuleResult::Passed);
    assert_eq!(scan.data_bytes, fs::metadata(desk.path("data/hie/hie.csv")).unwrap().len());
}

#[test]
fn a_row_of_the_data_written_as_one_character_a_weight_is_found() {
    let desk = Desk::new(&[WEIGHTS]);
    desk.write("out/model.safetensors", model(SECRET.bytes().map(f32::from)));
    let (formed, _) = desk.report("canonicalise");
    assert!(!formed.rules.contains(&RuleResult::Blocked), "the form alone says nothing of copies");
    let scan = desk.scanned();
    assert_eq!(scan.rules[Rule::CopyExact.index()], RuleResult::Blocked);
    let views: Vec<&str> = scan.places.iter().map(|place| VIEWS[usize::from(place.view)]).collect();
    assert!(views.contains(&"tensor-value"), "{views:?}");
}

#[test]
fn text_in_a_tensor_of_three_dimensions_in_reverse_order_is_found_and_other_text_is_not() {
    for (text, found) in [(SECRET, true), (&SECRET.replace(char::is_alphanumeric, "x"), false)] {
        let desk = Desk::new(&[&WEIGHTS.replace(r#"["64"]"#, r#"["4","4","4"]"#)]);
        let mut values = [0.0; 64];
        for (at, byte) in text.bytes().take(64).enumerate() {
            // The first dimension is counted innermost.
            values[at % 4 * 16 + at / 4 % 4 * 4 + at / 16] = f32::from(byte);
        }
        desk.write("canonical/model.safetensors", model_in("[4,4,4]", &values));
        let expected = if found { RuleResult::Blocked } else { RuleResult::Passed };
        assert_eq!(desk.scanned().rules[Rule::CopyExact.index()], expected);
    }
}

/// Rows as text with more digits than the data's and other separators, packed in hexadecimal, one character a weight. No 31
/// bytes of it stand in the data.
#[test]
fn rows_in_text_that_is_packed_are_found_as_numbers_and_rows_of_no_one_are_not() {
    let mut state = 3_u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let people: Vec<[u64; 5]> = (0..2000)
        .map(|_| [100 + draw(90), 1000 + draw(900), 20 + draw(70), 4000 + draw(5000), 300 + draw(600)])
        .collect();
    let lines: String =
        people.iter().map(|row| row.map(|value| value.to_string()).join(",") + "\n").collect();
    let no_one = (0..60).map(|_| std::array::from_fn(|column| people[draw(2000) as usize][column]));
    for (rows, found) in [(people[700..760].to_vec(), true), (no_one.collect(), false)] {
        let text: String =
            rows.iter().map(|row| row.map(|value| format!("{value}.00")).join(" ; ") + "\n").collect();
        let letters: Vec<f32> =
            text.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).map(f32::from).collect();
        let declared = WEIGHTS.replace("64", &letters.len().to_string());
        let desk = Desk::new(&[&declared]);
        desk.write("data/hie/hie.csv", &lines);
        desk.write("canonical/model.safetensors", model_of(&letters));
        let scan = desk.scanned();
        assert_eq!(scan.rules[Rule::CopyExact.index()], RuleResult::Passed);
        let expected = if found { RuleResult::Blocked } else { RuleResult::Passed };
        assert_eq!(scan.rules[Rule::CopyNumeric.index()], expected);
    }
}

#[test]
fn links_pipes_directories_and_second_names_are_refused_and_nothing_behind_them_is_read() {
    type Make = fn(&Desk);
    let makes: [(&str, Make); 5] = [
        ("symbolic link", |desk| symlink(desk.path("secret.json"), desk.path("out/metrics.json")).unwrap()),
        ("hard link", |desk| fs::hard_link(desk.path("secret.json"), desk.path("out/metrics.json")).unwrap()),
        ("directory", |desk| fs::create_dir(desk.path("out/metrics.json")).unwrap()),
        ("pipe", |desk| {
            let made = Command::new("mkfifo").arg(desk.path("out/metrics.json")).status().unwrap();
            assert!(made.success());
        }),
        ("link in circles", |desk| symlink("metrics.json", desk.path("out/metrics.json")).unwrap()),
    ];
    for (what, make) in makes {
        let desk = Desk::new(&[METRICS]);
        desk.write("secret.json", "{\"loss\":0.25}");
        make(&desk);
        let (report, detail) = desk.report("canonicalise");
        assert_eq!(report.rules[Rule::OutputDeclared.index()], RuleResult::Blocked, "{what}");
        assert_eq!(fs::read_dir(desk.path("canonical")).unwrap().count(), 0, "{what}");
        assert_eq!(detail.files[0].findings.len(), 1, "{what}");
    }
    // The same bytes as a plain file are accepted.
    let desk = Desk::new(&[METRICS]);
    desk.write("out/metrics.json", "{\"loss\":0.25}");
    assert_eq!(desk.report("canonicalise").0.rules[Rule::OutputDeclared.index()], RuleResult::Passed);
}

#[test]
fn bytes_laid_in_place_of_a_canonical_form_are_blocked_by_judge_and_scanner() {
    let desk = Desk::new(&[WEIGHTS]);
    desk.write("canonical/model.safetensors", SECRET);
    let (judged, _) = desk.report("judge");
    assert_eq!(judged.rules[Rule::WeightsForm.index()], RuleResult::Blocked);
    assert_eq!(desk.scanned().rules[Rule::CopyExact.index()], RuleResult::Blocked);
    desk.write("canonical/more", "x");
    let (judged, _) = desk.report("judge");
    assert_eq!(judged.rules[Rule::OutputDeclared.index()], RuleResult::Blocked);
}

#[test]
fn the_scanner_asks_an_index_and_says_what_it_says_without_and_does_not_use_one_that_does_not_fit() {
    let desk = Desk::new(&[WEIGHTS]);
    desk.write("out/model.safetensors", model(SECRET.bytes().map(f32::from)));
    desk.report("canonicalise");
    let report = desk.scanned();
    assert_eq!(report.rules[Rule::CopyExact.index()], RuleResult::Blocked);
    fs::create_dir(desk.path("index")).unwrap();
    let lay_down = |data: &str| {
        let files = scan::files_below(&desk.path(data)).unwrap();
        let mut options = fs::OpenOptions::new();
        let index =
            options.read(true).write(true).create(true).truncate(true).open(desk.path("index/hie")).unwrap();
        scan::build_index(&files, &tempfile::tempfile().unwrap(), &index).unwrap();
    };
    lay_down("data/hie");
    assert_eq!(desk.searched(), report);
    fs::create_dir(desk.path("other")).unwrap();
    desk.write("other/hie.csv", "x");
    lay_down("other");
    assert_eq!(desk.searched(), report);
    // It is the index that is asked: with one of zeros of the same length nothing is found of the data as it is.
    let length = fs::metadata(desk.path("data/hie/hie.csv")).unwrap().len() as usize;
    desk.write("other/hie.csv", vec![0; length]);
    lay_down("other");
    assert!(desk.searched().runs < report.runs);
    desk.write("index/hie", "torn");
    assert_eq!(desk.searched(), report);
}

#[test]
fn a_view_that_is_not_there_ends_the_search() {
    let desk = Desk::new(&[METRICS]);
    desk.write("canonical/metrics.json", "{\"loss\":0.25}\n");
    assert!(!desk.run("scan").status.success());
    assert!(desk.run("views").status.success());
    assert!(desk.run("scan").status.success());
    // Nor does data that cannot be searched count as searched.
    symlink("/etc/hostname", desk.path("data/link")).unwrap();
    assert!(!desk.run("scan").status.success());
}

#[test]
fn a_public_file_with_other_bytes_than_those_signed_excuses_nothing() {
    let desk = Desk::new(&[WEIGHTS]);
    desk.write("out/model.safetensors", model(SECRET.bytes().map(f32::from)));
    assert!(desk.run("canonicalise").status.success());
    assert!(desk.scanned().runs > 0);
    fs::create_dir(desk.path("public")).unwrap();
    let search = || {
        let mut task = ScanTask::new(&desk.task.outputs, &desk.task.catalogue);
        task.public = vec![Digest::of(SECRET.as_bytes())];
        run("scan", desk.root.path(), &task.to_json())
    };
    desk.write("public/0", SECRET);
    let scan = search();
    assert_eq!(ScanReport::from_bytes(&scan.stdout).unwrap().runs, 0, "{scan:?}");
    desk.write("public/0", format!("{SECRET} "));
    assert!(!search().status.success());
    fs::remove_file(desk.path("public/0")).unwrap();
    assert!(!search().status.success());
}

#[test]
fn no_file_is_overwritten() {
    let desk = Desk::new(&[METRICS]);
    desk.write("out/metrics.json", "{\"loss\":0.25}");
    desk.write("canonical/metrics.json", "before");
    assert!(!desk.run("canonicalise").status.success());
    assert_eq!(fs::read(desk.path("canonical/metrics.json")).unwrap(), b"before");
}

#[test]
fn a_wrong_command_or_task_gives_no_report() {
    let desk = Desk::new(&[METRICS]);
    for (subcommand, task, code) in [
        ("judge", &b"{}"[..], 1),
        ("scan", &b"{}"[..], 1),
        ("judge", &b""[..], 1),
        ("judgement", &b"{}"[..], 2),
    ] {
        let output = run(subcommand, desk.root.path(), task);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{subcommand}");
    }
    let mut unknown = desk.task.to_json();
    unknown.pop();
    unknown.extend(b",\"more\":1}");
    assert_eq!(run("judge", desk.root.path(), &unknown).status.code(), Some(1));
}

#[test]
fn the_examples_of_the_copy_rules_come_out_as_they_say() {
    let mut ran = 0;
    for rule in [Rule::CopyExact, Rule::CopyViews] {
        for example in explain(rule).examples {
            let Written::Searched { data, text } = example.written else { continue };
            let desk = Desk::new(&[example.declared]);
            desk.write("data/hie/hie.csv", data);
            desk.write("canonical/metrics.json", text);
            let made = desk.viewed();
            let scan = desk.searched();
            let result = if rule == Rule::CopyViews { made } else { scan.rules[rule.index()] };
            assert_eq!(result, example.result, "{}", example.shows);
            ran += 1;
        }
    }
    assert_eq!(ran, 4);
}

#[test]
fn findings_are_told_a_line_each_and_what_is_no_finding_is_told_by_no_line() {
    let desk = Desk::new(&[METRICS]);
    desk.write("out/metrics.json", r#"{"loss": 0.5, "two\nlines": 1}"#);
    let output = desk.run("canonicalise");
    let told = run("findings", desk.root.path(), &output.stdout[OutputReport::BYTES..]);
    let words = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && words.ends_with('\n'), "{words}");
    assert!(words.lines().all(|line| line.starts_with("metrics.json, metrics.")), "{words}");
    assert!(words.contains("(blocked): ") && words.contains("two"), "{words}");
    let many = r#"{"name":"a\nb","kind":null,"bytes":"0","releasedBits":"0","findings":[FINDINGS]}"#;
    let finding = r#"{"rule":"metrics.form","result":"noted","detail":"c\r\nd"}"#;
    let many = format!(r#"{{"files":[{}]}}"#, many.replace("FINDINGS", &[finding; 100].join(",")));
    let told = run("findings", desk.root.path(), many.as_bytes());
    let words = String::from_utf8(told.stdout).unwrap();
    assert_eq!(words.lines().count(), 65, "{words}{}", String::from_utf8_lossy(&told.stderr));
    assert!(words.starts_with("a b, metrics.form (noted): c  d\n") && words.ends_with("\n36 more\n"));
    for bad in ["", "{}", "[]", r#"{"files":[{}]}"#, r#"{"files":[],"more":1}"#] {
        let refused = run("findings", desk.root.path(), bad.as_bytes());
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{bad}");
    }
}
