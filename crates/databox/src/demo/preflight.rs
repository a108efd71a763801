//! What the demonstration needs of the machine, looked at before anything starts.

use std::path::Path;

use crate::failure::{Failure, whole};
use crate::programs;

/// Every program that the demonstration starts.
const PROGRAMS: [&str; 9] = [
    "databox",
    "gateway",
    "enclave",
    "console",
    "signer",
    "databox-check",
    "databox-launch",
    "databox-unbundle",
    "databox-verify",
];

/// Fails with the remedy if the machine lacks something.
pub fn check() -> Result<(), Failure> {
    for program in PROGRAMS {
        programs::find(program)?;
    }
    if !Path::new("/usr/bin/python3").exists() {
        return Err(Failure::new("NO_PYTHON", "this machine has no /usr/bin/python3, which jobs run in")
            .hint("apt-get install python3"));
    }
    let python = std::process::Command::new("/usr/bin/python3").args(["-I", "-S", "-c", ""]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return Err(Failure::new("NO_PYTHON", "/usr/bin/python3 does not run for this user")
            .hint("see what `/usr/bin/python3 -c ''` says; apt-get install --reinstall python3-minimal"));
    }
    // It really runs a small program behind the wall.
    sandbox::probe(&programs::find("databox-launch")?)
        .map_err(|error| Failure::new("NO_WALL", whole(&error)).hint(error.remedy()))?;
    std::net::TcpListener::bind("127.0.0.1:0").map(drop).map_err(|error| {
        Failure::new("NO_LOOPBACK", format!("no port of 127.0.0.1 can be listened on: {error}"))
            .hint("bring the loopback interface up: ip link set lo up")
    })
}
