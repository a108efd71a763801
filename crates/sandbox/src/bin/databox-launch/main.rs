//! `databox-launch`: builds the wall around one program and stays outside until the program's last process is dead.
//! What it does, step by step, is in
//! `supervisor` and `first`; what an OCI runtime does in its place, in `container` and `enter`. It is also the init of a
//! micro-VM (`guest`), and reads what came back from one (`unpack`).
#![cfg_attr(not(test), no_main)]

mod calls;
mod container;
mod enter;
mod first;
mod guest;
mod landlock;
mod layers;
mod program;
mod sources;
mod supervisor;
mod system;
mod tree;
mod unpack;
mod workshop;

use sandbox::machine::initramfs::INIT;
use sandbox::oci::bundle::ENTRY;

/// Called by [`system`]. The answer is the exit code.
fn main() -> i32 {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|one| one.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // None gives anybody anything: whoever calls it so is in a container, in a machine, or behind a wall already, or finds
    // no order and no disk.
    match arguments[..] {
        [word] if word == ENTRY[1] => enter::run(),
        [word] if word == INIT[1] => guest::run(),
        ["unpack", bytes, printed] => {
            let numbers = (bytes.parse().ok(), printed.parse().ok());
            let (Some(bytes), Some(printed)) = numbers else { return 1 };
            return i32::from(!unpack::run(bytes, printed));
        }
        _ => supervisor::run(),
    }
    0
}
