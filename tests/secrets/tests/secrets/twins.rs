//! The search finds what is there: every form, in each kind of place that is searched.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::canaries::{Canaries, FORMS, Secret};
use crate::places::{files, may_keep, memory};

fn secrets() -> Vec<Secret> {
    let row = Secret { name: "row".to_owned(), bytes: b"qhwmzvxkrtbplsdyfgnjcaeuoiqwxzvbnmklpoiu".to_vec() };
    let key = (0..32u8).map(|byte| byte.wrapping_mul(167).wrapping_add(129)).collect();
    vec![row, Secret { name: "key signer".to_owned(), bytes: key }]
}

/// A secret as each accident would write it, with something before it, so that it stands anywhere in a group of base64.
fn accidents(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        ("raw", secret.to_vec()),
        ("reversed", secret.iter().rev().copied().collect()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
    ];
    for before in ["", "x", "xy"] {
        let bytes = [before.as_bytes(), secret, b"z"].concat();
        all.push(("base64", STANDARD.encode(&bytes).into_bytes()));
        all.push(("base64url", URL_SAFE.encode(&bytes).into_bytes()));
    }
    all
}

/// True if the search names this secret in this form. The two alphabets of base64 agree on most texts.
fn is_found(canaries: &Canaries, bytes: &[u8], secret: &str, form: &str) -> bool {
    canaries.within(bytes).iter().any(|(name, found)| {
        *name == secret && (*found == form || found.starts_with("base64") && form.starts_with("base64"))
    })
}

#[test]
fn a_secret_is_found_in_every_form_in_a_file_a_journal_a_database_and_its_log() {
    let secrets = secrets();
    let canaries = Canaries::new(&secrets);
    let directory = tempfile::tempdir().expect("a directory");
    let mut forms = std::collections::BTreeSet::new();
    for secret in &secrets {
        for (number, (form, written)) in accidents(&secret.bytes).into_iter().enumerate() {
            forms.insert(form);
            let below = directory.path().join(format!("{} {number}", secret.name));
            std::fs::create_dir(&below).expect("a directory");
            std::fs::write(below.join("plain"), [&[0; 4093][..], &written, &[255; 9]].concat())
                .expect("a file");
            let line =
                format!(r#"{{"level":"info","event":"job","job":"{}"}}"#, String::from_utf8_lossy(&written));
            if form != "raw" && form != "reversed" {
                std::fs::write(below.join("journal.log"), line).expect("a journal");
            }
            let database = rusqlite::Connection::open(below.join("rows.db")).expect("a database");
            database.pragma_update(None, "journal_mode", "wal").expect("a log");
            database.execute_batch("CREATE TABLE kept (what BLOB)").expect("a table");
            database.execute("INSERT INTO kept VALUES (?1)", [&written]).expect("a row");
            for path in files(&below) {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let bytes = std::fs::read(&path).expect("a file");
                // The row is in the log of the database, and in the database itself once the log was taken over.
                if name == "plain" || name == "journal.log" || name == "rows.db-wal" {
                    assert!(
                        is_found(&canaries, &bytes, &secret.name, form),
                        "{} as {form} in {name}",
                        secret.name
                    );
                }
            }
            database.close().expect("an end");
            let bytes = std::fs::read(below.join("rows.db")).expect("the database");
            assert!(is_found(&canaries, &bytes, &secret.name, form), "{} as {form} in a table", secret.name);
        }
    }
    assert_eq!(forms.len(), FORMS.len());
    assert!(canaries.within(b"an honest line, 0123456789abcdef, and nothing else").is_empty());
}

#[test]
fn a_secret_is_found_in_the_memory_of_a_process() {
    let secrets = secrets();
    let canaries = Canaries::new(&secrets);
    for secret in &secrets {
        for (form, written) in accidents(&secret.bytes) {
            let mut process = Command::new("/usr/bin/python3")
                .args(["-I", "-c", "import sys; held = sys.stdin.buffer.read(int(sys.argv[1])); print(len(held), flush=True); sys.stdin.buffer.read()"])
                .arg(written.len().to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3: apt install python3");
            let mut input = process.stdin.take().expect("its input");
            input.write_all(&written).expect("a listener");
            process.stdout.take().expect("its output").read_exact(&mut [0]).expect("its word");
            let parts = memory(process.id());
            let found = parts.iter().any(|part| is_found(&canaries, part, &secret.name, form));
            drop(input);
            process.wait().expect("its end");
            assert!(found, "{} as {form}", secret.name);
        }
    }
}

#[test]
fn a_place_that_the_table_does_not_name_may_keep_nothing() {
    for name in [
        "box/gateway/queue.db-wal",
        "box/run/enclave.log",
        "box/public/tile/0/000",
        "fetched/metrics.json",
        "box/keys/box.public.json",
    ] {
        assert!(may_keep(name).is_empty(), "{name}");
    }
    assert!(may_keep("box/keys/signer.pem").iter().any(|kept| kept.covers("key signer")));
    assert!(!may_keep("box/keys/signer.pem").iter().any(|kept| kept.covers("key log") || kept.covers("row")));
    assert!(may_keep("box/enclave/datasets/x").iter().any(|kept| kept.covers("row")));
}
