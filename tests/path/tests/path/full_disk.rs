//! A full disk, of the enclave and of the gateway: new work is refused by name, and what was begun is finished.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use databox::failure::Failure;
use databox::job::state;
use databox::up::Rooms;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

/// Says how much of the disk a run needs, and starts the enclave anew.
fn set_run_disk(tested: &mut TestBox, bytes: u64) {
    let path = tested.stage.home.configuration("enclave");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("run_disk_bytes") {
        true => format!("run_disk_bytes = {bytes}\n"),
        false => format!("{line}\n"),
    });
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    tested.stage.kill_and_restart("enclave").unwrap();
}

#[test]
fn a_full_disk_refuses_new_work_by_name_and_finishes_what_it_has() {
    let mut tested = TestBox::start();
    let text = manifest(ONE_METRIC);
    let bundle = tested.bundle("one", &[("databox.toml", &text), ("job.py", &write_metric("1"))]);
    let begun = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&begun), State::InReview);

    // No disk is that large, so to this box it is full.
    set_run_disk(&mut tested, 1 << 60);
    let refused = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&refused), State::Refused);
    assert_eq!(refused.outcome.unwrap().reason(), api::v1::Reason::Disk);
    wait(async {
        for steward in ["ana", "ben"] {
            tested.approve(steward).await;
        }
        assert_eq!(tested.wait("kim", &begun.job, State::Released).await, State::Released);
    });

    set_run_disk(&mut tested, 1 << 20);
    assert_eq!(state(&wait(tested.run_job("kim", &bundle))), State::InReview, "there is room again");
}

/// A gateway whose state lies on a file system of so many bytes, in memory, in a mount namespace of its own.
struct SmallGateway {
    child: Child,
    state: PathBuf,
}

impl SmallGateway {
    const BYTES: u64 = 100 << 20;

    fn start(tested: &mut TestBox) -> Self {
        tested.stage.rooms().kill("gateway");
        let home = tested.stage.home.clone();
        let (state, aside) = (home.join("gateway"), tested.directory().join("gateway-aside"));
        let script = format!(
            "cp -a \"$0\" \"$1\" && mount -t tmpfs -o mode=0700,size={} none \"$0\" && cp -a \"$1/.\" \"$0\" && \
             shift && exec \"$@\"",
            Self::BYTES
        );
        let gateway = Rooms::command(&home, "gateway").unwrap();
        let journal = std::fs::File::create(home.journal("gateway")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .args([&state, &aside])
            .arg(gateway.get_program())
            .args(gateway.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(journal)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(home.journal("gateway")).unwrap().contains(r#""event":"ready""#) {
            assert!(
                Instant::now() < deadline,
                "the gateway does not start: these tests need root for `mount`"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let inside = PathBuf::from(format!("/proc/{}/root", child.id()));
        Self { state: inside.join(state.strip_prefix("/").unwrap()), child }
    }

    /// Fills the file system until so many bytes are left, with a file that is no room's.
    fn fill(&self, left: u64) {
        let space = rustix::fs::statvfs(&self.state).unwrap();
        let free = space.f_bavail * space.f_frsize;
        std::fs::write(self.state.join("ballast"), vec![0; usize::try_from(free - left).unwrap()]).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.state.join("ballast")).unwrap();
    }
}

impl Drop for SmallGateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Packs a bundle and hands it in.
async fn hand_in(tested: &TestBox, name: &str, beside: &[u8]) -> Result<String, Failure> {
    let text = manifest(ONE_METRIC);
    let bundle = tested.bundle(name, &[("databox.toml", &text), ("job.py", &write_metric("1"))]);
    std::fs::write(bundle.join("beside.bin"), beside).unwrap();
    let bench = tested.bench("kim").await;
    let prepared = bench.prepare(&bundle).await?;
    Ok(bench.submit(&prepared).await?.job)
}

/// Bytes that no compression makes fewer.
fn random(bytes: usize) -> Vec<u8> {
    use std::io::Read;
    let mut read = Vec::new();
    std::fs::File::open("/dev/urandom").unwrap().take(bytes as u64).read_to_end(&mut read).unwrap();
    read
}

#[test]
fn a_gateway_whose_disk_is_full_refuses_new_work_by_name_and_serves_what_it_has() {
    let mut tested = TestBox::start();
    let gateway = SmallGateway::start(&mut tested);
    wait(async {
        let job = hand_in(&tested, "before", &[]).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
        let bench = tested.bench("kim").await;
        let whole = tested
            .bundle("whole", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric("2"))]);
        let prepared = bench.prepare(&whole).await.unwrap();

        // Room for a small bundle, and none for this one.
        let refused = hand_in(&tested, "large", &random(20 << 20)).await.unwrap_err();
        assert_eq!(refused.reason, "DISK");
        assert!(refused.advice().contains("make room"), "{refused}");
        // What is left is for what was accepted.
        gateway.fill(8 << 20);
        assert_eq!(bench.submit(&prepared).await.unwrap_err().reason, "DISK");
        for steward in ["ana", "ben"] {
            tested.approve(steward).await;
        }
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        let mut shelf = tested.shelf("kim").await;
        let releases = shelf.list().await.unwrap();
        shelf.get(&releases[0].release, &tested.directory().join("served")).await.unwrap();
        // Not a byte is left: nothing can be kept, so nothing new is promised.
        gateway.empty();
        gateway.fill(0);
        assert_eq!(bench.submit(&prepared).await.unwrap_err().reason, "DISK");
        assert_eq!(bench.jobs().await.unwrap().len(), 1, "reading needs no disk");

        gateway.empty();
        let job = bench.submit(&prepared).await.unwrap().job;
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
    });
}
