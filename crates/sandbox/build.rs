//! Compiles the lists of system calls once, when the program is built: at each launch it would cost more than most other
//! steps of the wall.

#[path = "build/filter.rs"]
mod filter;
#[path = "build/list.rs"]
mod list;

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build");
    let policies = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo's variable"))
        .join("../../policies/sandbox");
    let mut text = String::new();
    for (names, constant, what) in [
        (&["job"][..], "JOB", "a job"),
        (&["job", "nvidia"][..], "JOB_NVIDIA", "a job with a device of NVIDIA's driver"),
        (&["reader"][..], "READER", "a reader"),
        (&["machine"][..], "MACHINE", "a machine"),
    ] {
        let mut read = String::new();
        for name in names {
            let path = policies.join(name).with_extension("toml");
            println!("cargo::rerun-if-changed={}", path.display());
            read += &fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        let steps = filter::compile(&list::actions(&read));
        text += &format!("/// The filter of {what}.\npub const {constant}: &[Step] = &{steps:?};\n");
        let entries = list::as_oci(&read).to_string();
        text += &format!(
            "/// The same list for an OCI runtime.\npub const {constant}_ENTRIES: &str = {entries:?};\n"
        );
    }
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo's variable")).join("filters.rs");
    fs::write(out, text).expect("a place for what is built");
}
