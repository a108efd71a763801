//! How `databox job submit --wait` ends, as a script sees it: by how its job did.

use std::process::{Child, Command, Stdio};

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::{DenialDecision, DenialReason};

use crate::site_changes::until;
use crate::wait;

/// A command that waits for its job.
struct Waiting(Child);

impl Waiting {
    fn start(tested: &TestBox, name: &str, text: &str, code: &str, how: &str) -> Self {
        let profile = tested.directory().join("kim.toml");
        if !profile.exists() {
            tested.stage.profile("kim").write_new(&profile).unwrap();
        }
        let bundle = tested.bundle(name, &[("databox.toml", text), ("job.py", code)]);
        let child = Command::new(harness::programs().join("databox"))
            .args(["job", "submit"])
            .arg(bundle)
            .args([how, "--profile"])
            .arg(&profile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn ended(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

/// The job that was submitted last, once it is in this state.
async fn newest(tested: &TestBox, wanted: State) -> String {
    until("the job", async || {
        let job = tested.bench("kim").await.jobs().await.ok()?.into_iter().next()?;
        (state(&job) == wanted).then_some(job.job)
    })
    .await
}

#[test]
fn a_wait_ends_with_the_code_of_how_its_job_ended() {
    let mut tested = TestBox::start();
    let text = manifest(ONE_METRIC);
    let slow = "import time\ntime.sleep(25)";

    let too_much = text.replace("cpus = 1", "cpus = 64");
    let refused = Waiting::start(&tested, "refused", &too_much, slow, "--wait");
    assert_eq!(refused.ended(), Some(22), "REFUSED");

    for (name, decision) in [("rejected", DenialDecision::Reject), ("returned", DenialDecision::Return)] {
        let denied = Waiting::start(&tested, name, &text, &write_metric("1"), "--wait=released");
        wait(async {
            let job = newest(&tested, State::InReview).await;
            let opened = tested.opened("ana", &job).await;
            let reasons = vec![DenialReason::TooMuch];
            tested.desk("ana").await.deny(&opened, decision, reasons, None).await.unwrap();
        });
        assert_eq!(denied.ended(), Some(23), "{name}");
    }

    let cancelled = Waiting::start(&tested, "cancelled", &text, slow, "--wait");
    wait(async {
        let job = newest(&tested, State::Running).await;
        tested.bench("kim").await.cancel(&job).await.unwrap();
    });
    assert_eq!(cancelled.ended(), Some(24), "CANCELLED");

    let lost = Waiting::start(&tested, "lost", &text, slow, "--wait");
    for run in 1..=3 {
        wait(async {
            let job = newest(&tested, State::Running).await;
            until("the run", async || {
                let found = tested.bench("kim").await.job(&job).await.ok()?;
                (found.run == run && state(&found) == State::Running).then_some(())
            })
            .await;
        });
        tested.stage.kill_and_restart("enclave").unwrap();
    }
    assert_eq!(lost.ended(), Some(26), "LOST");

    let released = Waiting::start(&tested, "released", &text, &write_metric("1"), "--wait=released");
    wait(async {
        newest(&tested, State::InReview).await;
        for steward in ["ana", "ben"] {
            tested.approve(steward).await;
        }
    });
    assert_eq!(released.ended(), Some(0), "RELEASED");
}
