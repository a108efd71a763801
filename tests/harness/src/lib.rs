//! Starts a whole throw-away box for tests: the real programs, real sockets, real files, in one temporary directory.

mod code_review;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use databox::failure::Failure;
use databox::job::{Bench, state};
use databox::release_files::Shelf;
use databox::review::Desk;
use databox::throwaway::{Endpoints, Throwaway};
use databox::users::RoomUsers;
use lifecycle::State;

/// How long a test waits for one thing before it fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The first of the users that rooms of a test's box have. Users of slots lie elsewhere.
const FIRST_USER: u32 = 900_000;

/// A running box with the dataset `hie`, the runtime `host-python` and a grant for the project `hie`.
pub struct TestBox {
    /// The box.
    pub stage: Throwaway,
    // Dropped after the box, so that no room finds its files gone.
    scratch: tempfile::TempDir,
}

/// Where `cargo xtask build` put the programs.
pub fn programs() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let directory = target.join("databox/bin");
    assert!(directory.join("databox").is_file(), "the programs are not built: run `cargo xtask build` first");
    // Walls take plain paths only.
    directory.canonicalize().expect("the directory is there")
}

/// A kernel for micro-VMs and its directory of modules.
pub fn machine_kernel() -> (PathBuf, PathBuf) {
    machine_kernel::unpacked_beside(&programs())
}

/// A small dataset in the place of the real one: so many people, two rows each, with the columns that tests need.
/// Every row has text that stands nowhere else, so that a copied row is known when it is seen.
pub fn small_data(people: usize) -> String {
    let mut text = String::from("zper,plan,visits,note\n");
    for person in 0..people {
        for year in 0..2 {
            let plan = ["free", "shared", "deductible"][person % 3];
            let mixed = ((person * 2 + year) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            text += &format!("{},{plan},{},patient-{mixed:016x}-record\n", 100_000 + person, mixed % 7);
        }
    }
    text
}

impl TestBox {
    /// Starts a box on small data.
    pub fn start() -> Self {
        Self::with_data(&small_data(300), "zper", &["plan"])
    }

    /// Starts a box on this CSV text.
    pub fn with_data(csv: &str, unit: &str, categories: &[&str]) -> Self {
        Self::with_file("hie.csv", csv, unit, categories)
    }

    /// Starts a box on this CSV text, in a file of this name.
    pub fn with_file(file: &str, csv: &str, unit: &str, categories: &[&str]) -> Self {
        Self::try_start(&std::env::temp_dir(), (file, csv), unit, categories)
            .unwrap_or_else(|failure| panic!("the box did not start: {failure}"))
    }

    /// Starts a box on small data whose rooms have users of their own, as on a server. Only root can make one; as anybody
    /// else all rooms run as that user, and the test says so.
    pub fn start_with_users() -> Self {
        let users = rustix::process::geteuid().is_root().then(|| RoomUsers::numbered_from(FIRST_USER));
        if users.is_none() {
            // Not by a macro: the test runner would keep it to itself.
            let _ = writeln!(std::io::stderr(), "NOT ROOT: all rooms of this box run as one user");
        }
        let (stage, scratch) = Self::made(&std::env::temp_dir(), users.as_ref())
            .unwrap_or_else(|failure| panic!("the box was not made: {failure}"));
        let made = Self::fill(stage, scratch, ("hie.csv", &small_data(300)), "zper", &["plan"]);
        made.unwrap_or_else(|failure| panic!("the box did not start: {failure}"))
    }

    /// Starts a box on small data whose files lie below this directory, such as a file system of its own.
    pub fn start_below(directory: &Path) -> Self {
        Self::try_start(directory, ("hie.csv", &small_data(300)), "zper", &["plan"])
            .unwrap_or_else(|failure| panic!("the box did not start: {failure}"))
    }

    /// Makes a box whose rooms have never run: people's keys, roles, revocation and policy, no data.
    pub fn unstarted() -> Self {
        let (stage, scratch) = Self::made(&std::env::temp_dir(), None)
            .unwrap_or_else(|failure| panic!("the box was not made: {failure}"));
        Self { stage, scratch }
    }

    fn made(below: &Path, users: Option<&RoomUsers>) -> Result<(Throwaway, tempfile::TempDir), Failure> {
        databox::programs::are_in(programs());
        let scratch = tempfile::Builder::new()
            .prefix("databox-test-")
            .tempdir_in(below)
            .expect("a temporary directory");
        // Jobs run as users of their own when the box runs as root: they must be able to pass through.
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o711)).expect("own directory");
        let stage = Throwaway::make(scratch.path(), Endpoints::free()?, users)?;
        Ok((stage, scratch))
    }

    fn try_start(
        below: &Path,
        (file, csv): (&str, &str),
        unit: &str,
        categories: &[&str],
    ) -> Result<Self, Failure> {
        let (stage, scratch) = Self::made(below, None)?;
        Self::fill(stage, scratch, (file, csv), unit, categories)
    }

    fn fill(
        mut stage: Throwaway,
        scratch: tempfile::TempDir,
        (file, csv): (&str, &str),
        unit: &str,
        categories: &[&str],
    ) -> Result<Self, Failure> {
        stage.start()?;
        let data = scratch.path().join("data");
        std::fs::create_dir(&data).expect("a new directory");
        std::fs::write(data.join(file), csv).expect("a new file");
        stage.add_dataset("hie", &data, unit, categories)?;
        stage.add_runtime()?;
        stage.add_grant()?;
        Ok(Self { stage, scratch })
    }

    /// The directory of this test.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a bundle: `databox.toml` and files beside it.
    pub fn bundle(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.scratch.path().join("bundles").join(name);
        std::fs::create_dir_all(&directory).expect("a new directory");
        for (file, text) in files {
            std::fs::write(directory.join(file), text).expect("a new file");
        }
        directory
    }

    /// Submits a bundle as this researcher and waits until it has ended or is in review.
    pub async fn run_job(&self, researcher: &str, bundle: &Path) -> api::v1::Job {
        let bench = self.bench(researcher).await;
        let prepared =
            bench.prepare(bundle).await.unwrap_or_else(|failure| panic!("not prepared: {failure}"));
        let submitted =
            bench.submit(&prepared).await.unwrap_or_else(|failure| panic!("not submitted: {failure}"));
        let job = bench.wait(&submitted.job, &[State::InReview], PATIENCE).await;
        job.unwrap_or_else(|failure| panic!("not ended: {failure}"))
    }

    /// A researcher's connection.
    pub async fn bench(&self, researcher: &str) -> Bench {
        let bench = Bench::connect(self.stage.profile(researcher)).await;
        bench.unwrap_or_else(|failure| panic!("{researcher} cannot connect: {failure}"))
    }

    /// A steward's connection.
    pub async fn desk(&self, steward: &str) -> Desk {
        let desk = Desk::connect(self.stage.profile(steward)).await;
        desk.unwrap_or_else(|failure| panic!("{steward} cannot connect: {failure}"))
    }

    /// A recipient's shelf.
    pub async fn shelf(&self, researcher: &str) -> Shelf {
        let channel = self.bench(researcher).await.channel();
        Shelf::new(self.stage.profile(researcher), channel)
    }

    /// Has a steward open and approve the review of a job.
    pub async fn approve(&self, steward: &str) {
        let mut desk = self.desk(steward).await;
        let review = databox::demo::open_review(&mut desk)
            .await
            .unwrap_or_else(|failure| panic!("no review: {failure}"));
        let opened = desk.open(&review).await.unwrap_or_else(|failure| panic!("not opened: {failure}"));
        desk.approve(&opened).await.unwrap_or_else(|failure| panic!("not approved: {failure}"));
    }

    /// Waits until a job is in this state or has ended, and gives the state.
    pub async fn wait(&self, researcher: &str, job: &str, until: State) -> State {
        let bench = self.bench(researcher).await;
        let found = bench
            .wait(job, &[until], PATIENCE)
            .await
            .unwrap_or_else(|failure| panic!("not reached: {failure}"));
        state(&found)
    }
}

/// The manifest of a bundle that runs `job.py` and declares these outputs.
pub fn manifest(outputs: &str) -> String {
    format!(
        r#"[job]
name = "test"
project = "hie"
runtime = "host-python"
command = ["python3", "job.py"]
purpose = "A test of the box"

[data.hie]
snapshot = "latest"

[limits]
cpus = 1
memory = "1GiB"
time = "30s"

{outputs}
"#
    )
}

/// Declares one metrics file with one name.
pub const ONE_METRIC: &str = r#"[[output]]
path = "metrics.json"
kind = "metrics"
names = ["value"]
"#;

/// Python that writes one metric. `VALUE` is an expression.
pub fn write_metric(value: &str) -> String {
    format!("import json\njson.dump({{\"value\": {value}}}, open(\"/out/metrics.json\", \"w\"))\n")
}

impl TestBox {
    /// Opens, as a steward, the review of this job, PASS or BLOCKED.
    pub async fn opened(&self, steward: &str, job: &str) -> databox::review::Opened {
        let mut desk = self.desk(steward).await;
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let reviews = desk.list().await.unwrap_or_else(|failure| panic!("no list: {failure}"));
            for review in reviews.into_iter().filter(|review| review.kind() != api::v1::ReviewKind::Code) {
                let opened = match desk.open(&review.review).await {
                    Ok(opened) => opened,
                    // It was decided since it was listed, and its packet is gone.
                    Err(failure) if failure.reason == "NOT_FOUND" => continue,
                    Err(failure) => panic!("not opened: {failure}"),
                };
                if opened.verdict.request.sha256.to_string() == job {
                    return opened;
                }
            }
            assert!(std::time::Instant::now() < deadline, "no review of job {job}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What a job of `code` observed, as the one metric of its canonical output. The job must have passed.
    pub async fn observe(&self, name: &str, code: &str) -> f64 {
        let text = manifest(ONE_METRIC);
        let bundle = self.bundle(name, &[("databox.toml", &text), ("job.py", code)]);
        let job = self.run_job("kim", &bundle).await;
        assert_eq!(state(&job), State::InReview, "{name}: {:?}", job.outcome);
        let opened = self.opened("ana", &job.job).await;
        let (_, metrics) = &opened.content.canonical[0];
        let text = String::from_utf8_lossy(metrics).into_owned();
        let number = text.trim().trim_start_matches("{\"value\":").trim_end_matches('}');
        number.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
    }
}

impl Drop for TestBox {
    /// A failed test shows what the rooms said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for room in databox::home::ROOMS {
                let journal = std::fs::read_to_string(self.stage.home.journal(room)).unwrap_or_default();
                for line in journal.lines().filter(|line| !line.contains(r#""level":"info""#)) {
                    eprintln!("{line}");
                }
            }
        }
    }
}
