//! The examples of `docs/formats/canonical.md` are what the code makes.

mod support;

use egress::{Policy, floor_bits};
use support::{STANDARD, form_one, task, tensors};

const DOCUMENT: &str = include_str!("../../../docs/formats/canonical.md");

/// Sixteen bytes a line, as `xxd` shows them.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let pairs: Vec<String> =
            bytes.chunks(2).map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        let shown: String =
            bytes.iter().map(|byte| if (b' '..=b'~').contains(byte) { *byte as char } else { '.' }).collect();
        text += &format!("{:08x}: {:<39}  {shown}\n", line * 16, pairs.join(" "));
    }
    text
}

#[test]
fn the_examples_are_what_the_code_makes() {
    let policy = Policy::parse(STANDARD).unwrap();
    let table = r#"{"kind":"table","path":"t","columns":[{"name":"plan","type":"category:hie.plan"},
        {"name":"n","type":"integer"},{"name":"mean_visits","type":"decimal:3"}],"countColumn":"n"}"#;
    let written = "plan,n,mean_visits\nindividual,77,2\nfree,123,1.23456\n";
    assert!(DOCUMENT.contains(&format!("```\n{written}```")));
    let metrics = r#"{"kind":"metrics","path":"m","names":["log_loss","baseline_log_loss"]}"#;
    let weights = r#"{"kind":"weights","path":"w","tensors":[{"name":"w","shape":["10"]}]}"#;
    let values: Vec<f32> = (1..=10).map(|value| value as f32 / 2.0).collect();
    let cases = [
        (table, written.replace('\n', "\r\n").into_bytes(), 54, 280),
        (metrics, b"{\"baseline_log_loss\": 0.5, \"log_loss\": 0.123456}".to_vec(), 44, 72),
        (weights, tensors(&[("w", &[10], &values)]), 92, 160),
    ];
    for (declared, written, bytes, bits) in cases {
        let task = task(&[declared]);
        let form = form_one(&task, &written).unwrap();
        let shown = match declared == weights {
            true => dump(&form),
            false => String::from_utf8(form.clone()).unwrap(),
        };
        assert!(DOCUMENT.contains(&format!("```\n{shown}```")), "{shown}");
        assert_eq!((form.len(), floor_bits(&policy, &task.outputs[0], form.len() as u64)), (bytes, bits));
    }
}
