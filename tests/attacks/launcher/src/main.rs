//! `databox-launch` with layers left out, for the tests that show what each is for. Its own name says which: a copy
//! named `launch-without+seccomp+landlock` has neither. Only `layers` differs from the true one.
#![cfg_attr(not(test), no_main)]

#[path = "../../../../crates/sandbox/src/bin/databox-launch/calls.rs"]
mod calls;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/container.rs"]
mod container;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/enter.rs"]
mod enter;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/first.rs"]
mod first;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/landlock.rs"]
mod landlock;
mod layers;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/program.rs"]
mod program;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/sources.rs"]
mod sources;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/supervisor.rs"]
mod supervisor;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/system.rs"]
mod system;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/tree.rs"]
mod tree;
#[path = "../../../../crates/sandbox/src/bin/databox-launch/workshop.rs"]
mod workshop;

use sandbox::oci::bundle::ENTRY;

fn main() -> i32 {
    layers::read_own_name();
    let is_in_container = std::env::args_os().skip(1).eq([ENTRY[1]]);
    if is_in_container {
        enter::run()
    } else {
        supervisor::run()
    }
    0
}
