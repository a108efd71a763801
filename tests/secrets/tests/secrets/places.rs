//! Where what may lie. Whatever is not named here may hold nothing.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use harness::TestBox;

/// What a place may hold.
#[derive(Clone, Copy)]
pub enum Kept {
    Rows,
    Key(&'static str),
}

impl Kept {
    pub fn covers(self, secret: &str) -> bool {
        match self {
            Self::Rows => secret == "row",
            Self::Key(name) => secret.strip_prefix("key ") == Some(name),
        }
    }
}

/// Files by the beginning of their path below the test's directory. The enclave has the data; the owner's own copy lies
/// outside of the box.
const FILES: [(&str, &[Kept]); 18] = [
    ("data/", &[Kept::Rows]),
    ("box/enclave/datasets/", &[Kept::Rows]),
    ("box/enclave/incoming/", &[Kept::Rows]),
    ("box/enclave/work/", &[Kept::Rows]),
    ("box/enclave/quarantine/", &[Kept::Rows]),
    ("box/enclave/compared/", &[Kept::Rows]),
    ("box/keys/enclave.pem", &[Kept::Key("enclave")]),
    ("box/keys/signer.pem", &[Kept::Key("signer")]),
    ("box/keys/log.pem", &[Kept::Key("log")]),
    ("box/tls/ca.key", &[Kept::Key("ca")]),
    ("box/tls/gateway.key", &[Kept::Key("gateway")]),
    ("box/tls/console.key", &[Kept::Key("console")]),
    ("witness/witness.pem", &[Kept::Key("witness")]),
    // A person's key of the transport is protected by its file's mode; the keys that count are encrypted.
    ("people/kim.tls.key", &[Kept::Key("kim tls")]),
    ("people/lee.tls.key", &[Kept::Key("lee tls")]),
    ("people/ana.tls.key", &[Kept::Key("ana tls")]),
    ("people/ben.tls.key", &[Kept::Key("ben tls")]),
    // What the owner hands to the enclave, until it has taken it.
    ("box/drop/datasets/", &[Kept::Rows]),
];

/// What this file may hold.
pub fn may_keep(name: &str) -> &'static [Kept] {
    FILES.iter().find(|(place, _)| name.starts_with(place)).map_or(&[], |(_, kept)| *kept)
}

/// What a process may hold in memory: a room its own key.
pub fn may_remember(room: &str) -> &'static [Kept] {
    match room {
        "gateway" => &[Kept::Key("gateway")],
        "console" => &[Kept::Key("console")],
        "signer" => &[Kept::Key("signer"), Kept::Key("log")],
        "enclave" => &[Kept::Rows, Kept::Key("enclave")],
        _ => &[],
    }
}

/// Every regular file below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                // A runtime is this machine's Python, thousands of files that no job can write.
                Ok(kind) if kind.is_dir() && entry.file_name() != "runtimes" => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// The running rooms and their processes.
pub fn rooms_memory(tested: &mut TestBox) -> Vec<(&'static str, u32)> {
    databox::home::ROOMS
        .into_iter()
        .map(|room| (room, tested.stage.rooms().process(room).expect("a running room")))
        .collect()
}

/// What a process holds in memory, mapping by mapping: the heap, stacks, and all that it mapped and can read.
pub fn memory(process: u32) -> Vec<Vec<u8>> {
    let maps =
        fs::read_to_string(format!("/proc/{process}/maps")).expect("this process's maps; run as its user");
    let mut image = fs::File::open(format!("/proc/{process}/mem")).expect("the right to trace it");
    let mut parts = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        // A program's own text and read-only data came from a file, which holds no secret that was made later.
        if !rights.starts_with("rw") {
            continue;
        }
        let bounds: Vec<u64> = range.split('-').filter_map(|end| u64::from_str_radix(end, 16).ok()).collect();
        let [begin, end] = bounds[..] else { continue };
        let mut part = vec![0; (end - begin) as usize];
        if image.seek(SeekFrom::Start(begin)).is_ok() && image.read_exact(&mut part).is_ok() {
            parts.push(part);
        }
    }
    assert!(!parts.is_empty(), "nothing of the memory of {process} could be read");
    parts
}
