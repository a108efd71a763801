//! `databox-launch`: builds the wall around one program and stays outside until the program's last process is dead.
//! What it does, step by step, is in
//! `supervisor` and `first`; what an OCI runtime does in its place, in `container` and `enter`.

mod calls;
mod container;
mod enter;
mod first;
mod landlock;
mod layers;
mod program;
mod sources;
mod supervisor;
mod system;
mod tree;
mod workshop;

use sandbox::oci::bundle::ENTRY;

fn main() {
    // It gives nobody anything: whoever calls it so is in a container already, or finds no order.
    let is_in_container = std::env::args_os().skip(1).eq([ENTRY[1]]);
    if is_in_container { enter::run() } else { supervisor::run() }
}
