//! What a child that was taken over reaches for: other directories, other files, a network, other processes.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

/// Every directory that the wall shows to one child or another, and some of the machine's.
const PLACES: [&str; 16] = [
    "/out",
    "/canonical",
    "/views",
    "/data",
    "/index",
    "/compared",
    "/reference",
    "/smaller",
    "/weights",
    "/unpacked",
    "/etc/passwd",
    "/root",
    "/home",
    "/run",
    "/var/lib",
    "/usr",
];

/// What went well that must not, and what did not that must: a child that sees `sees` may write below `writes` alone.
pub(crate) fn escapes(sees: &[&str], writes: &[&str]) -> Vec<String> {
    let mut escapes: Vec<_> = inherited_descriptor().into_iter().collect();
    for place in PLACES {
        match (fs::metadata(place).is_ok(), sees.contains(&place)) {
            (true, false) => escapes.push(format!("saw {place}")),
            (false, true) => escapes.push(format!("did not see {place}")),
            _ => {}
        }
    }
    let below = PLACES.iter().filter(|place| !writes.contains(place)).map(|place| format!("{place}/escaped"));
    let beside = [
        "/escaped",
        "/tmp/escaped",
        "/dev/shm/escaped",
        "/databox-check",
        "/databox-unbundle",
        "/data/hie/hie.csv",
        "/index/hie",
    ];
    for place in below.chain(beside.map(str::to_owned)) {
        if fs::OpenOptions::new().write(true).create(true).truncate(false).open(&place).is_ok() {
            escapes.push(format!("wrote {place}"));
        }
    }
    let process = std::process::id();
    for other in (1..process + 50).filter(|other| *other != process) {
        if fs::read(format!("/proc/{other}/environ")).is_ok()
            || Path::new(&format!("/proc/{other}/root/etc")).exists()
        {
            escapes.push(format!("looked into process {other}"));
        }
    }
    for (what, spoke) in [
        ("listened on an abstract socket", abstract_socket().is_ok()),
        ("listened on a socket of its own", UnixListener::bind("/tmp/escaped.sock").is_ok()),
        ("listened on TCP", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("had UDP", UdpSocket::bind("127.0.0.1:0").is_ok()),
    ] {
        if spoke {
            escapes.push(what.to_owned());
        }
    }
    for program in ["/databox-check", "/bin/sh", "/usr/bin/python3"] {
        if Command::new(program).arg("--version").output().is_ok() {
            escapes.push(format!("started {program}"));
        }
    }
    escapes
}

/// A descriptor besides the three standard streams that whoever started it left open. A new one has the lowest number that
/// is free, so that what is inherited leaves a gap among many new ones.
fn inherited_descriptor() -> Option<String> {
    let new: Vec<_> = (3..67).map_while(|_| fs::File::open("/").ok()).collect();
    assert_eq!(new.len(), 64, "too few could be opened to tell");
    let numbers = new.iter().map(AsRawFd::as_raw_fd);
    let gap = (3..).zip(numbers).find(|(expected, number)| expected != number);
    gap.map(|(missing, _)| format!("inherited descriptor {missing}"))
}

fn abstract_socket() -> std::io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("escaped-{}", std::process::id()))?)
}
