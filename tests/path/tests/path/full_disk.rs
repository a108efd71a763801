//! A full disk, of each room: new work is refused by name, and what was begun is finished.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::CHUNK_BYTES;
use api::v1::bundle_service_client::BundleServiceClient;
use api::v1::job_service_client::JobServiceClient;
use api::v1::{CreateJobRequest, CreateUploadRequest, FinishUploadRequest, WriteUploadRequest};
use blobs::Digest;
use databox::job::{Prepared, state};
use databox::up::Rooms;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::wait;

/// Says how much of the disk a run needs, and starts the enclave anew.
pub(crate) fn set_run_disk(tested: &mut TestBox, bytes: u64) {
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

/// A room whose state lies on a file system of so many bytes, in memory, in a mount namespace of its own.
struct SmallRoom {
    child: Child,
    state: PathBuf,
    // It keeps the file system when the room has ended.
    _held: File,
}

impl SmallRoom {
    const BYTES: u64 = 100 << 20;

    fn start(tested: &mut TestBox, room: &'static str) -> Self {
        tested.stage.rooms().kill(room);
        let home = tested.stage.home.clone();
        let (state, aside) = (home.join(room), tested.directory().join(format!("{room}-aside")));
        let script = format!(
            "cp -a \"$0\" \"$1\" && mount -t tmpfs -o mode=0700,size={} none \"$0\" && cp -a \"$1/.\" \"$0\" && \
             shift && exec \"$@\"",
            Self::BYTES
        );
        let command = Rooms::command(&home, room).unwrap();
        let journal = File::create(home.journal(room)).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .args([&state, &aside])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(journal)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(home.journal(room)).unwrap().contains(r#""event":"ready""#) {
            assert!(
                Instant::now() < deadline,
                "the {room} does not start: these tests need root for `mount`"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let inside = PathBuf::from(format!("/proc/{}/root", child.id()));
        let held = File::open(inside.join(state.strip_prefix("/").unwrap())).unwrap();
        let state = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd()));
        Self { child, state, _held: held }
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

    /// Waits until it has ended by itself.
    fn ends(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it, and starts the room as before on its own disk with the state that it left.
    fn back_on_its_own_disk(mut self, tested: &mut TestBox, room: &'static str) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        let own = tested.stage.home.join(room);
        let copied = Command::new("cp").arg("-a").arg(self.state.join(".")).arg(&own).status().unwrap();
        assert!(copied.success(), "{own:?}");
        tested.stage.kill_and_restart(room).unwrap();
    }
}

impl Drop for SmallRoom {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bundle unlike those of other names.
fn bundle(tested: &TestBox, name: &str) -> PathBuf {
    let code = format!("# {name}\n{}", write_metric("1"));
    tested.bundle(name, &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &code)])
}

/// Bytes that no compression makes fewer.
fn random(bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    File::open("/dev/urandom").unwrap().take(bytes as u64).read_to_end(&mut read).unwrap();
    read
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Announces these bytes.
async fn announce(channel: &Channel, bytes: &[u8]) -> Result<u64, Status> {
    let announced = CreateUploadRequest {
        sha256: Digest::of(bytes).to_string(),
        bytes: bytes.len() as u64,
        grant: "grant-1".to_owned(),
    };
    let answer = BundleServiceClient::new(channel.clone()).create_upload(announced).await?;
    Ok(answer.into_inner().committed_bytes)
}

/// Sends them from an offset on.
async fn send(channel: &Channel, bytes: &[u8], offset: usize) -> Result<u64, Status> {
    let sha256 = Digest::of(bytes).to_string();
    let mut at = offset as u64;
    let mut chunks = Vec::new();
    for chunk in bytes[offset..].chunks(CHUNK_BYTES) {
        chunks.push(WriteUploadRequest { sha256: sha256.clone(), offset: at, chunk: chunk.to_vec().into() });
        at += chunk.len() as u64;
    }
    let answer = BundleServiceClient::new(channel.clone()).write_upload(tokio_stream::iter(chunks)).await?;
    Ok(answer.into_inner().committed_bytes)
}

async fn finish(channel: &Channel, bytes: &[u8]) -> Result<(), Status> {
    let finished = FinishUploadRequest { sha256: Digest::of(bytes).to_string() };
    BundleServiceClient::new(channel.clone()).finish_upload(finished).await.map(drop)
}

async fn create(channel: &Channel, prepared: &Prepared) -> Result<String, Status> {
    let request = CreateJobRequest {
        request: prepared.envelope.to_bytes().into(),
        purpose: prepared.purpose.clone(),
        purpose_salt: prepared.salt.to_vec().into(),
    };
    let answer = JobServiceClient::new(channel.clone()).create_job(request).await?;
    Ok(answer.into_inner().job.unwrap().job)
}

#[test]
fn a_gateway_whose_disk_is_full_refuses_new_work_by_name_and_goes_on_with_what_it_has() {
    let mut tested = TestBox::start();
    let gateway = SmallRoom::start(&mut tested, "gateway");
    wait(async {
        let bench = tested.bench("kim").await;
        let channel = bench.channel();
        let job = bench.submit(&bench.prepare(&bundle(&tested, "before")).await.unwrap()).await.unwrap().job;
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
        // One whose bundle is whole, one that has arrived, and one that is under way.
        let whole = bench.prepare(&bundle(&tested, "whole")).await.unwrap();
        announce(&channel, &whole.bundle).await.unwrap();
        send(&channel, &whole.bundle, 0).await.unwrap();
        finish(&channel, &whole.bundle).await.unwrap();
        let arrived = random(20 << 20);
        announce(&channel, &arrived).await.unwrap();
        assert_eq!(send(&channel, &arrived, 0).await.unwrap(), 20 << 20);
        let under_way = random(12 << 20);
        announce(&channel, &under_way).await.unwrap();

        gateway.fill(4 << 20);
        let refused = finish(&channel, &arrived).await.unwrap_err();
        assert_eq!((reason(&refused), refused.code()), ("DISK".to_owned(), Code::ResourceExhausted));
        assert_eq!(reason(&send(&channel, &under_way, 0).await.unwrap_err()), "DISK");
        gateway.empty();
        gateway.fill(0);
        assert_eq!(reason(&create(&channel, &whole).await.unwrap_err()), "DISK");
        assert_eq!(reason(&announce(&channel, b"new").await.unwrap_err()), "DISK");
        let told = bench.submit(&bench.prepare(&bundle(&tested, "new")).await.unwrap()).await.unwrap_err();
        assert_eq!(told.reason, "DISK");
        assert!(told.advice().contains("make room"), "{told}");
        assert_eq!(bench.jobs().await.unwrap().len(), 1, "reading needs no disk");
        for steward in ["ana", "ben"] {
            tested.approve(steward).await;
        }

        gateway.empty();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        finish(&channel, &arrived).await.expect("what has arrived need not come again");
        let committed = announce(&channel, &under_way).await.unwrap() as usize;
        assert_eq!(send(&channel, &under_way, committed).await.unwrap(), 12 << 20);
        finish(&channel, &under_way).await.unwrap();
        let job = create(&channel, &whole).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
    });
}

#[test]
fn a_console_whose_disk_is_full_takes_no_decision_by_name_loses_none_and_goes_on_when_there_is_room() {
    let mut tested = TestBox::start();
    let console = SmallRoom::start(&mut tested, "console");
    wait(async {
        let before = tested.run_job("kim", &bundle(&tested, "before")).await;
        assert_eq!(state(&before), State::InReview);
        tested.approve("ana").await;
        console.fill(0);
        let opened = tested.opened("ben", &before.job).await;
        let refused = tested.desk("ben").await.approve(&opened).await.unwrap_err();
        assert_eq!(refused.reason, "DISK", "{refused}");
        // Its verdict waits in the enclave.
        let bench = tested.bench("kim").await;
        let during =
            bench.submit(&bench.prepare(&bundle(&tested, "during")).await.unwrap()).await.unwrap().job;
        assert_eq!(tested.wait("kim", &during, State::InReview).await, State::InReview);
        console.empty();
        tested.desk("ben").await.approve(&opened).await.unwrap();
        assert_eq!(tested.wait("kim", &before.job, State::Released).await, State::Released);
        for steward in ["ana", "ben"] {
            let opened = tested.opened(steward, &during).await;
            tested.desk(steward).await.approve(&opened).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &during, State::Released).await, State::Released);
    });
}

#[test]
fn a_signer_whose_disk_is_full_signs_nothing_that_it_cannot_keep_and_finishes_it_when_there_is_room() {
    let mut tested = TestBox::start();
    let mut signer = SmallRoom::start(&mut tested, "signer");
    let job = wait(tested.run_job("kim", &bundle(&tested, "approved")));
    assert_eq!(state(&job), State::InReview);
    signer.fill(0);
    wait(async {
        tested.approve("ana").await;
        let opened = tested.opened("ben", &job.job).await;
        // It is kept and waits for the signer; whether this call hears of it in time is not the point.
        let _ = tested.desk("ben").await.approve(&opened).await;
    });
    // What could not be made durable may be lost although it reads well: so the signer ends.
    signer.ends();
    let reached = wait(async { state(&tested.bench("kim").await.job(&job.job).await.unwrap()) });
    assert_eq!(reached, State::InReview);
    signer.empty();
    signer.back_on_its_own_disk(&mut tested, "signer");
    assert_eq!(wait(tested.wait("kim", &job.job, State::Released)), State::Released);
}
