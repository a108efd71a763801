//! Heads of the log that no decision waits for, and a console or a signer that lies about them.

use harness::TestBox;
use release::json;
use release::log::Note;
use release::log::checkpoint::Checkpoint;
use release::log::socket::{Answer, CosignHead, Message, Publish, Published, Unwitnessed};
use release::value::Count;

use crate::{Liar, put_to_signer, until, wait};

const SIGNER: &str = env!("CARGO_BIN_EXE_lying-signer");

/// The published checkpoint.
fn published(tested: &TestBox) -> Option<(u64, Note)> {
    let note = Note::parse(&std::fs::read(tested.stage.home.join("public/log/checkpoint")).ok()?).ok()?;
    Some((Checkpoint::parse(note.text()).ok()?.size, note))
}

/// The published checkpoint, once it covers each statement of the site.
fn whole(tested: &TestBox) -> (u64, Note) {
    until("the site in the log", || published(tested).filter(|(size, _)| *size == statements(tested)))
}

fn statements(tested: &TestBox) -> u64 {
    let (mut found, mut open) = (0, vec![tested.stage.home.site()]);
    while let Some(directory) = open.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                found += 1;
            }
        }
    }
    found
}

fn publish(witnessed: u64) -> Message {
    Message::Publish(Publish { witnessed: Count(witnessed) })
}

fn cosign_head(size: u64, lines: &str) -> Message {
    Message::CosignHead(CosignHead { size: Count(size), cosignatures: lines.to_owned() })
}

/// The lines of a published checkpoint that are not the log's own.
fn cosignatures(note: &Note) -> String {
    let own = format!("\u{2014} {} ", note.text().lines().next().unwrap_or_default());
    let text = note.to_string();
    let (_, signatures) = text.split_once("\n\n").unwrap();
    signatures.lines().filter(|line| !line.starts_with(&own)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn no_head_is_published_on_what_a_lying_console_forges_or_replays_and_the_honest_one_publishes_it() {
    let mut tested = TestBox::start_with_users();
    let (before, note) = whole(&tested);
    tested.stage.rooms().kill("console");
    wait(tested.ask_for_code_review());
    let grown = before + 1;
    let of_before = cosignatures(&note);
    assert!(!of_before.is_empty());
    let forged = format!("\u{2014} demo.databox.example/witness {}\n", base64_of([7; 76]));
    let answers = put_to_signer(
        &tested,
        &[
            publish(0),
            publish(before),
            cosign_head(grown, &forged),
            cosign_head(grown, &of_before),
            cosign_head(grown, ""),
            cosign_head(grown + 1, &of_before),
            publish(1 << 40),
            // A head that is published already is no news, and does not take the log back.
            cosign_head(before, &of_before),
        ],
    );
    let unwitnessed = format!("unwitnessed {grown}");
    let same = format!("published {before}");
    let expected = [
        &unwitnessed[..],
        &unwitnessed,
        "log-witnesses",
        "log-witnesses",
        "cosignature-form",
        "size-unknown",
        "log-behind-witness",
        &same,
    ];
    assert_eq!(answers, expected);
    assert_eq!(published(&tested).unwrap(), (before, note));

    // What the liar withheld the honest console brings.
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "console").unwrap();
    let (size, now) = until("the new head", || published(&tested).filter(|(size, _)| *size == grown));
    let again = [publish(0), cosign_head(before, &of_before), cosign_head(size, &cosignatures(&now))];
    tested.stage.rooms().kill("console");
    let same = format!("published {grown}");
    assert_eq!(put_to_signer(&tested, &again), [&same[..]; 3]);
    assert_eq!(published(&tested).unwrap(), (grown, now));
}

fn base64_of(bytes: [u8; 76]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_signer_that_lies_about_its_head_gets_no_cosignature_and_what_it_withheld_is_in_the_log_once_it_is_honest()
 {
    let mut tested = TestBox::start_with_users();
    let (before, note) = whole(&tested);
    let home = tested.stage.home.clone();
    tested.stage.rooms().kill("signer");
    let answers = tested.directory().join("answers");
    std::fs::create_dir(&answers).unwrap();
    let say = |answer: &Answer| std::fs::write(answers.join("site"), json::to_bytes(answer)).unwrap();
    // A head that the witness has seen, said to be new; then something that is none; then silence.
    let add_checkpoint = format!("old 0\n\n{note}");
    say(&Answer::Unwitnessed(Unwitnessed { size: Count(before + 1), add_checkpoint }));
    let socket = home.join("run/signer/signer.sock");
    let liar = Liar::start(&tested, "signer", SIGNER, "signer", &[socket.clone(), answers.clone()]);
    wait(tested.ask_for_code_review());
    let asked =
        |heard: &[String], more: usize| heard.iter().filter(|line| *line == "publish site").count() > more;
    let heard = liar.until("questions", |heard| asked(heard, 2));
    say(&Answer::Unwitnessed(Unwitnessed { size: Count(99), add_checkpoint: "rubbish".to_owned() }));
    let heard = liar.until("more questions", |now| asked(now, heard.len() + 2));
    std::fs::remove_file(answers.join("site")).unwrap();
    let heard = liar.until("more questions", |now| asked(now, heard.len() + 1));
    assert!(!heard.iter().any(|line| line.starts_with("cosign-head")), "{heard:?}");
    // The console believes a signer that says all is published; readers of the log see that it is not.
    say(&Answer::Published(Published { size: Count(99) }));
    liar.until("an answer", |now| asked(now, heard.len()));
    assert_eq!(published(&tested).unwrap(), (before, note));
    drop(liar);
    tested.stage.rooms().kill("console");
    for room in ["signer", "console"] {
        tested.stage.rooms().restart(&home, room).unwrap();
    }
    until("the withheld grant in the log", || published(&tested).filter(|(size, _)| *size == before + 1));
}
