//! What README.md shows of the demonstration is what the demonstration prints.

use std::process::Command;

/// Numbers, ids, addresses and spaces differ from run to run; words do not.
fn words(text: &str) -> String {
    let mut words = String::new();
    for line in text.lines() {
        // Which layers stand is the machine's.
        let line = match line.split_once(" in force") {
            Some((before, _)) if line.trim_start().starts_with("wall") => before,
            _ => line,
        };
        let line: Vec<String> = line.split_whitespace().map(plain).collect();
        words += &line.join(" ");
        words.push('\n');
    }
    words
}

fn plain(word: &str) -> String {
    if word.starts_with('/') {
        return "PATH".to_owned();
    }
    let hexadecimal = word.len() >= 12 && word.chars().all(|character| character.is_ascii_hexdigit());
    if hexadecimal {
        return "ID".to_owned();
    }
    let mut plain = String::new();
    for character in word.chars() {
        let digit = character.is_ascii_digit() || (plain.ends_with('0') && matches!(character, '.' | ','));
        match digit {
            true if plain.ends_with('0') => {}
            true => plain.push('0'),
            false => plain.push(character),
        }
    }
    plain
}

#[test]
fn the_demonstration_prints_what_the_readme_shows() {
    let output = Command::new(harness::programs().join("databox")).args(["demo", "--exit"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    for word in ["VERIFIED", "BLOCKED", "REFUSED"] {
        assert!(printed.contains(word), "{word}");
    }
    let readme = include_str!("../../../../README.md");
    let shown =
        readme.split("```\n").find(|block| block.starts_with("databox 0.1.0 demo")).expect("a transcript");
    assert_eq!(words(shown), words(&printed), "README.md shows another transcript");
}
