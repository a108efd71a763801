//! Nothing that can be smuggled in a safetensors file survives its canonical form, and nothing honest is lost.

mod support;

use release::rule::Rule;
use release::statement::{DeclaredOutput, RuleResult, VerdictResult};
use support::{Numbers, form, form_one, judge_one, name, result, safetensors, task, tensors, with_policy};

const DECLARED: &str = r#"{"kind":"weights","path":"m.safetensors",
    "tensors":[{"name":"w","shape":["2","2"]},{"name":"b","shape":["2"]}]}"#;
const DATA: [f32; 6] = [0.5, -1.0, 2.0, 0.25, 1.5, -3.0];
const W: &str = r#""w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#;
const B: &str = r#""b":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}"#;

fn data() -> Vec<u8> {
    DATA.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn innocent() -> Vec<u8> {
    safetensors(&format!("{{{W},{B}}}"), &data())
}

/// What becomes of a file.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Its canonical form is the innocent file's, byte for byte: what was smuggled is gone.
    Innocent,
    /// It has none.
    Refused,
}

fn with_values(change: impl Fn(&mut [f32])) -> Vec<u8> {
    let mut values = DATA;
    change(&mut values);
    tensors(&[("w", &[2, 2], &values[..4]), ("b", &[2], &values[4..])])
}

fn smuggled() -> Vec<(&'static str, Fate, Vec<u8>)> {
    use Fate::{Innocent, Refused};
    let file = |header: String| safetensors(&header, &data());
    let dims = vec!["1"; 65].join(",");
    let empty: String = (0..10_000)
        .map(|index| format!(r#","e{index}":{{"dtype":"F32","shape":[0],"data_offsets":[24,24]}}"#))
        .collect();
    let metadata = |text: &str| format!(r#"{{"__metadata__":{text},{W},{B}}}"#);
    let bool_byte = r#","x":{"dtype":"BOOL","shape":[1],"data_offsets":[24,25]}"#;
    vec![
        // The forms that the public reader accepts.
        ("a tensor's key twice", Refused, file(format!("{{{W},{W},{B}}}"))),
        ("a metadata key twice", Refused, file(metadata(r#"{"a":"b","a":"c"}"#))),
        (
            "two metadata entries",
            Refused,
            file(format!(r#"{{"__metadata__":{{}},"__metadata__":{{}},{W},{B}}}"#)),
        ),
        ("leading spaces", Refused, file(format!("    {{{W},{B}}}"))),
        (
            "an empty name",
            Refused,
            safetensors(
                &format!(r#"{{{W},{B},"":{{"dtype":"F32","shape":[1],"data_offsets":[24,28]}}}}"#),
                &[data(), vec![0; 4]].concat(),
            ),
        ),
        ("90 MB of header padding", Refused, file(format!("{{{W},{B}}}{}", " ".repeat(90_000_000)))),
        ("2 MB of header padding", Refused, file(format!("{{{W},{B}}}{}", " ".repeat(2_000_000)))),
        ("100 KB of header padding", Innocent, file(format!("{{{W},{B}}}{}", " ".repeat(100_000)))),
        ("1 MB of metadata", Innocent, file(metadata(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000))))),
        ("metadata of two keys", Innocent, file(metadata(r#"{"format":"pt","note":"free text"}"#))),
        (
            "an extra field with free text",
            Refused,
            file(format!(
                r#"{{"w":{{"dtype":"F32","shape":[2,2],"data_offsets":[0,16],"note":"free text"}},{B}}}"#
            )),
        ),
        ("10,000 tensors of size zero", Refused, file(format!("{{{W},{B}{empty}}}"))),
        (
            "a shape of zero times 2^63",
            Refused,
            file(format!(
                r#"{{{W},{B},"z":{{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[24,24]}}}}"#
            )),
        ),
        (
            "a name of 4 MB",
            Refused,
            file(format!(
                r#"{{{W},{B},"{}":{{"dtype":"F32","shape":[],"data_offsets":[24,28]}}}}"#,
                "n".repeat(4_000_000)
            )),
        ),
        (
            "a name that is a path",
            Refused,
            file(format!(
                r#"{{{W},{B},"../../etc/x":{{"dtype":"F32","shape":[0],"data_offsets":[24,24]}}}}"#
            )),
        ),
        (
            "65 dimensions",
            Refused,
            safetensors(
                &format!(r#"{{{W},{B},"d":{{"dtype":"F32","shape":[{dims}],"data_offsets":[24,28]}}}}"#),
                &[data(), vec![0; 4]].concat(),
            ),
        ),
        (
            "a truth value of 0x7f",
            Refused,
            safetensors(&format!("{{{W},{B}{bool_byte}}}"), &[data(), vec![0x7f]].concat()),
        ),
        ("the payload of a NaN", Refused, with_values(|values| values[1] = f32::from_bits(0x7fc0_1234))),
        // Forms that it refuses too.
        ("an infinity", Refused, with_values(|values| values[1] = f32::INFINITY)),
        (
            "tensors that overlap",
            Refused,
            safetensors(
                &format!(r#"{{{W},"b":{{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}}}"#),
                &data()[..16],
            ),
        ),
        (
            "a hole between tensors",
            Refused,
            safetensors(
                &format!(r#"{{{W},"b":{{"dtype":"F32","shape":[2],"data_offsets":[20,28]}}}}"#),
                &[&data()[..], &[7; 4]].concat(),
            ),
        ),
        (
            "a hole before the first",
            Refused,
            safetensors(
                r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},"b":{"dtype":"F32","shape":[2],"data_offsets":[20,28]}}"#,
                &[&[7; 4], &data()[..]].concat(),
            ),
        ),
        ("bytes behind the data", Refused, [innocent(), b"more".to_vec()].concat()),
        ("data cut short", Refused, innocent()[..innocent().len() - 1].to_vec()),
        (
            "offsets past the largest number",
            Refused,
            file(format!(
                r#"{{{W},"b":{{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615]}}}}"#
            )),
        ),
        (
            "offsets in reverse",
            Refused,
            file(format!(r#"{{{W},"b":{{"dtype":"F32","shape":[2],"data_offsets":[24,16]}}}}"#)),
        ),
        (
            "offsets with a fraction",
            Refused,
            file(format!(r#"{{{W},"b":{{"dtype":"F32","shape":[2],"data_offsets":[16.0,24]}}}}"#)),
        ),
        (
            "three offsets",
            Refused,
            file(format!(r#"{{{W},"b":{{"dtype":"F32","shape":[2],"data_offsets":[16,24,24]}}}}"#)),
        ),
        (
            "a shape that overflows",
            Refused,
            file(format!(
                r#"{{{W},"b":{{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[16,24]}}}}"#
            )),
        ),
        (
            "a field twice",
            Refused,
            file(format!(
                r#"{{{W},"b":{{"dtype":"F16","dtype":"F32","shape":[2],"data_offsets":[16,24]}}}}"#
            )),
        ),
        ("a byte order mark", Refused, file(format!("\u{feff}{{{W},{B}}}"))),
        ("a newline behind the header", Refused, file(format!("{{{W},{B}}}\n"))),
        ("metadata that is no text", Refused, file(metadata(r#"{"a":1}"#))),
        ("metadata that nests", Refused, file(metadata(r#"{"a":{"b":"c"}}"#))),
        ("a header that is a list", Refused, file("[]".to_owned())),
        ("a header of nothing", Refused, safetensors("", &data())),
        ("a header longer than the file", Refused, 4096u64.to_le_bytes().to_vec()),
        ("an empty file", Refused, Vec::new()),
        (
            "an undeclared tensor",
            Refused,
            safetensors(
                &format!(r#"{{{W},{B},"x":{{"dtype":"U8","shape":[1],"data_offsets":[24,25]}}}}"#),
                &[data(), vec![9]].concat(),
            ),
        ),
        ("a declared tensor that is missing", Refused, safetensors(&format!("{{{W}}}"), &data()[..16])),
        (
            "another shape of the same size",
            Refused,
            file(format!(r#"{{"w":{{"dtype":"F32","shape":[4],"data_offsets":[0,16]}},{B}}}"#)),
        ),
        // Ways to write the same.
        ("another order of keys", Innocent, file(format!("{{{B},{W}}}"))),
        ("another order of data", Innocent, tensors(&[("b", &[2], &DATA[4..]), ("w", &[2, 2], &DATA[..4])])),
        (
            "another order of fields",
            Innocent,
            file(format!(r#"{{"w":{{"data_offsets":[0,16],"shape":[2,2],"dtype":"F32"}},{B}}}"#)),
        ),
        (
            "white space and escapes",
            Innocent,
            file(format!(r#"{{ "\u0077" : {{"dtype":"F32","shape":[2, 2],"data_offsets":[0,16]}},	{B} }}"#)),
        ),
        (
            "low bits of the fraction",
            Innocent,
            with_values(|values| {
                values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() | 0x7fff))
            }),
        ),
    ]
}

#[test]
fn no_form_of_smuggling_survives() {
    let task = task(&[DECLARED]);
    let (judgement, files) = form(&task, &[("m.safetensors", &innocent())]);
    assert_eq!(result(&judgement, Rule::WeightsForm), RuleResult::Passed);
    let canonical = &files.0[&name("m.safetensors")];
    assert_eq!(judge_one(&task, canonical).result, VerdictResult::Pass);
    for (what, fate, written) in smuggled() {
        let (judgement, mut files) = form(&task, &[("m.safetensors", &written)]);
        let formed = files.0.remove(&name("m.safetensors"));
        let found = match formed {
            None => Fate::Refused,
            Some(formed) => {
                assert_eq!(&formed, canonical, "{what}: something survived");
                Fate::Innocent
            }
        };
        assert_eq!(found, fate, "{what}");
        assert_eq!(judgement.result == VerdictResult::Blocked, fate == Fate::Refused, "{what}");
        // Whoever wrote it in place of the canonicaliser gets no further.
        assert_eq!(
            judge_one(&task, &written).result,
            VerdictResult::Blocked,
            "{what}, judged as it was written"
        );
    }
}

#[test]
fn the_public_reader_reads_the_canonical_form_and_accepts_what_is_refused_here() {
    let canonical = form_one(&task(&[DECLARED]), &innocent()).unwrap();
    let read = safetensors::SafeTensors::deserialize(&canonical).unwrap();
    let tensor = read.tensor("w").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (safetensors::Dtype::BF16, &[2, 2][..]));
    let values: Vec<u8> = DATA[..4].iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()).collect();
    assert_eq!(tensor.data(), values);
    let accepted = smuggled()
        .iter()
        .filter(|(_, fate, file)| {
            *fate == Fate::Refused && safetensors::SafeTensors::deserialize(file).is_ok()
        })
        .count();
    assert!(accepted >= 8, "the list has lost its point: {accepted}");
}

#[test]
fn every_bit_of_a_canonical_header_is_fixed() {
    let task = task(&[DECLARED]);
    let canonical = form_one(&task, &innocent()).unwrap();
    let header = canonical.len() - 12;
    for bit in 0..header * 8 {
        let mut changed = canonical.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(judge_one(&task, &changed).result, VerdictResult::Blocked, "bit {bit}");
    }
    let mut longer = canonical.clone();
    longer.push(0);
    assert_eq!(judge_one(&task, &longer).result, VerdictResult::Blocked);
    assert_eq!(judge_one(&task, &canonical[..canonical.len() - 1]).result, VerdictResult::Blocked);
}

#[test]
fn values_that_no_canonical_form_has_are_blocked_by_the_judge() {
    let task = task(&[DECLARED]);
    let canonical = form_one(&task, &innocent()).unwrap();
    let values = canonical.len() - 12;
    for (bits, allowed) in [
        (0x0000u16, true),
        (0x3f80, true),
        (0x8000, false),
        (0x0001, false),
        (0x7f80, false),
        (0x7fc1, false),
        (0xff80, false),
        (0x0080, true),
        (0x7f7f, true),
    ] {
        let mut changed = canonical.clone();
        changed[values + 4..values + 6].copy_from_slice(&bits.to_le_bytes());
        assert_eq!(judge_one(&task, &changed).result == VerdictResult::Pass, allowed, "{bits:04x}");
    }
}

#[test]
fn each_precision_is_stable_and_charged_by_its_parameters() {
    for (precision, bits) in [("bf16", 96), ("f16", 96), ("f32", 192), ("int8", 48 + 64), ("int4", 24 + 64)] {
        let task =
            with_policy(task(&[DECLARED]), "precision = \"bf16\"", &format!("precision = \"{precision}\""));
        let canonical = form_one(&task, &with_values(|values| values[0] = 0.3)).unwrap();
        let judged = judge_one(&task, &canonical);
        assert_eq!(judged.result, VerdictResult::Pass, "{precision}");
        assert_eq!(judged.report.bits[0], bits, "{precision}");
        if !precision.starts_with("int") {
            assert_eq!(form_one(&task, &canonical), Some(canonical), "{precision}");
        }
    }
}

#[test]
fn whole_numbers_scale_to_the_largest_value() {
    let task = with_policy(task(&[DECLARED]), "precision = \"bf16\"", "precision = \"int8\"");
    let canonical = form_one(&task, &with_values(|values| values[2] = -12.7)).unwrap();
    let data = &canonical[canonical.len() - 14..];
    let scale = f32::from_le_bytes(data[..4].try_into().unwrap());
    assert!((scale - 0.1).abs() < 1e-6);
    assert_eq!(data[8..12], [5, -10i8 as u8, -127i8 as u8, 2]);
    let coarse = with_policy(self::task(&[DECLARED]), "precision = \"bf16\"", "precision = \"int4\"");
    let canonical = form_one(&coarse, &with_values(|values| values[2] = -12.7)).unwrap();
    // Multiples of 12.7 / 7.
    assert_eq!(canonical[canonical.len() - 6..][..4], [0, -1i8 as u8, -7i8 as u8, 0]);
    let zeros = form_one(&task, &with_values(|values| values.fill(0.0))).unwrap();
    assert!(zeros[zeros.len() - 14..].iter().all(|byte| *byte == 0));
    assert_eq!(judge_one(&task, &zeros).result, VerdictResult::Pass);
}

#[test]
fn every_type_of_number_is_read() {
    let task = task(&[r#"{"kind":"weights","path":"m.safetensors","tensors":[{"name":"w","shape":["2"]}]}"#]);
    let types: [(&str, &[u8]); 12] = [
        ("F64", &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40]),
        ("F32", &[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]),
        ("F16", &[0, 0x3c, 0, 0x40]),
        ("BF16", &[0x80, 0x3f, 0, 0x40]),
        ("I64", &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        ("U64", &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        ("I32", &[1, 0, 0, 0, 2, 0, 0, 0]),
        ("U32", &[1, 0, 0, 0, 2, 0, 0, 0]),
        ("I16", &[1, 0, 2, 0]),
        ("U16", &[1, 0, 2, 0]),
        ("I8", &[1, 2]),
        ("U8", &[1, 2]),
    ];
    let expected = form_one(&task, &tensors(&[("w", &[2], &[1.0, 2.0])])).unwrap();
    for (dtype, bytes) in types {
        let header =
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{}]}}}}"#, bytes.len());
        assert_eq!(form_one(&task, &safetensors(&header, bytes)), Some(expected.clone()), "{dtype}");
    }
}

#[test]
fn a_large_tensor_is_written_in_pieces_without_a_seam() {
    let values: Vec<f32> = (0..20_001).map(|value| value as f32).collect();
    let task =
        task(&[r#"{"kind":"weights","path":"m.safetensors","tensors":[{"name":"w","shape":["20001"]}]}"#]);
    let canonical = form_one(&task, &tensors(&[("w", &[20_001], &values)])).unwrap();
    let data = &canonical[canonical.len() - 40_002..];
    for (value, bytes) in values.iter().zip(data.chunks_exact(2)) {
        let kept = f32::from_bits(u32::from(u16::from_le_bytes(bytes.try_into().unwrap())) << 16);
        assert!((kept - value).abs() <= value / 256.0);
    }
    assert_eq!(judge_one(&task, &canonical).result, VerdictResult::Pass);
}

#[test]
fn damaged_files_are_refused_or_formed_and_never_worse() {
    let task = task(&[DECLARED]);
    let mut numbers = Numbers(7);
    let seed = innocent();
    let mut formed = 0;
    for _ in 0..20_000 {
        let mut file = seed.clone();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(file.len());
            match numbers.below(4) {
                0 => file[at] = numbers.next() as u8,
                1 => file[at] ^= 1 << numbers.below(8),
                2 => drop(file.remove(at)),
                _ => file.insert(at, numbers.next() as u8),
            }
        }
        if let Some(canonical) = form_one(&task, &file) {
            let judged = judge_one(&task, &canonical);
            assert_eq!((judged.result, judged.report.bits[0]), (VerdictResult::Pass, 96));
            formed += 1;
        }
    }
    assert!(formed > 100, "{formed}");
}

/// The declaration of `w` and `b`, with the digest that `w` has in this form.
fn with_w_fixed(task: &egress::Task, canonical: &[u8]) -> egress::Task {
    let policy = egress::Policy::parse(&task.policy).unwrap();
    let mut file = std::io::Cursor::new(canonical.to_vec());
    let mut found = egress::tensors_of_form(&policy, &mut file, canonical.len() as u64).unwrap();
    assert!(found.iter().all(|tensor| tensor.sha256.is_some()));
    found[1].sha256 = None;
    let outputs =
        vec![DeclaredOutput::Weights { path: name("m.safetensors"), tensors: found, evaluation: None }];
    egress::Task { outputs, ..task.clone() }
}

#[test]
fn a_tensor_that_the_request_fixed_costs_nothing_and_every_bit_of_it_is_fixed() {
    // `b` alone is charged: two values, and for whole numbers its scale.
    for (precision, bits, scales) in
        [("bf16", 32, 0), ("f32", 64, 0), ("int8", 16 + 32, 8), ("int3", 6 + 32, 8)]
    {
        let task =
            with_policy(task(&[DECLARED]), "precision = \"bf16\"", &format!("precision = \"{precision}\""));
        let canonical = form_one(&task, &innocent()).unwrap();
        let fixed = with_w_fixed(&task, &canonical);
        assert_eq!(form_one(&fixed, &innocent()).as_ref(), Some(&canonical), "{precision}");
        let judged = judge_one(&fixed, &canonical);
        assert_eq!((judged.result, judged.report.bits[0]), (VerdictResult::Pass, bits), "{precision}");
        let policy = egress::Policy::parse(&task.policy).unwrap();
        let holds = |file: &[u8]| {
            let mut file = std::io::Cursor::new(file);
            egress::holds_what_was_fixed(&policy, &fixed.outputs[0], &mut file).unwrap()
        };
        assert!(holds(&canonical));
        let data = scales + 6 * if precision.starts_with("int") { 1 } else { bits as usize / 16 };
        let begin = canonical.len() - data;
        let (w, b) = match scales {
            0 => ((begin..begin + data * 2 / 3).collect::<Vec<_>>(), begin + data * 2 / 3),
            _ => ((begin..begin + 4).chain(begin + 8..begin + 12).collect(), begin + 12),
        };
        for bit in w.iter().flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut changed = canonical.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(judge_one(&fixed, &changed).result, VerdictResult::Blocked, "{precision}, bit {bit}");
            assert!(!holds(&changed), "{precision}, bit {bit}");
        }
        // The other tensor is the job's to choose.
        let mut other = canonical.clone();
        other[b] ^= 1;
        assert!(holds(&other));
        assert!(!holds(&canonical[..w[w.len() - 1]]), "a file that ends before");
    }
}

#[test]
fn a_trained_tensor_is_not_taken_for_the_one_that_was_fixed_and_the_finding_names_it() {
    let task = task(&[DECLARED]);
    let fixed = with_w_fixed(&task, &form_one(&task, &innocent()).unwrap());
    let form = |change: fn(&mut [f32])| form_one(&fixed, &with_values(change)).unwrap();
    let trained = judge_one(&fixed, &form(|values| values[3] = 0.5));
    assert_eq!(result(&trained, Rule::WeightsForm), RuleResult::Blocked);
    let found = serde_json::from_slice::<egress::Detail>(&trained.detail()).unwrap();
    assert!(found.files[0].findings[0].detail.contains("tensor w is not the one"), "{found:?}");
    assert_eq!(judge_one(&fixed, &form(|values| values[5] = 0.5)).result, VerdictResult::Pass);
}

/// A task whose policy stores values so and adds so much noise.
fn noisy(declared: &str, precision: &str, percent: u64) -> egress::Task {
    let task = with_policy(task(&[declared]), "dither_percent = 0", &format!("dither_percent = {percent}"));
    with_policy(task, "precision = \"bf16\"", &format!("precision = \"{precision}\""))
}

fn dithered(task: &egress::Task, canonical: &[u8], seed: u8) -> Vec<u8> {
    let policy = egress::Policy::parse(&task.policy).unwrap();
    let (mut file, mut noisy) = (std::io::Cursor::new(canonical.to_vec()), Vec::new());
    egress::dither(&policy, &task.outputs[0], &mut file, &mut noisy, &[seed; 32]).unwrap();
    noisy
}

#[test]
fn weights_with_noise_are_canonical_in_each_precision_and_what_was_fixed_stays() {
    for precision in ["bf16", "f16", "f32", "int8", "int6", "int5", "int4", "int3"] {
        let task = noisy(DECLARED, precision, 100);
        let canonical = form_one(&task, &innocent()).unwrap();
        let noisy = dithered(&task, &canonical, 1);
        assert_ne!(noisy, canonical, "{precision}");
        assert_eq!(judge_one(&task, &noisy).result, VerdictResult::Pass, "{precision}");
        assert_eq!(dithered(&task, &canonical, 1), noisy, "{precision}");
        assert_ne!(dithered(&task, &canonical, 2), noisy, "{precision}");
        let fixed = with_w_fixed(&task, &canonical);
        let noisy = dithered(&fixed, &canonical, 1);
        assert_eq!(judge_one(&fixed, &noisy).result, VerdictResult::Pass, "{precision}");
        assert_ne!(noisy, canonical, "{precision}: b is the job's");
    }
    // Values at the end of what can be written stay there.
    let task = noisy(DECLARED, "f16", 1000);
    let canonical = form_one(&task, &with_values(|values| values.fill(65504.0))).unwrap();
    assert_eq!(dithered(&task, &canonical, 1), canonical, "values that are all alike have no deviation");
    let canonical = form_one(&task, &with_values(|values| values[0] = 65504.0)).unwrap();
    assert_eq!(judge_one(&task, &dithered(&task, &canonical, 1)).result, VerdictResult::Pass);
    let policy = egress::Policy::parse(&task.policy).unwrap();
    let mut short = std::io::Cursor::new(canonical[..canonical.len() - 1].to_vec());
    assert!(egress::dither(&policy, &task.outputs[0], &mut short, &mut Vec::new(), &[1; 32]).is_err());
}

/// So many values of a tensor, before and after the noise.
fn through_noise(values: &[f32], percent: u64) -> Vec<f64> {
    let declared = format!(
        r#"{{"kind":"weights","path":"m.safetensors","tensors":[{{"name":"w","shape":["{}"]}}]}}"#,
        values.len()
    );
    let task = noisy(&declared, "f32", percent);
    let canonical = form_one(&task, &tensors(&[("w", &[values.len() as u64], values)])).unwrap();
    let noisy = dithered(&task, &canonical, 7);
    let data = &noisy[noisy.len() - 4 * values.len()..];
    data.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()))).collect()
}

#[test]
fn the_noise_is_normal_and_has_the_policys_share_of_the_deviation() {
    let mut numbers = Numbers(11);
    let values: Vec<f32> = (0..40_000)
        .map(|_| (numbers.below(2_000_001) as f32 / 1e6 - 1.0) * 12f32.sqrt() / 2.0 + 5.0)
        .collect();
    for percent in [10, 30, 100] {
        let share = percent as f64 / 100.0;
        let noise: Vec<f64> = through_noise(&values, percent)
            .iter()
            .zip(&values)
            .map(|(noisy, value)| (noisy - f64::from(*value)) / share)
            .collect();
        let count = noise.len() as f64;
        let moment = |power: i32| noise.iter().map(|value| value.powi(power)).sum::<f64>() / count;
        // Of a standard normal distribution: 0, 1, 0, 3.
        assert!(moment(1).abs() < 0.03, "{percent}: {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.05, "{percent}: {}", moment(2));
        assert!(moment(3).abs() < 0.1, "{percent}: {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.3, "{percent}: {}", moment(4));
    }
}

#[test]
fn no_code_says_more_through_the_noise_than_the_bound_and_without_noise_it_does() {
    let mut numbers = Numbers(13);
    for percent in [0, 10, 30, 100] {
        let share = percent as f64 / 100.0;
        let bound = 0.5 * (1.0 + 1.0 / (share * share)).log2();
        for levels in [2usize, 4, 16] {
            let said: Vec<usize> = (0..40_000).map(|_| numbers.below(levels)).collect();
            let values: Vec<f32> = said.iter().map(|level| *level as f32).collect();
            let heard = through_noise(&values, percent);
            let nearest = |value: &f64| value.round().clamp(0.0, levels as f64 - 1.0) as usize;
            let bits = mutual_information(levels, &said, &heard.iter().map(nearest).collect::<Vec<_>>());
            let all = (levels as f64).log2();
            match percent {
                0 => assert!(bits > all - 0.01, "{levels} levels: {bits}"),
                // A hundredth is what chance adds to an estimate from so many values.
                _ => assert!(bits <= bound.min(all) + 0.01, "{percent} %, {levels} levels: {bits}"),
            }
            // The bound is no idle one: these codes come within a bit of it, or say all that they have.
            assert!(bits > bound.min(all) - 1.0, "{percent} %, {levels} levels: {bits}");
        }
    }
}

/// Bits that what was heard tells of what was said, from how often each pair came.
fn mutual_information(levels: usize, said: &[usize], heard: &[usize]) -> f64 {
    let mut pairs = vec![0f64; levels * levels];
    for (said, heard) in said.iter().zip(heard) {
        pairs[said * levels + heard] += 1.0;
    }
    let total: f64 = pairs.iter().sum();
    let row = |said: usize| pairs[said * levels..][..levels].iter().sum::<f64>() / total;
    let column = |heard: usize| pairs.iter().skip(heard).step_by(levels).sum::<f64>() / total;
    let mut bits = 0.0;
    for said in 0..levels {
        for heard in 0..levels {
            let both = pairs[said * levels + heard] / total;
            if both > 0.0 {
                bits += both * (both / (row(said) * column(heard))).log2();
            }
        }
    }
    bits
}
