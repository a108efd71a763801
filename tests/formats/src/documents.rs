//! The examples in `docs/formats`, made from the story so that they cannot go stale.
//!
//! An example stands between `<!-- example NAME -->` and `<!-- end of example -->`. Everything between is made anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blobs::Digest;
use databox_verify::command;
use release::envelope::Envelope;
use release::file::{CodeDenialFile, DenialFile, Examination, GivenFiles, Pinned, SeenState};
use release::json;
use release::key::Sign;
use release::log::Event;
use release::refusal::Refusal;
use release::site::{Site, file_name};
use release::statement::*;
use serde_json::Value;

use crate::defects;
use crate::large_log::{self, LargeLog};
use crate::log_story::LogStory;
use crate::story::{POLICY_FILE, Story, Told, key, name, time, verified_at};

/// The pages with examples.
pub const PAGES: [&str; 4] = ["statements.md", "site-directory.md", "release-file.md", "log.md"];

const BEGIN: &str = "<!-- example ";
const END: &str = "<!-- end of example -->";

/// Where a page is.
pub fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats").join(page)
}

/// Writes the examples of every page anew.
pub fn write() -> io::Result<()> {
    for page in PAGES {
        let text = fs::read_to_string(path(page))?;
        fs::write(path(page), with_examples(&text))?;
    }
    Ok(())
}

/// A page with its examples made anew. Panics at an example that nobody makes.
pub fn with_examples(text: &str) -> String {
    let mut page = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, example) = rest.split_at(at);
        let (line, after) = example.split_once('\n').expect("a line");
        let which = line.trim_start_matches(BEGIN).trim_end_matches(" -->");
        let end = after.find(END).expect("the end of the example");
        page += &format!("{before}{line}\n{}\n", example_of(which));
        rest = &after[end..];
    }
    page + rest
}

fn example_of(which: &str) -> String {
    let told = Story::default().tell();
    let reviewed = || Story::default().grant(|grant| grant.code_review = CodeReview::BeforeRun).tell();
    match which {
        "envelope" => fenced("json", &pretty(&as_value(&told.release.approvals[0].to_bytes()))),
        "release-file" => fenced("json", &outline(&told.bytes)),
        "denial-file" => fenced("json", &outline(&denial_file(&told))),
        "code-denial-file" => fenced("json", &outline(&code_denial_file(&reviewed()))),
        "remembered" => fenced("json", &pretty(&as_value(&remembered(&told)))),
        "kept" => fenced("json", &pretty(&as_value(&kept()))),
        "log-proof" => fenced("", told.release.log_proof.trim_end()),
        "verifier" => fenced("", verifier_output(&told).trim_end()),
        "refusals" => refusals(),
        "directory" => fenced("", &directory()),
        "seen" => fenced("json", &pretty(&as_value(&site().seen().to_bytes()))),
        kind => {
            let envelope = match kind {
                "code-approval" => reviewed().release.code_approvals[0].clone(),
                "code-denial" => code_denial(&reviewed()),
                kind => statement(kind, &told),
            };
            let bytes = as_value(envelope.payload());
            let digest = envelope.payload_digest();
            format!("Payload digest `{digest}`:\n\n{}", fenced("json", &pretty(&bytes)))
        }
    }
}

fn statement(kind: &str, told: &Told) -> Envelope {
    let release = told.release.clone();
    match kind {
        "roles" => release.roles[1].clone(),
        "policy" => release.policy,
        "dataset" => release.catalogue[0].clone(),
        "runtime" => release.catalogue[1].clone(),
        "grant" => release.grant,
        "revocation" => release.revocation,
        "job-request" => release.request,
        "cancel" => cancel(told),
        "egress-verdict" => release.verdict,
        "steward-approval" => release.approvals[0].clone(),
        "denial" => denial(told),
        "release-manifest" => release.manifest,
        other => panic!("there is no example {other}"),
    }
}

fn cancel(told: &Told) -> Envelope {
    let request: Request = told.release.request.unverified().expect("a request");
    let cancel = Cancel {
        site: request.site,
        request: told.release.request.payload_digest().into(),
        requester: request.requester,
        issued_at: time("2026-03-02T09:05:00Z"),
    };
    Envelope::sign(&cancel, &[&key("researcher-mia")]).expect("an envelope")
}

fn denial(told: &Told) -> Envelope {
    let verdict: Verdict = told.release.verdict.unverified().expect("a verdict");
    let denial = Denial {
        site: verdict.site,
        verdict: told.release.verdict.payload_digest().into(),
        challenge: verdict.challenge,
        steward: name("steward-ben"),
        decision: DenialDecision::Return,
        reasons: vec![DenialReason::SmallCounts, DenialReason::Unexplained],
        roles: verdict.roles,
        issued_at: time("2026-03-02T10:45:00Z"),
    };
    Envelope::sign(&denial, &[&key("steward-ben") as &dyn Sign]).expect("an envelope")
}

fn code_denial(told: &Told) -> Envelope {
    let request: Request = told.release.request.unverified().expect("a request");
    let verdict: Verdict = told.release.verdict.unverified().expect("a verdict");
    let denial = CodeDenial {
        site: request.site,
        request: told.release.request.payload_digest().into(),
        bundle: request.bundle,
        steward: name("steward-ben"),
        decision: DenialDecision::Return,
        reasons: vec![DenialReason::TooMuch, DenialReason::Code],
        roles: verdict.roles,
        issued_at: time("2026-03-02T09:12:00Z"),
    };
    Envelope::sign(&denial, &[&key("steward-ben") as &dyn Sign]).expect("an envelope")
}

fn site_files() -> Vec<(PathBuf, Vec<u8>)> {
    let decided = Story::default().decide();
    let [first, second] = decided.roles;
    let [dataset, runtime] = decided.catalogue;
    let denial = denial(&Story::default().tell());
    let envelopes =
        [first, second, decided.revocation, decided.policy, dataset, runtime, decided.grant, denial];
    let place = |envelope: &Envelope| (file_name(envelope).expect("a place"), envelope.to_bytes());
    let mut files: Vec<_> = envelopes.iter().map(place).collect();
    files.push(("policies/standard/3.toml".into(), POLICY_FILE.as_bytes().to_vec()));
    files.sort();
    files
}

fn site() -> Site {
    let pin = Story::default().decide().roles[0].payload_digest();
    Site::from_files(site_files(), &pin, verified_at()).expect("a site")
}

fn directory() -> String {
    let line = |(path, bytes): &(PathBuf, Vec<u8>)| {
        let digest = match Envelope::parse(bytes) {
            Ok(envelope) => format!("payload {}", envelope.payload_digest()),
            Err(_) => format!("file    {}", Digest::of(bytes)),
        };
        let path = path.display().to_string();
        // A denial's name is too long for a page.
        let path = match path.split_once('/') {
            Some(("denials", file)) => format!("denials/{}….{}", &file[..8], &file[65..]),
            _ => path,
        };
        format!("{path:<40} {}…\n", &digest[..24])
    };
    site_files().iter().map(line).collect::<String>().trim_end().to_owned()
}

/// A whole release or denial file but for the inside of its base64, which is shortened.
fn outline(bytes: &[u8]) -> String {
    let mut value = as_value(bytes);
    shorten(&mut value);
    pretty(&value)
}

/// The proof of a log in which a denial stands in the place of the release.
fn proof_of(event: Event, denial: &Envelope) -> String {
    let mut log = LogStory::of(&Story::default().decide(), denial);
    let leaf = release::file::leaf(event, denial, &key("steward-ben").public()).expect("a leaf");
    log.leaf = leaf.to_text().into_bytes();
    log.proof()
}

fn denial_file(told: &Told) -> Vec<u8> {
    let denial = denial(told);
    let log_proof = proof_of(Event::Denial, &denial);
    let (verdict, request) = (told.release.verdict.clone(), told.release.request.clone());
    DenialFile { denial, verdict, request, log_proof }.to_bytes()
}

fn code_denial_file(told: &Told) -> Vec<u8> {
    let denial = code_denial(told);
    let log_proof = proof_of(Event::CodeDenial, &denial);
    CodeDenialFile { denial, request: told.release.request.clone(), log_proof }.to_bytes()
}

/// What a verifier remembers that has seen the story's release and nothing else.
fn remembered(told: &Told) -> Vec<u8> {
    let pinned = Pinned { roles: told.pin, accept_on_box_witness: false, seen: None };
    let found = Examination::of(&told.bytes, &pinned, verified_at(), GivenFiles::NotGiven);
    let mut seen = SeenState::default();
    seen.add(&found.result.expect("a release"), verified_at());
    json::to_bytes(&seen)
}

/// What an auditor keeps of a log with one release.
fn kept() -> Vec<u8> {
    let directory = temporary();
    let (mirror, kept) = (directory.join("mirror"), directory.join("state.json"));
    let mut log = LargeLog::begin(&mirror, "a");
    log.grow(10, 1);
    log.publish();
    let (code, text) = large_log::log(&mirror, &log.pin, &["--since", kept.to_str().expect("a path")]);
    assert_eq!(code, 0, "{text}");
    let bytes = fs::read(&kept).expect("what was kept");
    fs::remove_dir_all(&directory).expect("the directory");
    bytes
}

/// A directory of this thread's own.
fn temporary() -> PathBuf {
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let directory = std::env::temp_dir().join(format!("databox-example-{process}-{thread:?}"));
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

fn shorten(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(text) if matches!(key.as_str(), "payload" | "sig" | "keyid" | "file") => {
                        *text = format!("{}…", &text[..12]);
                    }
                    other => shorten(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null => {}
    }
}

fn verifier_output(told: &Told) -> String {
    let directory = temporary();
    let files = directory.join("files");
    fs::create_dir_all(&files).expect("a directory");
    let release = directory.join("example.release.json");
    fs::write(&release, &told.bytes).expect("a file");
    for (name, bytes) in &told.files {
        fs::write(files.join(name.as_str()), bytes).expect("a file");
    }
    let arguments = [
        release.clone().into_os_string(),
        "--roles".into(),
        told.pin.to_string().into(),
        "--files".into(),
        files.into_os_string(),
    ];
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = command::exit_code(arguments, &mut out, &mut errors);
    fs::remove_dir_all(&directory).expect("the directory");
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&errors));
    let text = String::from_utf8(out).expect("UTF-8");
    let shown = text.replace(&release.display().to_string(), "example.release.json");
    format!("$ databox-verify example.release.json --files files --roles {}\n{shown}", told.pin)
}

fn refusals() -> String {
    let mut table = String::from("| code | name | what it means | vectors |\n|-|-|-|-|\n");
    let names: Vec<String> = defects::all().into_iter().map(|defect| defect.name).collect();
    for refusal in Refusal::ALL {
        let vectors = names.iter().filter(|vector| vector.split('.').next() == Some(refusal.name())).count();
        let vectors = if vectors == 0 { "—".to_owned() } else { vectors.to_string() };
        table +=
            &format!("| {} | `{}` | {} | {vectors} |\n", refusal.code(), refusal.name(), refusal.meaning());
    }
    table.trim_end().to_owned()
}

fn as_value(bytes: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(bytes).expect("JSON");
    value.sort_all_objects();
    value
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

fn fenced(language: &str, text: &str) -> String {
    format!("```{language}\n{text}\n```\n")
}

/// Every key that stands in an example's JSON. A page must explain each.
pub fn keys_of(page: &str) -> std::collections::BTreeSet<String> {
    let text = fs::read_to_string(path(page)).expect("a page");
    let mut keys = std::collections::BTreeSet::new();
    for block in text.split("```json\n").skip(1) {
        let json = block.split("\n```").next().expect("a block");
        gather(&serde_json::from_str(json).expect("JSON"), &mut keys);
    }
    keys
}

fn gather(value: &Value, keys: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                keys.insert(key.clone());
                gather(field, keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, keys)),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null => {}
    }
}
