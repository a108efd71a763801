//! Rooms that were taken over. Each liar is a program of its own that stands in the place of one room, on the real
//! socket, and the rooms around it are the real ones. In a throw-away box all rooms run as one user, so that a liar is
//! heard as the room that it has taken over would be.

mod cancel;
mod checker;
mod console;
mod enclave;
mod gateway;

use std::ffi::OsStr;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use harness::TestBox;

/// Runs a test's steps.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

/// Has both stewards approve, and gives the release file.
async fn approve(tested: &TestBox, job: &str) -> Vec<u8> {
    for steward in ["ana", "ben"] {
        let opened = tested.opened(steward, job).await;
        let answer = tested.desk(steward).await.approve(&opened).await.unwrap();
        if !answer.release_file.is_empty() {
            return answer.release_file.to_vec();
        }
    }
    panic!("two approvals made no release");
}

/// A running liar. Dropping it kills it.
struct Liar {
    child: Child,
    said: PathBuf,
}

impl Liar {
    /// Starts a liar that writes what it hears to `<directory>/<name>.heard`.
    fn start<A: AsRef<OsStr>>(program: &str, directory: &Path, name: &str, arguments: &[A]) -> Self {
        let said = directory.join(format!("{name}.heard"));
        let file = std::fs::File::create(&said).expect("a new file");
        let child = Command::new(program).args(arguments).stdout(file).spawn().expect("the liar starts");
        Self { child, said }
    }

    /// What it has heard up to now.
    fn heard(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.said).expect("the liar's file");
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until it has heard enough.
    fn until(&self, what: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + harness::PATIENCE;
        loop {
            let heard = self.heard();
            if enough(&heard) {
                return heard;
            }
            assert!(Instant::now() < deadline, "{what} did not come; heard {heard:#?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
