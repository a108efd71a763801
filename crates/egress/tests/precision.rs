//! Precisions that are chosen for weights whose request ships an evaluation: which there are, what they cost, and that no
//! other is taken.

mod support;

use egress::{DeclarationError, EgressError, InMemory, Policy, PolicyError, Precision, Task};
use egress::{canonicalise, check_declarations, floor_bits, holds_what_was_fixed, judge};
use release::rule::Rule;
use release::statement::{DeclaredOutput, RuleResult, VerdictResult};
use support::{STANDARD, form_one, judge_one, name, task, tensors, with_policy};

const EVALUATION: &str = r#","evaluation":{"command":["e"],"metric":"m","better":"higher"}"#;

/// Weights of one tensor of so many values.
fn weights(values: u64, more: &str) -> DeclaredOutput {
    let text = format!(
        r#"{{"kind":"weights","path":"m.safetensors","tensors":[{{"name":"w","shape":["{values}"]}}]{more}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn of(output: DeclaredOutput, precision: Option<Precision>) -> Task {
    let precisions = precision.map(|precision| (output.path().clone(), precision));
    Task { outputs: vec![output], precisions: precisions.into_iter().collect(), ..task(&[]) }
}

fn model(values: u64) -> Vec<u8> {
    let numbers: Vec<f32> = (0..values).map(|value| (value as f32 * 0.37).sin()).collect();
    tensors(&[("w", &[values], &numbers)])
}

#[test]
fn among_the_precisions_are_the_policys_own_and_listed_ones_that_cost_less() {
    use Precision::{Bf16, Int4, Int8};
    let policy = Policy::parse(STANDARD).unwrap();
    assert_eq!(policy.precisions(&weights(64, "")), [Bf16]);
    assert_eq!(policy.precisions(&weights(64, EVALUATION)), [Bf16, Int8, Int4]);
    // A scale costs 32 bits: of three values only int4 saves anything, and of two nothing does.
    assert_eq!(policy.precisions(&weights(3, EVALUATION)), [Bf16, Int4]);
    assert_eq!(policy.precisions(&weights(2, EVALUATION)), [Bf16]);
    let coarse = Policy::parse(&STANDARD.replace("precision = \"bf16\"", "precision = \"int6\"")).unwrap();
    assert_eq!(coarse.precisions(&weights(64, EVALUATION)), [Precision::Int6, Int4]);
}

#[test]
fn precisions_of_a_policy_that_do_not_become_smaller_are_refused() {
    let with = |list: &str| Policy::parse(&STANDARD.replace(r#"["int8", "int4"]"#, list));
    for list in ["[]", r#"["int3"]"#, r#"["int8", "int6", "int5", "int4", "int3"]"#] {
        assert!(with(list).is_ok(), "{list}");
    }
    for list in [r#"["int4", "int8"]"#, r#"["int4", "int4"]"#, r#"["bf16", "f16"]"#] {
        assert!(matches!(with(list), Err(PolicyError::Precisions)), "{list}");
    }
    assert!(matches!(with(r#"["int2"]"#), Err(PolicyError::Shape(_))));
}

#[test]
fn what_files_are_charged_in_all_precisions_together_leaves_room_for_every_form() {
    let lists =
        [("[]", 0), (r#"["int8"]"#, 1), (r#"["int8", "int4"]"#, 2), (r#"["int8", "int6", "int4"]"#, 2)];
    for (list, expected) in lists {
        let policy = Policy::parse(&STANDARD.replace(r#"["int8", "int4"]"#, list)).unwrap();
        for values in 1..40 {
            let output = weights(values, EVALUATION);
            assert_eq!(policy.choice_bits(&output), expected);
            assert_eq!(policy.choice_bits(&weights(values, "")), 0);
            // Kraft: the forms of a precision are 2^bits, and each is charged with those bits and the choice's.
            let mut room = 0.0;
            for precision in policy.precisions(&output) {
                let form =
                    form_one(&of(output.clone(), None).at(&policy, precision), &model(values)).unwrap();
                let charged = floor_bits(&policy.at(precision), &output, form.len() as u64);
                let scale = if precision.largest_whole().is_some() { 32 } else { 0 };
                let bits = values * precision.bits() + scale;
                assert_eq!(charged, bits + expected, "{precision:?} {values}");
                room += 2f64.powi(bits as i32 - charged as i32);
            }
            assert!(room <= 1.0, "{list} {values}: {room}");
        }
    }
}

/// The task under another list, in this precision.
trait At {
    fn at(self, policy: &Policy, precision: Precision) -> Task;
}

impl At for Task {
    fn at(self, policy: &Policy, precision: Precision) -> Task {
        let list: Vec<String> =
            policy.weights.smaller_precisions.iter().map(|one| format!("\"{}\"", one.word())).collect();
        let precisions = [(name("m.safetensors"), precision)].into();
        let task = with_policy(self, r#"["int8", "int4"]"#, &format!("[{}]", list.join(", ")));
        Task { precisions, ..task }
    }
}

#[test]
fn a_form_in_the_chosen_precision_is_canonical_and_one_in_another_is_blocked() {
    let output = weights(64, EVALUATION);
    let all = [Precision::Bf16, Precision::Int8, Precision::Int4];
    for precision in all {
        let task = of(output.clone(), Some(precision));
        let form = form_one(&task, &model(64)).unwrap();
        let judged = judge_one(&task, &form);
        assert_eq!(judged.result, VerdictResult::Pass, "{precision:?}");
        let policy = Policy::parse(STANDARD).unwrap();
        for other in all {
            let judged_so = judge_one(&of(output.clone(), Some(other)), &form);
            let blocked = judged_so.report.rules[Rule::WeightsForm.index()] == RuleResult::Blocked;
            // Whole numbers of int4 are some of int8, and cost more as those.
            let narrower = (precision, other) == (Precision::Int4, Precision::Int8);
            assert_eq!(blocked, precision != other && !narrower, "{precision:?} as {other:?}");
            let floor = floor_bits(&policy.at(other), &output, form.len() as u64);
            assert_eq!(judged_so.report.bits[0], floor, "{precision:?} as {other:?}");
            let mut file = std::io::Cursor::new(&form);
            let holds = holds_what_was_fixed(&policy.at(other), &output, &mut file).unwrap();
            assert_eq!(holds, !blocked, "{precision:?} as {other:?}");
        }
    }
}

#[test]
fn a_file_that_has_another_length_than_its_precision_makes_it_is_charged_with_all_its_bytes() {
    let output = weights(64, EVALUATION);
    let policy = Policy::parse(STANDARD).unwrap();
    let form = form_one(&of(output.clone(), Some(Precision::Bf16)), &model(64)).unwrap();
    let bytes = form.len() as u64;
    let own = floor_bits(&policy.at(Precision::Bf16), &output, bytes);
    for stated in [Precision::Int8, Precision::Int4] {
        let charged = floor_bits(&policy.at(stated), &output, bytes);
        assert!(charged > own && charged == 8 * bytes + 2, "{stated:?}: {charged}");
    }
}

#[test]
fn a_precision_that_is_finer_not_listed_not_asked_for_or_not_stated_is_no_precision() {
    use Precision::{Bf16, F32, Int3, Int4, Int8};
    let policy = Policy::parse(STANDARD).unwrap();
    let stated = |output: &DeclaredOutput, precision| policy.stated(output, precision).is_some();
    let (evaluated, plain) = (weights(64, EVALUATION), weights(64, ""));
    for precision in [Bf16, Int8, Int4] {
        assert!(stated(&evaluated, Some(precision)) && !stated(&plain, Some(precision)), "{precision:?}");
    }
    for precision in [F32, Precision::F16, Precision::Int6, Int3] {
        assert!(!stated(&evaluated, Some(precision)), "{precision:?}");
        let task = of(evaluated.clone(), Some(precision));
        let formed = canonicalise(&task, &mut InMemory::default(), &mut InMemory::default());
        assert!(matches!(formed, Err(EgressError::Precision(_))), "{precision:?}");
        assert!(matches!(judge(&task, &mut InMemory::default()), Err(EgressError::Precision(_))));
    }
    assert!(!stated(&evaluated, None) && stated(&plain, None));
    assert!(!stated(&weights(3, EVALUATION), Some(Int8)), "it is dearer than the policy's own");
    let other = Task { precisions: [(name("other"), Bf16)].into(), ..of(evaluated, None) };
    assert!(matches!(judge(&other, &mut InMemory::default()), Err(EgressError::Precision(_))));
}

#[test]
fn a_tensor_that_is_fixed_in_one_precision_has_no_evaluation_and_none_has_the_name_of_a_scale() {
    let policy = Policy::parse(STANDARD).unwrap();
    let checked = |tensors: &str, more: &str| {
        let text = format!(r#"{{"kind":"weights","path":"m.safetensors","tensors":[{tensors}]{more}}}"#);
        check_declarations(&policy, &[serde_json::from_str(&text).unwrap()])
    };
    let fixed = format!(r#"{{"name":"w","shape":["4"],"sha256":"{}"}}"#, "0".repeat(64));
    assert_eq!(checked(&fixed, ""), Ok(()));
    assert!(matches!(checked(&fixed, EVALUATION), Err(DeclarationError::FixedAndEvaluated { .. })));
    let scale = r#"{"name":"w","shape":["4"]},{"name":"w.scale","shape":["1"]}"#;
    assert_eq!(checked(scale, ""), Ok(()));
    assert!(matches!(checked(scale, EVALUATION), Err(DeclarationError::NameReserved { .. })));
}
