//! The charge is never too small: of each kind, as many files as there are were made, and no more of them cost at most
//! b bits than 2^b.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use egress::{Policy, Task, declared_fixed_bytes, floor_bits};
use release::statement::VerdictResult;
use support::{STANDARD, catalogue_with, form_one, judge_one, safetensors, task, tensors, with_policy};

/// Forms each of these files, and compares the number of distinct forms with their charge.
fn check_charge(task: &Task, files: impl Iterator<Item = Vec<u8>>) -> usize {
    let policy = Policy::parse(&task.policy).unwrap();
    let mut forms = BTreeSet::new();
    files.for_each(|file| forms.extend(form_one(task, &file)));
    let mut by_charge: BTreeMap<u64, u64> = BTreeMap::new();
    for form in &forms {
        let bits = floor_bits(&policy, &task.outputs[0], form.len() as u64);
        *by_charge.entry(bits).or_default() += 1;
    }
    let mut reached = 0u64;
    for (bits, count) in by_charge {
        reached += count;
        assert!(bits >= 63 || reached <= 1 << bits, "{reached} forms cost at most {bits} bits");
    }
    forms.len()
}

/// Every text of at most so many of these characters.
fn texts(alphabet: &str, most: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = 0..1;
    for _ in 0..most {
        let begin = all.len();
        for index in last {
            for character in alphabet.chars() {
                all.push(format!("{}{character}", all[index]));
            }
        }
        last = begin..all.len();
    }
    all
}

#[test]
fn one_parameter_has_no_more_forms_than_its_bits() {
    let task = task(&[r#"{"kind":"weights","path":"w","tensors":[{"name":"w","shape":["128"]}]}"#]);
    let header = r#"{"w":{"dtype":"BF16","shape":[128],"data_offsets":[0,256]}}"#;
    let mut forms = BTreeSet::new();
    for first in (0..=u16::MAX).step_by(128).filter(|first| first & 0x7f80 != 0x7f80) {
        let data: Vec<u8> = (first..=first + 127).flat_map(u16::to_le_bytes).collect();
        let form = form_one(&task, &safetensors(header, &data)).unwrap();
        forms.extend(form[form.len() - 256..].chunks_exact(2).map(<[u8]>::to_vec));
    }
    // All numbers of bfloat16 but −0, subnormals, infinities and NaNs.
    assert_eq!(forms.len(), 65_536 - 1 - 2 * 127 - 2 * 128);
    let mut numbers = support::Numbers(5);
    for _ in 0..500 {
        let values = [(); 128].map(|()| f32::from_bits(numbers.next() as u32 & !(1 << 30)));
        let form = form_one(&task, &tensors(&[("w", &[128], &values)])).unwrap();
        assert!(form[form.len() - 256..].chunks_exact(2).all(|value| forms.contains(value)));
    }
    let policy = Policy::parse(STANDARD).unwrap();
    assert_eq!(floor_bits(&policy, &task.outputs[0], 0), 16 * 128);
}

#[test]
fn metrics_have_no_more_forms_than_their_bits() {
    let one = task(&[r#"{"kind":"metrics","path":"m","names":["x"]}"#]);
    let numbers = texts("013579.-e", 4);
    let forms = check_charge(&one, numbers.iter().map(|number| format!("{{\"x\":{number}}}").into_bytes()));
    assert!(forms > 1_000, "{forms}");
    let two = task(&[r#"{"kind":"metrics","path":"m","names":["x","y"]}"#]);
    let short = texts("0123456789-", 2);
    let pairs =
        short.iter().flat_map(|x| short.iter().map(move |y| format!("{{\"x\":{x},\"y\":{y}}}").into_bytes()));
    assert!(check_charge(&two, pairs) > 10_000);
}

#[test]
fn tables_have_no_more_forms_than_their_bits() {
    let mut numbers = task(&[r#"{"kind":"table","path":"t","columns":[{"name":"a","type":"integer"}]}"#]);
    let bodies = texts("012345678\n", 4).into_iter().map(|body| format!("a\n{body}\n").into_bytes());
    assert!(check_charge(&numbers, bodies) > 3_000);
    // Every category of one character, and many of two, is the most that a catalogue can offer.
    let categories: Vec<String> = texts("abcdefghijklmnopqrstuvwxyz,\"", 2);
    let categories: Vec<&str> = categories.iter().map(String::as_str).collect();
    numbers = task(&[r#"{"kind":"table","path":"t","columns":[{"name":"a","type":"category:hie.plan"}]}"#]);
    numbers.catalogue = vec![catalogue_with(&categories)];
    let quoted = |category: &&str| format!("\"{}\"", category.replace('"', "\"\""));
    let ones = categories.iter().map(|one| format!("a\n{}\n", quoted(one)).into_bytes());
    let two = |one: &&str| {
        let one = quoted(one);
        categories
            .iter()
            .take(80)
            .map(|other| format!("a\n{one}\n{}\n", quoted(other)).into_bytes())
            .collect::<Vec<_>>()
    };
    let forms = check_charge(&numbers, ones.chain(categories.iter().take(80).flat_map(two)));
    assert!(forms > 3_000, "{forms}");
}

#[test]
fn the_judge_charges_the_floor_exactly_whatever_the_content() {
    let cases: [(&str, Vec<u8>); 3] = [
        (r#"{"kind":"metrics","path":"f","names":["a","bb"]}"#, b"{\"a\":1,\"bb\":-2.5e-30}".to_vec()),
        (
            r#"{"kind":"weights","path":"f","tensors":[{"name":"w","shape":["2"]}]}"#,
            tensors(&[("w", &[2], &[1.0, 2.0])]),
        ),
        (
            r#"{"kind":"table","path":"f","columns":[{"name":"a","type":"decimal:9"},{"name":"n","type":"integer"}],"countColumn":"n"}"#,
            b"a,n\n1,10\n-2,999999\n".to_vec(),
        ),
    ];
    for precision in ["bf16", "f16", "f32", "int8", "int4"] {
        for (declared, written) in &cases {
            let task = with_policy(task(&[declared]), "\"bf16\"\n", &format!("\"{precision}\"\n"));
            let policy = Policy::parse(&task.policy).unwrap();
            let form = form_one(&task, written).unwrap();
            let judged = judge_one(&task, &form);
            assert_eq!(judged.result, VerdictResult::Pass);
            let output = &task.outputs[0];
            assert_eq!(judged.report.bits[0], floor_bits(&policy, output, form.len() as u64), "{declared}");
            let free = form.len() as u64 - declared_fixed_bytes(&policy, output);
            // Two parameters of 4 bits and a scale of 32, in six bytes.
            let packed = precision == "int4" && declared.contains("weights");
            assert_eq!(judged.report.bits[0], if packed { 40 } else { 8 * free }, "{declared}");
        }
    }
}

#[test]
fn no_more_files_of_small_whole_numbers_are_canonical_than_their_charge_allows() {
    let declared = r#"{"kind":"weights","path":"f","tensors":[{"name":"w","shape":["1"]}]}"#;
    for (precision, bits) in [("int8", 8), ("int6", 6), ("int5", 5), ("int4", 4), ("int3", 3)] {
        let task = with_policy(task(&[declared]), "\"bf16\"\n", &format!("\"{precision}\"\n"));
        let form = form_one(&task, &tensors(&[("w", &[1], &[1.0])])).unwrap();
        let passes = |last: &u8| {
            let mut changed = form.clone();
            *changed.last_mut().unwrap() = *last;
            let judged = judge_one(&task, &changed);
            assert_eq!(judged.report.bits[0], bits + 32, "{precision}");
            judged.result == VerdictResult::Pass
        };
        let canonical = (0..=u8::MAX).filter(passes).count();
        assert_eq!(
            canonical,
            (1 << bits) - 1,
            "{precision}: from the negative of the largest to the largest"
        );
    }
}

#[test]
fn a_charge_rounds_up_and_never_wraps() {
    let policy = Policy::parse(STANDARD).unwrap();
    let declared = |text: &str| serde_json::from_str(text).unwrap();
    let metrics = declared(r#"{"kind":"metrics","path":"f","names":["a"]}"#);
    assert_eq!(floor_bits(&policy, &metrics, 0), 0);
    assert_eq!(floor_bits(&policy, &metrics, u64::MAX), u64::MAX);
    // Shapes are charged though the file be short.
    let weights = declared(r#"{"kind":"weights","path":"f","tensors":[{"name":"w","shape":["1000"]}]}"#);
    assert_eq!(floor_bits(&policy, &weights, 0), 16_000);
    // A shape that no declaration check lets pass is charged with the largest number, not with a small rest.
    let huge =
        declared(r#"{"kind":"weights","path":"f","tensors":[{"name":"w","shape":["9223372036854775807"]}]}"#);
    assert_eq!(floor_bits(&policy, &huge, 0), u64::MAX);
}

#[test]
fn every_bit_that_is_taken_off_as_fixed_is_compared_without_a_parser() {
    let table = r#"{"kind":"table","path":"t","columns":[{"name":"plan","type":"category:hie.plan"},
        {"name":"n","type":"integer"}],"countColumn":"n"}"#;
    for (declared, written, fixed) in [
        (
            r#"{"kind":"weights","path":"w","tensors":[{"name":"w","shape":["2"]}]}"#,
            tensors(&[("w", &[2], &[0.5, -1.0])]),
            None,
        ),
        (table, b"plan,n\nfree,100\n".to_vec(), None),
        (
            r#"{"kind":"metrics","path":"m","names":["loss","auc"]}"#,
            br#"{"loss": -1.5e-9, "auc": 0.75}"#.to_vec(),
            Some([0..8, 15..22, 26..28]),
        ),
    ] {
        let task = task(&[declared]);
        let policy = Policy::parse(&task.policy).unwrap();
        let form = form_one(&task, &written).unwrap();
        let holds = |file: &[u8]| {
            egress::holds_what_was_fixed(&policy, &task.outputs[0], &mut std::io::Cursor::new(file)).unwrap()
        };
        assert!(holds(&form), "{declared}");
        let bytes: Vec<usize> = match fixed {
            Some(places) => places.into_iter().flatten().collect(),
            None => (0..declared_fixed_bytes(&policy, &task.outputs[0]) as usize).collect(),
        };
        assert_eq!(bytes.len() as u64, declared_fixed_bytes(&policy, &task.outputs[0]), "{declared}");
        for bit in bytes.into_iter().flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut changed = form.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&changed), "{declared}, bit {bit}");
        }
        assert!(!holds(b""), "{declared}");
    }
}

#[test]
fn a_whole_number_says_no_more_than_the_bits_that_it_is_charged_with() {
    for (precision, most) in [("int8", 127u8), ("int6", 31), ("int5", 15), ("int4", 7), ("int3", 3)] {
        let declared = r#"{"kind":"weights","path":"w","tensors":[{"name":"w","shape":["2"]}]}"#;
        let task =
            with_policy(task(&[declared]), "precision = \"bf16\"", &format!("precision = \"{precision}\""));
        let policy = Policy::parse(&task.policy).unwrap();
        let form = form_one(&task, &tensors(&[("w", &[2], &[0.5, -1.0])])).unwrap();
        for value in 0..=u8::MAX {
            let mut changed = form.clone();
            *changed.last_mut().unwrap() = value;
            let mut file = std::io::Cursor::new(&changed[..]);
            let holds = egress::holds_what_was_fixed(&policy, &task.outputs[0], &mut file).unwrap();
            assert_eq!(holds, (value as i8).unsigned_abs() <= most, "{precision}: {value}");
            assert_eq!(
                judge_one(&task, &changed).result == VerdictResult::Pass,
                holds,
                "{precision}: {value}"
            );
        }
    }
}
