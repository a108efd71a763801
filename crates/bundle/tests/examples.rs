//! The examples are bundles that the box accepts, and do what they say: the model is better than the base rate and
//! scores the same from its file; the theft survives rounding, so that only the box stands in its way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use blobs::Digest;
use bundle::{Limits, pack};
use release::statement::DeclaredOutput;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// The data as a plain file in a fresh directory, checked against the digest that its README gives.
fn data() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let packed = fs::read(examples().join("data/randhie.csv.zst")).unwrap();
    let plain = zstd::decode_all(&packed[..]).unwrap();
    let readme = fs::read_to_string(examples().join("data/README.md")).unwrap();
    assert!(readme.contains(&Digest::of(&plain).to_string()), "the README gives another digest");
    fs::write(directory.path().join("randhie.csv"), plain).unwrap();
    directory
}

fn python_is_here() -> bool {
    let here = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !here {
        eprintln!("SKIPPED: no python3 on this machine, so the examples were not run");
    }
    here
}

fn python(script: &str, arguments: &[&Path]) -> Output {
    let output = Command::new("python3").arg(examples().join(script)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The value behind a name in flat JSON.
fn number(json: &str, name: &str) -> f64 {
    let (_, rest) = json.split_once(&format!("\"{name}\": ")).unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn the_examples_are_bundles() {
    for example in ["any-visit", "steal-rows"] {
        let bundle = pack(&examples().join(example)).unwrap();
        let listing = bundle::read(&bundle[..], &Limits::default()).unwrap();
        let manifest = listing.parse_manifest().unwrap();
        assert_eq!(manifest.job.as_str(), example);
        let program = &manifest.command[1];
        assert!(listing.entries.iter().any(|entry| entry.path == *program), "{program} is not in the bundle");
    }
}

#[test]
fn the_data_are_what_the_readme_says() {
    let directory = data();
    let text = fs::read_to_string(directory.path().join("randhie.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let person = header.split(',').position(|column| column == "zper").unwrap();
    let people: std::collections::BTreeSet<_> =
        rows.lines().map(|row| row.split(',').nth(person).unwrap()).collect();
    assert_eq!((header.split(',').count(), rows.lines().count(), people.len()), (45, 20_190, 5_912));
}

#[test]
fn the_model_beats_the_base_rate_and_its_file_scores_the_same() {
    if !python_is_here() {
        return;
    }
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    python("any-visit/train.py", &[data.path(), out.path()]);
    let metrics = fs::read_to_string(out.path().join("metrics.json")).unwrap();
    assert!(number(&metrics, "log_loss") < number(&metrics, "baseline_log_loss"));
    assert!(number(&metrics, "gain_low") > 0.0);

    let model = out.path().join("model.safetensors");
    let score = |model: &Path| {
        let output = python("any-visit/score.py", &[model, &data.path().join("randhie.csv")]);
        number(&String::from_utf8(output.stdout).unwrap(), "log_loss")
    };
    assert_eq!(score(&model), number(&metrics, "log_loss"));
    // The box stores weights as bfloat16: nothing may be lost by that.
    let rounded = out.path().join("rounded.safetensors");
    fs::write(&rounded, as_bfloat16(&fs::read(&model).unwrap())).unwrap();
    assert_eq!(score(&rounded), number(&metrics, "log_loss"));

    let table = fs::read_to_string(out.path().join("by_plan.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 18);
    let counts = table.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse::<u32>().unwrap());
    assert_eq!(counts.sum::<u32>(), 5_912, "counts are of people, not of rows");
}

/// Rewrites the one tensor of a safetensors file from F32 to BF16, by cutting each value's lower half.
fn as_bfloat16(file: &[u8]) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = std::str::from_utf8(header).unwrap();
    let values = data.len() / 4;
    let header = header.replace("F32", "BF16").replace(&data.len().to_string(), &(2 * values).to_string());
    let mut rewritten = (header.len() as u64).to_le_bytes().to_vec();
    rewritten.extend(header.as_bytes());
    data.chunks_exact(4).for_each(|value| rewritten.extend(&value[2..]));
    rewritten
}

#[test]
fn the_model_file_holds_what_the_manifest_declares() {
    if !python_is_here() {
        return;
    }
    for (example, script) in [("any-visit", "any-visit/train.py"), ("steal-rows", "steal-rows/steal.py")] {
        let (data, out) = (data(), tempfile::tempdir().unwrap());
        python(script, &[data.path(), out.path()]);
        let bundle = pack(&examples().join(example)).unwrap();
        let manifest = bundle::read(&bundle[..], &Limits::default()).unwrap().parse_manifest().unwrap();
        let declared: Vec<_> = manifest.outputs.iter().map(|output| output.path().to_string()).collect();
        let mut written: Vec<_> = fs::read_dir(out.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        written.sort();
        let mut expected = declared.clone();
        expected.sort();
        assert_eq!(written, expected);
        let DeclaredOutput::Weights { path, tensors, .. } = &manifest.outputs[0] else {
            panic!("the first output is weights");
        };
        let file = fs::read(out.path().join(path.as_str())).unwrap();
        let values = tensors[0].shape[0].0;
        assert!(String::from_utf8_lossy(&file).contains(&format!("\"shape\":[{values}]")));
        let header = u64::from_le_bytes(*file.first_chunk().unwrap());
        assert_eq!(file.len() as u64, 8 + header + 4 * values);
    }
}

#[test]
fn the_theft_would_survive_rounding_to_bfloat16() {
    if !python_is_here() {
        return;
    }
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    python("steal-rows/steal.py", &[data.path(), out.path()]);
    let rounded = out.path().join("rounded.safetensors");
    fs::write(&rounded, as_bfloat16(&fs::read(out.path().join("model.safetensors")).unwrap())).unwrap();
    let read = python("steal-rows/steal.py", &[Path::new("--read"), &rounded]).stdout;
    let text = fs::read(data.path().join("randhie.csv")).unwrap();
    let first_row = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(read, text[first_row..first_row + 4096]);
}
