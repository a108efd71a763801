//! Decisions that wait together.

use databox::review::Desk;
use harness::TestBox;
use lifecycle::State;
use release::file::ReleaseFile;
use release::log::LogProof;

use crate::site_changes::{in_review, until};
use crate::wait;

/// Has a steward approve while nothing can be signed.
async fn approve(tested: &TestBox, steward: &str, job: &str) {
    let opened = tested.opened(steward, job).await;
    tested.desk(steward).await.approve(&opened).await.unwrap_or_else(|failure| panic!("{failure}"));
}

/// What holds the reviews up, as a steward reads it.
async fn held_up(desk: &mut Desk) -> Vec<String> {
    desk.list().await.unwrap().into_iter().map(|review| review.held_up_by).collect()
}

#[test]
fn decisions_that_waited_for_the_signer_become_leaves_together_under_one_head() {
    let mut tested = TestBox::start();
    let jobs = wait(async {
        let mut jobs = Vec::new();
        for (name, value) in [("one", "1"), ("two", "2"), ("three", "3")] {
            jobs.push(in_review(&tested, name, value).await);
        }
        jobs
    });
    tested.stage.rooms().kill("signer");
    wait(async {
        for job in &jobs {
            for steward in ["ana", "ben"] {
                approve(&tested, steward, job).await;
            }
        }
        let mut desk = tested.desk("ana").await;
        let waiting = async || {
            let held_up = held_up(&mut desk).await;
            held_up.iter().all(|by| by == "signer-unreachable").then_some(held_up)
        };
        assert_eq!(until("three that wait for the signer", waiting).await.len(), 3);
    });
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "signer").unwrap();
    let proofs: Vec<LogProof> = wait(async {
        let mut proofs = Vec::new();
        for job in &jobs {
            assert_eq!(tested.wait("kim", job, State::Released).await, State::Released);
            let out = tested.directory().join(format!("out-{job}"));
            tested.shelf("kim").await.get(job, &out).await.unwrap();
            let files = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
            let file = files.into_iter().find(|path| path.to_string_lossy().ends_with(".release.json"));
            let file = ReleaseFile::parse(&std::fs::read(file.unwrap()).unwrap()).unwrap();
            proofs.push(LogProof::parse(file.log_proof.as_bytes()).unwrap());
        }
        proofs
    });
    let mut leaves: Vec<_> = proofs.iter().map(|proof| proof.index).collect();
    leaves.sort_unstable();
    assert_eq!([leaves[1], leaves[2]], [leaves[0] + 1, leaves[0] + 2]);
    assert!(proofs.iter().all(|proof| proof.checkpoint == proofs[0].checkpoint), "one head, one cosignature");
    let journal = std::fs::read_to_string(home.journal("signer")).unwrap();
    let together = journal.lines().filter(|line| line.contains(r#""message":"together""#));
    assert!(together.count() > 0, "{journal}");
}
