//! An unbundler that was taken over by the bundle that it unpacks. It unpacks as it should, then tries to write
//! everywhere else, reaches for all that it must not, and lays links beside the code, and tells the job in `/unpacked/escapes` how much of it went well.

mod reach;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let unpacked = Path::new("/unpacked");
    if bundle::unpack_into(std::io::stdin().lock(), unpacked, &bundle::Limits::default()).is_err() {
        return ExitCode::FAILURE;
    }
    let mut escapes = reach::escapes(&["/unpacked"], &["/unpacked"]);
    for (to, name) in [("/etc/passwd", "passwd"), ("../../../keys/enclave.pem", "key")] {
        if symlink(to, unpacked.join(name)).is_ok() {
            escapes.push(format!("linked {to}"));
        }
    }
    let told = fs::write(unpacked.join("escapes"), escapes.join("\n"));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
