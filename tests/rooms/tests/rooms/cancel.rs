//! Jobs called off, through a gateway that forges, repeats and reorders: the requester's word alone counts, whenever
//! it comes, and no process of a job outlives it.

use std::path::PathBuf;

use blobs::{BlobStore, Digest};
use databox::job::Prepared;
use harness::{TestBox, write_metric};
use release::envelope::Envelope;
use release::key::{Sign, key_id};
use release::statement::{Cancel, Requester};
use release::value::Timestamp;

use crate::gateway::{Case, PROGRAM, answers, charges, moves, prepare_code};
use crate::held::approve;
use crate::{Liar, wait};

/// A cancel of a job that names `named` as requester and is signed with the key of `signer`.
fn cancel(tested: &TestBox, job: Digest, named: &str, signer: &str) -> Vec<u8> {
    cancel_in(0, tested, job, named, signer)
}

/// The same, dated so many seconds from now.
fn cancel_in(seconds: i64, tested: &TestBox, job: Digest, named: &str, signer: &str) -> Vec<u8> {
    let profile = tested.stage.profile(signer);
    let passphrase = databox::key::passphrase(profile.passphrase_file.as_deref(), "").unwrap();
    let secret = packet::key::read_signing(&profile.key_files().signing(), &passphrase).unwrap();
    let cancel = Cancel {
        site: "demo.databox.example".parse().unwrap(),
        request: job.into(),
        requester: Requester { id: named.parse().unwrap(), key_id: key_id(&secret.public()) },
        issued_at: Timestamp::from_seconds(daemon::now_seconds() + seconds).unwrap(),
    };
    Envelope::sign(&cancel, &[&secret]).unwrap().to_bytes()
}

/// A box without its gateway, in whose place liars stand.
struct Stand {
    tested: TestBox,
    hand_over: BlobStore,
    count: u32,
}

impl Stand {
    fn new() -> Self {
        let tested = TestBox::start_with_users();
        let hand_over =
            BlobStore::open(tested.stage.home.join("hand-over/gateway-to-enclave"), 0o640).unwrap();
        Self { tested, hand_over, count: 0 }
    }

    fn prepare(&self, name: &str, code: &str) -> Prepared {
        let prepared = prepare_code(&self.tested, name, code);
        self.hand_over.put(&prepared.bundle).unwrap();
        prepared
    }

    fn lay_cancel(&mut self, bytes: &[u8]) -> PathBuf {
        self.count += 1;
        let place = self.tested.directory().join(format!("cancel-{}", self.count));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("cancel"), bytes).unwrap();
        place
    }

    fn lay_submit(&self, name: &'static str, prepared: &Prepared) -> PathBuf {
        Case::of(name, prepared, "").lay(self.tested.directory())
    }

    /// Says these things to the enclave, in the place of the gateway.
    fn say(&mut self, messages: &[PathBuf]) -> Liar {
        self.count += 1;
        let mut arguments =
            vec![self.tested.stage.home.join("run/gateway/gateway.sock"), PathBuf::from("once")];
        arguments.extend_from_slice(messages);
        Liar::start(&self.tested, "gateway", PROGRAM, &format!("liar-{}", self.count), &arguments)
    }
}

/// A job that sleeps and that can be found among the machine's processes.
fn sleeper(mark: &str) -> String {
    format!(
        "import os, subprocess, sys, time\nif os.fork() == 0: os.setsid()\n\
         subprocess.run([sys.executable, '-c', 'import time; time.sleep(250)', {mark:?}])\n{}",
        write_metric("1")
    )
}

/// Processes of this machine with this word in their command.
fn processes(mark: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        found += usize::from(command.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()));
    }
    found
}

/// Bits of the dataset's account that are set aside and not spent or freed.
fn reserved(tested: &TestBox) -> i64 {
    let database = rusqlite::Connection::open(tested.stage.home.join("enclave/account.db")).unwrap();
    let query = "SELECT coalesce(sum(CASE kind WHEN 'reserve' THEN bits WHEN 'answer' THEN 0 ELSE -bits END), 0) FROM account";
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_running_or_waiting_job_ends_on_its_requesters_word_and_on_no_one_elses() {
    let mut stand = Stand::new();
    let running = stand.prepare("running", &sleeper("mark-of-the-running"));
    let waiting = stand.prepare("waiting", &write_metric("1"));
    stand.tested.stage.rooms().kill("gateway");
    let (job, next) = (running.job(), waiting.job());
    let submits = [stand.lay_submit("running", &running), stand.lay_submit("waiting", &waiting)];
    let liar = stand.say(&submits[..1]);
    liar.until("the run", |heard| moves(heard, &job).contains("1 1 RUNNING"));
    let begun = std::time::Instant::now();
    while processes("mark-of-the-running") < 2 {
        assert!(begun.elapsed() < harness::PATIENCE, "both processes of the job");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(liar);

    let forged = [("kim", "lee"), ("lee", "lee"), ("ana", "ana")]
        .map(|(named, signer)| cancel(&stand.tested, job, named, signer));
    let mut forged: Vec<_> = forged.iter().map(|bytes| stand.lay_cancel(bytes)).collect();
    // It comes while the other one runs, so that it waits.
    forged.push(submits[1].clone());
    let liar = stand.say(&forged);
    let taken = |heard: &[String]| heard.iter().filter(|line| line.starts_with("cancel-taken ")).count();
    let heard = liar.until("three answers", |heard| taken(heard) == 3 && answers(heard).len() == 1);
    assert!(moves(&heard, &job).is_empty(), "{heard:?}");
    assert!(processes("mark-of-the-running") >= 2, "nobody else's word ends it");
    drop(liar);

    let words = [job, next, job].map(|job| cancel(&stand.tested, job, "kim", "kim"));
    let words: Vec<_> = words.iter().map(|bytes| stand.lay_cancel(bytes)).collect();
    let liar = stand.say(&words);
    let heard = liar.until("both ends", |heard| {
        taken(heard) == 3 && !moves(heard, &job).is_empty() && !moves(heard, &next).is_empty()
    });
    assert_eq!(moves(&heard, &job).into_iter().collect::<Vec<_>>(), ["2 1 CANCELLED"]);
    // It never ran.
    assert_eq!(moves(&heard, &next).into_iter().collect::<Vec<_>>(), ["1 1 CANCELLED"]);
    assert_eq!(processes("mark-of-the-running"), 0, "the whole tree is dead before the job is CANCELLED");
    // What was charged stays charged.
    assert_eq!((charges(&stand.tested, &job), charges(&stand.tested, &next)), (1, 1));
}

#[test]
fn a_cancel_that_cannot_be_judged_now_is_not_acknowledged_so_that_it_comes_again() {
    let mut stand = Stand::new();
    let (tomorrow, today) =
        (stand.prepare("tomorrow", &write_metric("1")), stand.prepare("today", &write_metric("1")));
    stand.tested.stage.rooms().kill("gateway");
    // By the enclave's clock the first is from the future: one of the two clocks is wrong, and will be set right.
    let words = [
        cancel_in(24 * 3600, &stand.tested, tomorrow.job(), "kim", "kim"),
        cancel(&stand.tested, today.job(), "kim", "kim"),
    ];
    let messages: Vec<_> = words.iter().map(|bytes| stand.lay_cancel(bytes)).collect();
    let liar = stand.say(&messages);
    let taken = |heard: &[String]| -> Vec<String> {
        heard.iter().filter_map(|line| line.strip_prefix("cancel-taken ")).map(str::to_owned).collect()
    };
    // Answers come in the order of the cancels, so that nothing is left to be said of the first.
    let heard =
        liar.until("the answer to the second", |heard| taken(heard).contains(&today.job().to_string()));
    assert_eq!(taken(&heard), [today.job().to_string()]);
}

#[test]
fn a_cancel_that_comes_before_its_job_counts_for_the_requester_and_for_nobody_else() {
    let mut stand = Stand::new();
    let (called_off, twin) =
        (stand.prepare("called-off", &write_metric("1")), stand.prepare("twin", &write_metric("1")));
    stand.tested.stage.rooms().kill("gateway");
    let early = [
        cancel(&stand.tested, called_off.job(), "kim", "kim"),
        // Lee is enrolled, but the twin is not Lee's.
        cancel(&stand.tested, twin.job(), "lee", "lee"),
    ];
    let mut messages: Vec<_> = early.iter().map(|bytes| stand.lay_cancel(bytes)).collect();
    messages.push(stand.lay_submit("called-off", &called_off));
    messages.push(stand.lay_submit("twin", &twin));
    let liar = stand.say(&messages);
    let heard = liar.until("the twin's review", |heard| moves(heard, &twin.job()).contains("2 1 IN_REVIEW"));
    let expected =
        [format!("answer {} REASON_CANCELLED", called_off.job()), format!("answer {} ACCEPTED", twin.job())];
    assert_eq!(answers(&heard), expected);
    assert_eq!((charges(&stand.tested, &called_off.job()), charges(&stand.tested, &twin.job())), (0, 1));
}

#[test]
fn a_review_is_withdrawn_when_its_job_is_called_off_unless_the_log_came_first() {
    let mut stand = Stand::new();
    let (called_off, twin) =
        (stand.prepare("called-off", &write_metric("1")), stand.prepare("twin", &write_metric("2")));
    stand.tested.stage.rooms().kill("gateway");
    let submits = [stand.lay_submit("called-off", &called_off), stand.lay_submit("twin", &twin)];
    let liar = stand.say(&submits);
    for prepared in [&called_off, &twin] {
        liar.until("the review", |heard| moves(heard, &prepared.job()).contains("2 1 IN_REVIEW"));
    }
    let review = wait(stand.tested.opened("ana", &called_off.job().to_string()));
    assert!(reserved(&stand.tested) > 0);
    let release = wait(approve(&stand.tested, &twin.job().to_string()));
    assert!(!release.is_empty());
    liar.until("the release", |heard| heard.iter().any(|line| line.starts_with("release ")));
    drop(liar);

    let words = [called_off.job(), twin.job()].map(|job| cancel(&stand.tested, job, "kim", "kim"));
    let words: Vec<_> = words.iter().map(|bytes| stand.lay_cancel(bytes)).collect();
    let liar = stand.say(&words);
    let heard = liar.until("the end", |heard| !moves(heard, &called_off.job()).is_empty());
    assert_eq!(moves(&heard, &called_off.job()).into_iter().collect::<Vec<_>>(), ["3 1 CANCELLED"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(
        !liar.heard().iter().any(|line| line.contains("CANCELLED") && line.contains(&twin.job().to_string()))
    );
    assert_eq!(reserved(&stand.tested), 0);
    // Nobody can approve or open it any more.
    let approved = wait(async { stand.tested.desk("ana").await.approve(&review).await });
    assert!(approved.is_err() || approved.is_ok_and(|answer| answer.release_file.is_empty()));
    let again = wait(async { stand.tested.desk("ben").await.open(&review.digest.to_string()).await });
    assert!(again.is_err(), "the packet is gone");
}
