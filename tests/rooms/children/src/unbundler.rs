//! An unbundler that was taken over by the bundle that it unpacks. It unpacks as it should, then tries to write
//! everywhere else and lays links beside the code, and tells the job in `/unpacked/escapes` how much of it went well.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let unpacked = Path::new("/unpacked");
    if bundle::unpack_into(std::io::stdin().lock(), unpacked, &bundle::Limits::default()).is_err() {
        return ExitCode::FAILURE;
    }
    let mut escapes = Vec::new();
    for place in [
        "/escaped",
        "/unpacked/../escaped",
        "/tmp/escaped",
        "/dev/shm/escaped",
        "/databox-unbundle",
        "/proc/self/mem",
    ] {
        let written = fs::OpenOptions::new().write(true).create(true).truncate(false).open(place);
        // Its own memory is its own.
        if written.is_ok() && place != "/proc/self/mem" {
            escapes.push(format!("wrote {place}"));
        }
    }
    for place in
        ["/data", "/etc/passwd", "/root", "/home", "/run", "/var/lib", "/unpacked/../../../etc/passwd"]
    {
        if fs::metadata(place).is_ok() {
            escapes.push(format!("saw {place}"));
        }
    }
    if UnixStream::connect("/run/gateway/gateway.sock").is_ok()
        || std::net::TcpListener::bind("127.0.0.1:0").is_ok()
    {
        escapes.push("spoke".to_owned());
    }
    for (to, name) in [("/etc/passwd", "passwd"), ("../../../keys/enclave.pem", "key")] {
        if symlink(to, unpacked.join(name)).is_ok() {
            escapes.push(format!("linked {to}"));
        }
    }
    let told = fs::write(unpacked.join("escapes"), escapes.join("\n"));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
