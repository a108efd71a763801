//! What the pages of `examples/` say to type.

use std::path::Path;
use std::process::Command;

#[test]
fn the_examples_run_at_the_desk_as_their_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("examples/README.md")).unwrap();
    let typed: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(typed.len() >= 4, "{typed:?}");
    let scratch = tempfile::tempdir().unwrap();
    let script = typed.join("\n").replace("/tmp/", &format!("{}/", scratch.path().display()));
    let output = Command::new("sh").args(["-e", "-c", &script]).current_dir(root).output().unwrap();
    let (said, erred) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{said}{erred}");
    let scores: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(scores.is_object(), "{said}");
    assert!(scratch.path().join("out/by_plan.csv").is_file());
}
