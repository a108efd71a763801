//! A gateway that goes on writing to what it handed over: the enclave copies, hashes its copy, and uses nothing else.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use blobs::Digest;
use databox::job::Prepared;
use databox::users;
use harness::{TestBox, write_metric};

use crate::gateway::{Case, PROGRAM, charges, prepare, prepare_code};
use crate::{Liar, wait};

const NAMES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// Writes one content over the other in the same file, again and again.
const REWRITE: &str = r#"
import sys
contents = [open(path, "rb").read() for path in sys.argv[2:]]
with open(sys.argv[1], "wb", buffering=0) as file:
    print("writes", flush=True)
    while True:
        for content in contents:
            file.seek(0)
            file.write(content)
            file.truncate(len(content))
"#;

/// Programs of the gateway's user that write. Dropping them ends them.
struct Writers(Vec<Child>);

impl Drop for Writers {
    fn drop(&mut self) {
        for writer in &mut self.0 {
            let _ = writer.kill();
            let _ = writer.wait();
        }
    }
}

impl Writers {
    /// Goes on writing the signed bundle and another one in turn where the signed one should lie.
    fn add(&mut self, tested: &TestBox, signed: &Prepared, other: &Prepared) {
        let keep = |name: &str, bytes: &[u8]| {
            let path = tested.directory().join(format!("{}-{name}", signed.job()));
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let (signed_file, other_file) = (keep("signed", &signed.bundle), keep("other", &other.bundle));
        let home = &tested.stage.home;
        let place = home.join("hand-over/gateway-to-enclave").join(Digest::of(&signed.bundle).to_string());
        let mut command = users::command_as(home, "gateway", "/usr/bin/python3").unwrap();
        command.args(["-c", REWRITE]).arg(place).arg(signed_file).arg(other_file).stdout(Stdio::piped());
        let mut writer = command.spawn().unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut said).unwrap();
        self.0.push(writer);
    }
}

#[test]
fn of_a_bundle_that_changes_while_it_is_copied_the_enclave_runs_what_was_signed_or_nothing() {
    let mut tested = TestBox::start_with_users();
    let signed = NAMES.map(|name| prepare(&tested, name));
    let others = NAMES.map(|name| prepare_code(&tested, &format!("{name}-other"), &write_metric("2")));
    let twin = prepare(&tested, "twin");
    tested.stage.rooms().kill("gateway");
    let hand_over = tested.stage.home.join("hand-over/gateway-to-enclave");
    blobs::BlobStore::open(&hand_over, 0o640).unwrap().put(&twin.bundle).unwrap();
    let mut writers = Writers(Vec::new());
    for (signed, other) in signed.iter().zip(&others) {
        writers.add(&tested, signed, other);
    }
    let cases: Vec<_> = NAMES.into_iter().zip(&signed).map(|(name, one)| Case::of(name, one, "")).collect();
    let mut arguments = vec![tested.stage.home.join("run/gateway/gateway.sock"), PathBuf::from("once")];
    arguments
        .extend(cases.iter().chain([&Case::of("twin", &twin, "")]).map(|case| case.lay(tested.directory())));
    let liar = Liar::start(&tested, "gateway", PROGRAM, "changing", &arguments);
    let answer = |heard: &[String], job: &Digest| {
        let begin = format!("answer {job} ");
        heard.iter().find_map(|line| line.strip_prefix(&begin).map(str::to_owned))
    };
    let all: Vec<Digest> = signed.iter().chain([&twin]).map(Prepared::job).collect();
    let heard = liar.until("every answer", |heard| all.iter().all(|job| answer(heard, job).is_some()));
    assert_eq!(answer(&heard, &twin.job()).as_deref(), Some("ACCEPTED"), "what stands still is run");
    let mut ran = 0;
    for job in &all {
        match answer(&heard, job).unwrap().as_str() {
            "ACCEPTED" => {
                let opened = wait(tested.opened("ana", &job.to_string()));
                assert_eq!(opened.content.canonical[0].1, b"{\"value\":1}\n", "another bundle was run");
                ran += 1;
            }
            refused => {
                assert_eq!((refused, charges(&tested, job)), ("REASON_BUNDLE", 0));
            }
        }
    }
    println!("of {} bundles that changed, {} were run as they were signed", NAMES.len(), ran - 1);
}
