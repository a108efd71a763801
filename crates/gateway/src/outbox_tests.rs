use std::os::unix::fs::symlink;
use std::path::Path;

use api::{Admission, Answer, Transition};
use daemon::Journal;
use lifecycle::State;
use release::envelope::Envelope;
use server::Tls;
use test_formats::story::{BOX_WITNESS, Story, Told};

use super::*;
use crate::configuration::Configuration;
use crate::store::events;
use crate::store::jobs::{JobLimits, NewJob};
use crate::store::testing::install_site;

const LIMITS: JobLimits = JobLimits { open_per_person: 4, waiting_per_grant: 4 };

struct Scene {
    room: Arc<Room>,
    told: Told,
    job: Digest,
    release_file: Digest,
    directory: tempfile::TempDir,
}

fn configuration(home: &Path, told: &Told) -> Configuration {
    Configuration {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: Tls { authority: home.into(), certificate: home.into(), key: home.into() },
        enclave_socket: home.join("socket"),
        enclave_user: "0".to_owned(),
        site_directory: home.join("site"),
        site_pin: told.pin,
        state_directory: home.join("state"),
        to_enclave_directory: home.join("to-enclave"),
        from_enclave_directory: home.join("outbox"),
        accept_on_box_witness: false,
        bundle_bytes_limit: 1 << 20,
        uploads_per_person: 4,
        connections: Default::default(),
        jobs_open_per_person: 4,
        uploads_per_grant: 4,
        spool_bytes_per_grant: 1 << 20,
        spool_bytes: 1 << 20,
        jobs_waiting_per_grant: 4,
    }
}

/// A gateway whose job is under review, and an outbox in which the story's release lies.
async fn scene(story: Story) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let told = story.tell();
    install_site(&directory.path().join("site"), &told);
    let outbox = directory.path().join("outbox");
    std::fs::create_dir(&outbox).unwrap();
    for bytes in told.files.values().chain([&told.bytes]) {
        std::fs::write(outbox.join(Digest::of(bytes).to_string()), bytes).unwrap();
    }
    let room = Room::open(configuration(directory.path(), &told), Journal::new("test")).await.unwrap();
    room.look_at_site().await.unwrap();
    assert!(room.site.current().is_some());
    let job = told.release.request.payload_digest();
    put_under_review(&room, &told.release.request).await;
    let release_file = Digest::of(&told.bytes);
    Scene { room, told, job, release_file, directory }
}

async fn put_under_review(room: &Room, request: &Envelope) {
    let new = NewJob {
        digest: request.payload_digest(),
        request: request.unverified().unwrap(),
        envelope: request.to_bytes(),
        purpose: String::new(),
        purpose_salt: [7; 32],
        grid_seconds: 1,
    };
    let digest = new.digest;
    room.store.change(move |transaction| jobs::take_in(transaction, &new, LIMITS, now())).await.unwrap();
    let answer = Answer { request: digest, admission: Admission::Queued };
    room.store.change(move |transaction| events::take_answer(transaction, &answer, now())).await.unwrap();
    for (number, state) in [(1, State::Running), (2, State::InReview)] {
        let report = Transition {
            request: digest,
            number,
            run: 1,
            state,
            reason: api::v1::Reason::Unspecified,
            rule: None,
            output: None,
            grid_step: u64::from(number),
            denial_reasons: vec![],
            failure: None,
            used: api::Use::default(),
        };
        let taken =
            room.store.change(move |transaction| events::take_transition(transaction, &report, now()));
        taken.await.unwrap();
    }
}

impl Scene {
    async fn take(&self) -> Result<(), NotServed> {
        take(&self.room, self.job, self.release_file).await
    }

    async fn served_to(&self, person: &str) -> Option<releases::Release> {
        let (person, job) = (person.parse().unwrap(), self.job);
        self.room.store.read(move |connection| releases::find(connection, &person, &job)).await.unwrap()
    }

    async fn state(&self) -> State {
        let job = self.job;
        let standing = self.room.store.read(move |connection| jobs::standing(connection, &job)).await;
        standing.unwrap().unwrap().1
    }

    fn outbox(&self, bytes: &[u8]) -> std::path::PathBuf {
        self.directory.path().join("outbox").join(Digest::of(bytes).to_string())
    }

    /// A released file that lies in the outbox.
    fn a_file(&self) -> std::path::PathBuf {
        self.outbox(self.told.files.values().next().unwrap())
    }

    async fn is_not_served(&self) {
        assert!(self.served_to("researcher-mia").await.is_none());
        assert_eq!(self.state().await, State::InReview);
    }
}

#[tokio::test]
async fn a_logged_release_is_served_to_its_recipient_and_a_repeat_does_nothing() {
    let scene = scene(Story::default()).await;
    scene.take().await.unwrap();
    scene.take().await.unwrap();
    assert_eq!(scene.state().await, State::Released);
    let served = scene.served_to("researcher-mia").await.unwrap();
    assert_eq!(served.files.len(), scene.told.files.len());
    for file in served.files {
        let bytes = scene.room.served.read(file.sha256, file.bytes).unwrap();
        assert_eq!(bytes, scene.told.files[&file.name]);
    }
    assert!(scene.served_to("steward-ana").await.is_none());
}

#[tokio::test]
async fn a_file_of_other_bytes_is_not_served_and_the_right_one_is_afterwards() {
    let scene = scene(Story::default()).await;
    let right = std::fs::read(scene.a_file()).unwrap();
    let mut wrong = right.clone();
    wrong[0] ^= 1;
    std::fs::write(scene.a_file(), wrong).unwrap();
    assert!(matches!(scene.take().await, Err(NotServed::File(_))));
    scene.is_not_served().await;
    std::fs::write(scene.a_file(), right).unwrap();
    scene.take().await.unwrap();
}

#[tokio::test]
async fn a_link_or_a_pipe_in_the_outbox_is_not_followed_and_not_waited_for() {
    let scene = scene(Story::default()).await;
    let elsewhere = scene.directory.path().join("elsewhere");
    // Even where the bytes behind the link are the right ones.
    std::fs::rename(scene.a_file(), &elsewhere).unwrap();
    symlink(&elsewhere, scene.a_file()).unwrap();
    assert!(matches!(scene.take().await, Err(NotServed::File(_))));
    std::fs::remove_file(scene.a_file()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.a_file(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let taking = tokio::time::timeout(std::time::Duration::from_secs(10), scene.take()).await.unwrap();
    assert!(matches!(taking, Err(NotServed::File(_))));
    scene.is_not_served().await;
}

#[tokio::test]
async fn a_release_file_that_was_never_logged_is_not_served() {
    let forged = Story::default().signed_by("manifest", &["enclave"]);
    let scene = scene(forged).await;
    assert!(matches!(scene.take().await, Err(NotServed::Refused(Refusal::ManifestSignature))));
    scene.is_not_served().await;
}

#[tokio::test]
async fn a_witness_on_the_boxs_machine_counts_only_where_it_is_accepted() {
    let scene = scene(Story::default().log(|log| {
        log.cosigners = vec![test_formats::log_story::cosigner(BOX_WITNESS, "2026-03-02T11:00:30Z")];
    }))
    .await;
    assert!(matches!(scene.take().await, Err(NotServed::Refused(Refusal::LogWitnesses))));
    scene.is_not_served().await;
}

#[tokio::test]
async fn a_release_of_another_job_makes_no_job_released() {
    let scene = scene(Story::default()).await;
    let other = Story::default().request(|request| request.job = "another".parse().unwrap()).tell();
    let other_job = other.release.request.payload_digest();
    put_under_review(&scene.room, &other.release.request).await;
    let taken = take(&scene.room, other_job, scene.release_file).await;
    assert!(matches!(taken, Err(NotServed::OtherJob)));
    let unknown = take(&scene.room, Digest::of(b"nobody's"), scene.release_file).await;
    assert!(matches!(unknown, Err(NotServed::NoJob)));
    scene.take().await.unwrap();
}

#[tokio::test]
async fn a_recalled_release_is_not_taken() {
    let release = Story::default().tell().release.manifest.payload_digest();
    let scene = scene(Story::default()).await;
    let site = scene.room.site.current().unwrap();
    let recall = move |transaction: &Transaction<'_>| {
        let mut seen = seen_until_now(transaction, &site)?;
        seen.recalled.insert(release);
        keep_seen(transaction, &seen)
    };
    scene.room.store.change(recall).await.unwrap();
    assert!(matches!(scene.take().await, Err(NotServed::Refused(Refusal::Revoked))));
    scene.is_not_served().await;
}

#[tokio::test]
async fn a_release_is_served_after_the_view_had_stopped_waiting_for_it() {
    let scene = scene(Story::default()).await;
    let long = |transaction: &Transaction<'_>| {
        crate::store::elapsed::count(transaction, 1 << 30, now().seconds())?;
        events::end_unheard(transaction, now())
    };
    assert_eq!(scene.room.store.change(long).await.unwrap().len(), 1);
    assert_eq!(scene.state().await, State::Expired);
    scene.take().await.unwrap();
    assert_eq!(scene.state().await, State::Released);
    assert!(scene.served_to("researcher-mia").await.is_some());
}

#[tokio::test]
async fn a_site_whose_versions_cannot_be_kept_is_not_in_force_until_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let told = Story::default().tell();
    install_site(&directory.path().join("site"), &told);
    let room = Room::open(configuration(directory.path(), &told), Journal::new("test")).await.unwrap();
    let rename = |from: &'static str, to: &'static str| {
        room.store.change(move |transaction| {
            transaction.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).map_err(StoreError::from)
        })
    };
    rename("kept", "away").await.unwrap();
    assert!(room.look_at_site().await.is_err());
    assert!(room.site.current().is_none(), "nothing may be decided by it yet");
    rename("away", "kept").await.unwrap();
    // The files have not changed since; the look tries again all the same.
    room.look_at_site().await.unwrap();
    assert!(room.site.current().is_some());
}
