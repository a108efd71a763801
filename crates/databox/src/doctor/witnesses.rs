//! Witnesses: whether they answer with the keys that the roles name, and whether any of them is independent.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use release::log::checkpoint::{self, Checkpoint};
use release::log::note::NoteSignature;
use release::log::witness::AddCheckpoint;
use release::log::{Note, VerifierKey};
use release::site::Site;

use super::configurations::Configurations;
use super::{Check, quorum};

const PATIENCE: Duration = Duration::from_secs(5);

const START: &str = "start it (`databox witness`), or correct `witnesses` in console.toml";

/// Largest answer taken, in bytes.
const ANSWER_BYTES: u64 = 16 * 1024;

pub fn examine(configurations: &Configurations, site: Option<&Site>) -> Vec<Check> {
    let Some(site) = site else { return Vec::new() };
    let mut checks = vec![independent(site)];
    checks.extend(quorum::examine(configurations, site));
    if configurations.witnesses.is_empty() {
        checks.push(Check::fail(
            "witness",
            "console.toml names no witness",
            "add its address to `witnesses`",
        ));
    }
    for address in &configurations.witnesses {
        checks.push(one(address, configurations, site));
    }
    checks
}

/// How many witnesses are not in the hands of whoever has this machine.
fn independent(site: &Site) -> Check {
    let roles = site.roles();
    let away = roles.witnesses.iter().filter(|witness| !witness.on_box_machine).count();
    let text = format!(
        "{away} of {} witnesses are not on this machine; {} must cosign",
        roles.witnesses.len(),
        roles.witness_quorum.0
    );
    if away > 0 {
        return Check::ok("witness-independent", text);
    }
    Check::warn(
        "witness-independent",
        text,
        "have another organisation run `databox witness`, and name its key in the roles: outside of demonstrations a \
         verifier refuses releases that nobody else witnessed",
    )
}

fn one(address: &str, configurations: &Configurations, site: &Site) -> Check {
    let begun = Instant::now();
    loop {
        let published = match published(configurations, site) {
            Ok(Some(published)) => published,
            Ok(None) => return reachable(address),
            Err(why) => {
                return Check::fail("witness", why, "`databox fsck` tells what is wrong with the log");
            }
        };
        match answered(address, &published) {
            // A head is cosigned before it is published: a console that runs may be in between.
            Err(Asked::OtherSize(seen)) if seen > published.old && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(200));
            }
            answer => return judged(address, &published, answer, site),
        }
    }
}

/// Asks from the size of the head itself, and from nothing where the witness has seen nothing of this log: neither
/// needs a proof.
fn answered(address: &str, published: &AddCheckpoint) -> Result<String, Asked> {
    match cosigned(address, published) {
        Err(Asked::OtherSize(0)) => cosigned(address, &AddCheckpoint { old: 0, ..published.clone() }),
        answer => answer,
    }
}

fn judged(address: &str, published: &AddCheckpoint, answer: Result<String, Asked>, site: &Site) -> Check {
    let size = published.old;
    match answer {
        Ok(lines) => match known(&published.checkpoint, &lines, site) {
            Some(name) => Check::ok("witness", format!("{address}: {name} cosigns")),
            None => Check::fail(
                "witness",
                format!("{address} answers with a key that the roles do not name"),
                "name the witness's key in new roles, or ask the one that the roles name",
            ),
        },
        Err(Asked::OtherSize(seen)) if seen > size => Check::fail(
            "witness",
            format!("{address} has seen {seen} leaves of this log, and {size} are published"),
            "an old copy of the log was put back: bring back the newest one, or ask the people of the root role",
        ),
        Err(Asked::OtherSize(seen)) => Check::ok(
            "witness",
            format!(
                "{address} answers; it has cosigned {seen} of {size} leaves, the rest comes with the next release"
            ),
        ),
        Err(Asked::Refused(status)) => {
            let remedy = "it does not know this log: give it the log's key (`--log` of `databox witness`)";
            Check::fail("witness", format!("{address} refuses with status {status}"), remedy)
        }
        Err(Asked::Unreachable(why)) => Check::fail("witness", format!("{address}: {why}"), START),
    }
}

enum Asked {
    Unreachable(String),
    OtherSize(u64),
    Refused(u16),
}

/// The newest published head, as a question whether it is cosigned still: from its own size, without a proof.
fn published(configurations: &Configurations, site: &Site) -> Result<Option<AddCheckpoint>, String> {
    let path = configurations.public.join("log/checkpoint");
    let Ok(bytes) = fs::read(&path) else { return Ok(None) };
    let note = Note::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let log = VerifierKey::of_log(&site.roles().log).map_err(|error| error.to_string())?;
    let head = Checkpoint::open(&note, &log).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(AddCheckpoint { old: head.size, proof: Vec::new(), checkpoint: note.only(&[&log]) }))
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let host = address.strip_prefix("http://").ok_or("the address is not of the form http://HOST:PORT")?;
    let host = host.split('/').next().unwrap_or(host);
    let mut places = host.to_socket_addrs().map_err(|error| error.to_string())?;
    let place = places.next().ok_or("the name has no address")?;
    let stream = TcpStream::connect_timeout(&place, PATIENCE).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    Ok(stream)
}

fn reachable(address: &str) -> Check {
    match connect(address) {
        Ok(_) => Check::ok("witness", format!("{address} can be reached; the log has no head to cosign yet")),
        Err(why) => Check::fail("witness", format!("{address}: {why}"), START),
    }
}

/// Asks once (C2SP tlog-witness, `add-checkpoint`); one request on one connection needs no more of HTTP.
fn cosigned(address: &str, request: &AddCheckpoint) -> Result<String, Asked> {
    let mut stream = connect(address).map_err(Asked::Unreachable)?;
    let rest = address.trim_start_matches("http://");
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let slash = if prefix.is_empty() { "" } else { "/" };
    let body = request.to_string();
    let head = format!(
        "POST /{prefix}{slash}add-checkpoint HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let unreachable = |error: std::io::Error| Asked::Unreachable(error.to_string());
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).map_err(unreachable)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(200), Some((_, body))) => Ok(body.to_owned()),
        (Some(409), Some((_, body))) => match body.trim_end().parse() {
            Ok(size) => Err(Asked::OtherSize(size)),
            Err(_) => Err(Asked::Refused(409)),
        },
        (Some(status), _) => Err(Asked::Refused(status)),
        (None, _) => Err(Asked::Unreachable("what answers there does not speak HTTP".to_owned())),
    }
}

/// The name of the witness whose cosignature verifies and whom the roles name.
fn known(note: &Note, lines: &str, site: &Site) -> Option<String> {
    let mut note = note.clone();
    NoteSignature::parse_lines(lines).ok()?.into_iter().for_each(|line| note.push(line));
    let witnesses: Vec<VerifierKey> =
        site.roles().witnesses.iter().filter_map(|witness| VerifierKey::of_witness(witness).ok()).collect();
    let cosigned = checkpoint::cosignatures(&note, &witnesses).ok()?;
    cosigned.first().map(|cosigned| cosigned.witness.name().to_owned())
}
