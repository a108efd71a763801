//! Children of the enclave that were taken over by what they read: canonicaliser, judge, views, scanner, unbundler, and
//! the job itself. All lie in one box, whose checker and unbundler were replaced by liars; a declared output's name says
//! which child lies, so that its honest twin is a job with another name.

use std::io::Write as _;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use api::v1::Job;
use blobs::Digest;
use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::{Judgement, VerdictFile};

use crate::held::{Held, review_of};
use crate::{assert_no_row_outside, configure, wait};

/// A box that several tests use at the same time.
pub struct Shared {
    tested: TestBox,
    // Dropped after the box: rooms end with the thread that started them, and it waits for this.
    _alive: mpsc::Sender<()>,
}

impl Deref for Shared {
    type Target = TestBox;

    fn deref(&self) -> &TestBox {
        &self.tested
    }
}

/// The box that the tests of this file share while one of them runs.
pub fn shared() -> Arc<Shared> {
    static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tested) = shared.upgrade() {
        return tested;
    }
    let (made, wait_for_it) = mpsc::channel();
    std::thread::spawn(move || {
        let (alive, wait_for_the_end) = mpsc::channel();
        let _ = made.send(Shared { tested: start(), _alive: alive });
        let _ = wait_for_the_end.recv();
    });
    let tested = Arc::new(wait_for_it.recv().expect("the box did not start"));
    *shared = Arc::downgrade(&tested);
    tested
}

fn start() -> TestBox {
    let mut tested = TestBox::start_with_users();
    let liar = |name: &str| {
        let path = harness::programs().join("../liars").join(name).canonicalize();
        format!("\"{}\"", path.expect("the liars are not built: run `cargo xtask build` first").display())
    };
    let values = [
        ("checker", liar("lying-checker")),
        ("unbundler", liar("lying-unbundler")),
        ("slots", "3".to_owned()),
        ("canonical_bytes", (1 << 20).to_string()),
        ("file_bytes", (8 << 20).to_string()),
        ("child_seconds", "4".to_owned()),
    ];
    configure(&tested, "enclave", &values);
    tested.stage.kill_and_restart("enclave").unwrap();
    tested
}

/// Runs a job of this output and code until it has ended or is in review. The tests of this file together may have
/// more jobs open than one person may, so it waits for a place.
pub async fn run(tested: &TestBox, name: &str, output: &str, code: &str) -> Job {
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(output)), ("job.py", code)]);
    let bench = tested.bench("kim").await;
    let prepared = bench.prepare(&bundle).await.unwrap();
    let deadline = Instant::now() + harness::PATIENCE;
    let submitted = loop {
        match bench.submit(&prepared).await {
            Ok(submitted) => break submitted,
            Err(failure) => assert!(failure.reason == "QUOTA" && Instant::now() < deadline, "{failure}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    bench.wait(&submitted.job, &[State::InReview], harness::PATIENCE).await.unwrap()
}

/// Runs a job of one metric, in which this child lies.
async fn run_metric(tested: &TestBox, lie: &str) -> Job {
    let output = ONE_METRIC.replace("metrics.json", &format!("{lie}.json"));
    let code = write_metric("0.123456789").replace("metrics.json", &format!("{lie}.json"));
    run(tested, lie, &output, &code).await
}

/// Runs a job for each lie and expects these ends. Gives the jobs.
fn expect(tested: &TestBox, ends: &[(&str, State, &str)]) -> Vec<Job> {
    let mut jobs = Vec::new();
    wait(async {
        // As many at a time as there are slots.
        for lies in ends.chunks(3) {
            let [first, second, third] = [0, 1, 2].map(|index| async move {
                let (lie, _, _) = lies.get(index)?;
                Some(run_metric(tested, lie).await)
            });
            let (first, second, third) = tokio::join!(first, second, third);
            jobs.extend([first, second, third].into_iter().flatten());
        }
    });
    let found: Vec<_> = ends.iter().zip(&jobs).map(|((lie, _, _), job)| (*lie, end_of(job))).collect();
    let expected: Vec<_> =
        ends.iter().map(|(lie, state, rule)| (*lie, (*state, (*rule).to_owned()))).collect();
    assert_eq!(found, expected);
    jobs
}

fn end_of(job: &Job) -> (State, String) {
    (state(job), job.outcome.clone().unwrap_or_default().rule)
}

/// The canonical form of the one metric of a job of this code, which must have passed.
fn observe(tested: &TestBox, name: &str, code: &str) -> Vec<u8> {
    wait(async {
        let job = run(tested, name, ONE_METRIC, code).await;
        assert_eq!(state(&job), State::InReview, "{name}: {:?}", job.outcome);
        Held::of_review(tested, &job.job).await.opened.content.canonical[0].1.clone()
    })
}

fn weights(name: &str) -> String {
    format!(
        "[[output]]\npath = \"{name}\"\nkind = \"weights\"\ntensors = [{{ name = \"w\", shape = [2048] }}]\n"
    )
}

/// Python that writes 2,048 weights, given as an expression.
fn model(name: &str, values: &str) -> String {
    model_with(name, values, "None")
}

/// The same with free text in the header, given as an expression. No canonical form keeps it.
fn model_with(name: &str, values: &str, text: &str) -> String {
    format!(
        r#"
import json, random, struct
random.seed(1)
raw = struct.pack("<2048f", *({values}))
header = {{"w": {{"dtype": "F32", "shape": [2048], "data_offsets": [0, len(raw)]}}}}
text = {text}
if text:
    header["__metadata__"] = {{"rows": text}}
header = json.dumps(header).encode()
header += b" " * (-len(header) % 8)
open("/out/{name}", "wb").write(struct.pack("<Q", len(header)) + header + raw)
"#
    )
}

const HONEST_WEIGHTS: &str = "random.gauss(0, 0.05) for _ in range(2048)";

/// One character of the data in each weight.
const STOLEN_WEIGHTS: &str = "float(byte) for byte in open('/data/hie/hie.csv', 'rb').read()[100:2148]";

/// Rows for the canonicaliser that the job has taken over, where it can read them.
const ROWS: &str = "open('/data/hie/hie.csv', 'rb').read()[100:4196].hex()";

#[test]
fn rows_that_a_lying_canonicaliser_puts_into_weights_are_judged_and_blocked_and_its_honest_forms_pass() {
    let tested = shared();
    wait(async {
        let (lie, plain) = ("canonicalise-smuggle.safetensors", "plain.safetensors");
        let [output, plain_output] = [lie, plain].map(weights);
        let [code, plain_code] = [lie, plain].map(|name| model_with(name, HONEST_WEIGHTS, ROWS));
        let honest_code = model(plain, HONEST_WEIGHTS);
        let (honest, smuggled, dropped) = tokio::join!(
            run(&tested, "model", &plain_output, &honest_code),
            run(&tested, "smuggled", &output, &code),
            run(&tested, "rows-in-header", &plain_output, &plain_code)
        );
        assert_eq!(state(&dropped), State::InReview, "the true one drops them: {:?}", dropped.outcome);
        assert_eq!(state(&honest), State::InReview, "{:?}", honest.outcome);
        assert_eq!(end_of(&smuggled), (State::Blocked, "copy.exact".to_owned()));
        let held = Held::of_review(&tested, &smuggled.job).await;
        let data = std::fs::read(tested.directory().join("data/hie.csv")).unwrap();
        let (_, canonical) = &held.opened.content.canonical[0];
        assert!(canonical.ends_with(&data[100..4196]), "the lie went as far as the sealed bytes");
    });
    assert_no_row_outside(&tested);
}

#[test]
fn what_a_lying_canonicaliser_writes_is_judged_like_any_and_counts_only_under_declared_names_and_limits() {
    let tested = shared();
    let jobs = expect(
        &tested,
        &[
            ("honest-form", State::InReview, ""),
            ("canonicalise-raw", State::Blocked, "metrics.form"),
            ("canonicalise-more", State::Blocked, "output.declared"),
            ("canonicalise-directory", State::Blocked, "output.declared"),
            ("canonicalise-beside", State::InReview, ""),
            ("canonicalise-endless", State::Lost, ""),
            ("canonicalise-short", State::Lost, ""),
        ],
    );
    let [_, _, _, _, beside, _, _] = &jobs[..] else { panic!("seven jobs") };
    let held = wait(Held::of_review(&tested, &beside.job));
    assert_eq!(held.opened.content.canonical.len(), 1, "only what was declared is sealed");
    assert_no_row_outside(&tested);
}

#[test]
fn nothing_becomes_cheaper_by_a_judge_that_lies_and_a_rule_that_it_leaves_out_forbids() {
    let tested = shared();
    let jobs = expect(
        &tested,
        &[
            ("judge-silent", State::Blocked, "metrics.count"),
            ("judge-foreign", State::Lost, ""),
            ("judge-asleep", State::Lost, ""),
            ("honest-bits", State::InReview, ""),
            ("judge-cheap", State::InReview, ""),
        ],
    );
    wait(async {
        let honest = Held::of_review(&tested, &jobs[3].job).await;
        let cheap = Held::of_review(&tested, &jobs[4].job).await;
        let bits = |held: &Held| held.opened.verdict.released_bits.0;
        assert!(bits(&honest) > 0);
        assert_eq!(
            bits(&cheap),
            bits(&honest),
            "the enclave has a floor of its own, as high as the judge's true word"
        );
        assert_eq!(honest.opened.judged_again, Judgement::Same);
    });
}

const TABLE: &str = r#"[[output]]
path = "NAME.csv"
kind = "table"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]
"#;

async fn run_table(tested: &TestBox, name: &str, smallest: u32) -> Job {
    run_counts(tested, name, 100, smallest).await
}

async fn run_counts(tested: &TestBox, name: &str, free: u32, shared: u32) -> Job {
    let code = format!("open('/out/{name}.csv', 'w').write('plan,n\\nfree,{free}\\nshared,{shared}\\n')\n");
    run(tested, name, &TABLE.replace("NAME", name), &code).await
}

#[test]
fn what_a_lying_judge_allows_no_steward_can_approve_since_their_own_judge_says_otherwise() {
    let tested = shared();
    wait(async {
        let (honest, twin, lie) = tokio::join!(
            run_table(&tested, "small", 5),
            run_table(&tested, "large", 95),
            run_table(&tested, "judge-lenient", 5)
        );
        assert_eq!(end_of(&honest), (State::Blocked, "table.smallest-count".to_owned()));
        assert_eq!(state(&lie), State::InReview, "the enclave believes its judge: {:?}", lie.outcome);
        assert_eq!(state(&twin), State::InReview, "{:?}", twin.outcome);
        let review = review_of(&tested, &lie.job).await.review.unwrap().review;
        let mut desk = tested.desk("ana").await;
        let opened = desk.open(&review).await.unwrap();
        assert_eq!(opened.judged_again, Judgement::NotChecked);
        assert_eq!(desk.approve(&opened).await.unwrap_err().reason, "JUDGED_DIFFERENTLY");
        let review = review_of(&tested, &twin.job).await.review.unwrap().review;
        let opened = desk.open(&review).await.unwrap();
        assert!(desk.approve(&opened).await.is_ok(), "an honest judge's word is confirmed");
    });
}

#[test]
fn what_the_request_fixed_is_fixed_though_a_lying_judge_says_that_any_bytes_are_it() {
    let tested = shared();
    wait(async {
        let output = weights("judge-lenient.safetensors");
        let fixed = format!("shape = [2048], sha256 = \"{}\"", Digest::of(b"another tensor"));
        let fixed = output.replace("shape = [2048]", &fixed);
        let code = model("judge-lenient.safetensors", HONEST_WEIGHTS);
        let (other, twin) = tokio::join!(
            run(&tested, "not-as-fixed", &fixed, &code),
            run(&tested, "nothing-fixed", &output, &code)
        );
        assert_eq!(end_of(&other), (State::Blocked, "weights.form".to_owned()));
        assert_eq!(state(&twin), State::InReview, "{:?}", twin.outcome);
        let held = Held::of_review(&tested, &twin.job).await;
        assert_eq!(held.opened.verdict.released_bits.0, 16 * 2048);
    });
}

#[test]
fn a_child_that_lies_about_tables_hides_a_difference_at_most_and_one_that_says_nothing_forbids() {
    let tested = shared();
    wait(async {
        let first = run_counts(&tested, "compared", 300, 290).await;
        assert_eq!(state(&first), State::InReview, "{:?}", first.outcome);
        let (honest, silent, foreign) = tokio::join!(
            run_counts(&tested, "fewer", 299, 290),
            run_counts(&tested, "compare-silent", 400, 390),
            run_counts(&tested, "compare-foreign", 500, 490)
        );
        assert_eq!(end_of(&honest), (State::Blocked, "table.differencing".to_owned()));
        assert_eq!(end_of(&silent), (State::Blocked, "table.differencing".to_owned()));
        assert_eq!(end_of(&foreign), (State::Lost, String::new()));
        // This is what such a child gains: the bytes and their price stay what they are.
        let lenient = run_counts(&tested, "compare-lenient", 299, 290).await;
        assert_eq!(state(&lenient), State::InReview, "{:?}", lenient.outcome);
        let [first, lenient] = [&first, &lenient].map(|job| Held::of_review(&tested, &job.job));
        let (first, lenient) = tokio::join!(first, lenient);
        let [first, lenient] = [&first, &lenient].map(|held| held.opened.verdict.files[0].released_bits);
        assert_eq!(first, lenient);
    });
    assert_no_row_outside(&tested);
}

#[test]
fn views_and_a_scanner_that_lie_hide_a_copy_at_most_and_neither_change_what_leaves_nor_lower_its_price() {
    let tested = shared();
    wait(async {
        let files = ["stolen", "views-empty", "scan-hide"].map(|lie| format!("{lie}.safetensors"));
        let theft = |index: usize| {
            let (tested, name) = (&tested, &files[index]);
            async move { run(tested, name, &weights(name), &model(name, STOLEN_WEIGHTS)).await }
        };
        let (honest, views, scanner) = tokio::join!(theft(0), theft(1), theft(2));
        assert_eq!(end_of(&honest), (State::Blocked, "copy.exact".to_owned()), "the search finds it");
        // This is what such a child gains, as the design says.
        assert_eq!((state(&views), state(&scanner)), (State::InReview, State::InReview));
        let mut leaves = Vec::new();
        for job in [&honest, &views, &scanner] {
            let held = Held::of_review(&tested, &job.job).await;
            let VerdictFile { sha256, bytes, released_bits, .. } = held.opened.verdict.files[0].clone();
            leaves.push((sha256, bytes, released_bits));
        }
        assert_eq!(leaves, [leaves[0]; 3], "the same bytes at the same price");
    });
    expect(
        &tested,
        &[
            ("views-missing", State::Lost, ""),
            ("views-link", State::Lost, ""),
            ("scan-leak", State::Lost, ""),
            ("scan-foreign", State::Lost, ""),
            ("honest-search", State::InReview, ""),
        ],
    );
    assert_no_row_outside(&tested);
}

#[test]
fn a_checker_that_was_taken_over_sees_writes_and_speaks_to_nothing_but_what_its_wall_shows() {
    let tested = shared();
    let reaches = ["canonicalise-reach", "judge-reach", "views-reach", "scan-reach"];
    expect(&tested, &reaches.map(|lie| (lie, State::InReview, "")));
    let compared = wait(run_counts(&tested, "compare-reach", 900, 890));
    assert_eq!(state(&compared), State::InReview, "{:?}", compared.outcome);
    // A wall that shows something else than what is expected would be noticed.
    assert_eq!(end_of(&wait(run_metric(&tested, "judge-mistaken"))).0, State::Lost);
    // Without a wall the same attempts go well, as a user without rights.
    let got = reached_without_a_wall();
    for expected in [
        "inherited descriptor 9",
        "saw /etc/passwd",
        "saw /usr",
        "wrote /tmp/escaped",
        "abstract",
        "own",
        "on TCP",
        "UDP",
        "started /bin/sh",
    ] {
        assert!(got.contains(expected), "{expected} did not go well outside either: {got}");
    }
}

/// What a judge that reaches for what it must not gets outside of any wall.
fn reached_without_a_wall() -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let liar = directory.path().join("lying-checker");
    std::fs::copy(harness::programs().join("../liars/lying-checker"), &liar).unwrap();
    let task = serde_json::json!({
        "policy": include_str!("../../../../policies/egress/standard.toml"),
        "outputs": [{ "kind": "metrics", "path": "judge-reach.json", "names": ["value"] }],
        "catalogue": [],
        "asWritten": false,
    });
    // Whoever starts it leaves a descriptor open.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec 9</dev/null; exec \"$0\" judge"])
        .arg(liar)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    for made in ["/tmp/escaped", "/tmp/escaped.sock", "/dev/shm/escaped"] {
        let _ = std::fs::remove_file(made);
    }
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_unbundler_that_was_taken_over_sees_and_writes_nothing_but_its_own_directory() {
    let tested = shared();
    let code = r#"
import json, os
escapes = open("/job/escapes").read()
json.dump({"value": len(escapes)}, open("/out/metrics.json", "w"))
"#;
    assert_eq!(observe(&tested, "unbundled", code), b"{\"value\":0}\n", "what escaped, in characters");
    let escaped = ["enclave/escaped", "escaped"].map(|name| tested.stage.home.join(name).exists());
    assert_eq!(escaped, [false; 2]);
}

#[test]
fn a_job_that_leaves_a_process_behind_changes_nothing_after_its_end() {
    let tested = shared();
    let code = r#"
import json, os, time
json.dump({"value": 1}, open("/out/metrics.json", "w"))
if os.fork() == 0:
    os.setsid()
    end = time.time() + 20
    while time.time() < end:
        json.dump({"value": 7}, open("/out/later.json", "w"))
        os.replace("/out/later.json", "/out/metrics.json")
        time.sleep(0.01)
"#;
    // Whatever stood there when the last process was killed is whole, and what is sealed is what is judged.
    let bundle = tested.bundle("left", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", code)]);
    let job = wait(tested.run_job("kim", &bundle));
    let in_time = end_of(&job) == (State::InReview, String::new())
        || end_of(&job) == (State::Blocked, "output.declared".to_owned());
    assert!(in_time, "{:?}", end_of(&job));
    let held = wait(Held::of_review(&tested, &job.job));
    let first: Vec<_> = held.opened.content.canonical.clone();
    std::thread::sleep(Duration::from_millis(500));
    let again = wait(Held::of_review(&tested, &job.job));
    assert_eq!(first, again.opened.content.canonical);
    assert_eq!(observe(&tested, "alone", &write_metric("3")), b"{\"value\":3}\n");
}
