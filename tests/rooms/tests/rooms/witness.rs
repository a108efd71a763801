//! A witness that was taken over cosigns an older log, another past, or nothing. The signer publishes nothing on that,
//! and a released file still needs a cosignature of the very log that it stands in.

use std::time::Duration;

use harness::TestBox;
use lifecycle::State;

use crate::held::Held;
use crate::{Liar, told, until, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-witness");

#[test]
fn nothing_is_released_on_the_word_of_a_lying_witness_and_the_honest_one_completes_it() {
    let mut tested = TestBox::start_with_users();
    let held = wait(Held::of_job(&tested, "one", "1"));
    tested.stage.kill_witness();
    let how = tested.directory().join("how");
    std::fs::write(&how, "silent").unwrap();
    let arguments = [
        tested.stage.endpoints().witness.to_string(),
        tested.directory().join("witness/witness.pem").display().to_string(),
        "demo.databox.example/witness".to_owned(),
        how.display().to_string(),
    ];
    let liar = Liar::start(&tested, "witness", PROGRAM, "witness", &arguments);
    liar.until("the witness's address", |heard| !heard.is_empty());
    wait(async {
        for steward in ["ana", "ben"] {
            let mut desk = tested.desk(steward).await;
            let opened = desk.open(&held.digest().to_string()).await.unwrap();
            // The last approval is answered once the log has the release; nobody waits for that here.
            let _ = tokio::time::timeout(Duration::from_secs(2), desk.approve(&opened)).await;
        }
    });
    let size = liar.until("a question", |heard| heard.len() > 2)[1].clone();
    let lies = [
        ("older", "log-witnesses"),
        ("forked", "log-witnesses"),
        ("other-key", "log-witnesses"),
        // That it had seen a larger log: this one could be an old copy, and nothing is signed until a person looks.
        ("conflict 1000000", "log-behind-witness"),
    ];
    for (lie, refusal) in lies {
        let before = told(&tested, "signer", "\"refused\"", "refusal").len();
        std::fs::write(&how, lie).unwrap();
        let refusals = until(lie, || {
            let refusals = told(&tested, "signer", "\"refused\"", "refusal");
            (refusals.len() > before).then(|| refusals[before..].to_vec())
        });
        assert!(refusals.iter().all(|found| found == refusal), "{lie}: {refusals:?}");
    }
    assert!(liar.heard()[1..].iter().all(|asked| *asked == size), "no leaf was added in vain");
    let state =
        wait(async { databox::job::state(&tested.bench("kim").await.job(&held.job()).await.unwrap()) });
    assert_eq!(state, State::InReview);
    let released = tested.stage.home.join("public/releases");
    let count = std::fs::read_dir(&released).map_or(0, Iterator::count);
    assert_eq!(count, 0, "no release file is there");
    drop(liar);

    tested.stage.start_witness().unwrap();
    assert_eq!(wait(tested.wait("kim", &held.job(), State::Released)), State::Released);
}
