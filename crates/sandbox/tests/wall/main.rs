//! smoke
use sandbox::*;
#[test]
fn smoke() {
    let e = probe(std::path::Path::new(env!("CARGO_BIN_EXE_databox-launch")));
    println!("{e:?}");
    let d = tempfile::tempdir().unwrap();
    let t = std::time::Instant::now();
    println!(
        "{:?} {:?}",
        host_python(std::path::Path::new("/usr/bin/python3"), &d.path().join("r")),
        t.elapsed()
    );
    std::process::Command::new("find").arg(d.path()).arg("-maxdepth").arg("4").status().unwrap();
}
