//! What was declared, and nothing else, is read; and each file is charged.

mod support;

use egress::{
    DeclarationError, EgressError, EntryKind, InMemory, Policy, Task, canonicalise, check_declarations,
    check_sizes, judge,
};
use release::report::{DETAIL_LIMIT, OUTPUT_LIMIT};
use release::rule::Rule;
use release::statement::{DeclaredOutput, RuleResult, VerdictResult};
use support::{Full, Odd, STANDARD, form, name, result, task, with_policy};

const ONE: &str = r#"{"kind":"metrics","path":"one.json","names":["x"]}"#;
const TWO: &str = r#"{"kind":"metrics","path":"two.json","names":["x"]}"#;

#[test]
fn an_undeclared_entry_of_any_kind_is_blocked_and_never_opened() {
    for kind in [
        EntryKind::File,
        EntryKind::HardLink,
        EntryKind::SymbolicLink,
        EntryKind::Directory,
        EntryKind::Special,
    ] {
        let judgement =
            canonicalise(&task(&[ONE]), &mut Odd::new("extra", kind), &mut InMemory::default()).unwrap();
        assert_eq!(result(&judgement, Rule::OutputDeclared), RuleResult::Blocked, "{kind:?}");
        assert_eq!((judgement.files.len(), judgement.files[1].kind), (2, None), "{kind:?}");
    }
}

#[test]
fn a_declared_name_that_is_no_plain_file_is_blocked_and_never_opened() {
    for kind in [EntryKind::HardLink, EntryKind::SymbolicLink, EntryKind::Directory, EntryKind::Special] {
        let mut odd = Odd::new("one.json", kind);
        let judgement = canonicalise(&task(&[ONE]), &mut odd, &mut InMemory::default()).unwrap();
        assert_eq!(result(&judgement, Rule::OutputDeclared), RuleResult::Blocked, "{kind:?}");
        assert_eq!(judge(&task(&[ONE]), &mut odd).unwrap().result, VerdictResult::Blocked, "{kind:?}");
    }
    let (judgement, _) = form(&task(&[ONE]), &[("one.json", b"{\"x\":1}")]);
    assert_eq!(result(&judgement, Rule::OutputDeclared), RuleResult::Passed);
}

#[test]
fn a_file_above_the_policys_size_is_never_opened() {
    let mut large = Odd::new("one.json", EntryKind::File);
    large.0.bytes = 65_537;
    let judgement = canonicalise(&task(&[ONE]), &mut large, &mut InMemory::default()).unwrap();
    assert_eq!(result(&judgement, Rule::OutputDeclared), RuleResult::Blocked);
}

#[test]
fn a_missing_output_blocks_and_the_others_are_still_formed() {
    let (judgement, files) = form(&task(&[ONE, TWO]), &[("two.json", b"{\"x\":1}")]);
    assert_eq!(judgement.result, VerdictResult::Blocked);
    assert_eq!(files.0.keys().collect::<Vec<_>>(), [&name("two.json")]);
}

#[test]
fn names_of_undeclared_files_are_shown_as_plain_text_and_bounded() {
    let mut odd = Odd::new("", EntryKind::File);
    odd.0.name = b"\x1b[31m\"\xff\n".repeat(40);
    let judgement = canonicalise(&task(&[ONE]), &mut odd, &mut InMemory::default()).unwrap();
    let shown = &judgement.files[1].name;
    assert!(shown.len() < 64 && shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
}

#[test]
fn detail_is_bounded_whatever_was_written() {
    let extra: Vec<String> = (0..2000).map(|index| format!("{index:0>120}")).collect();
    let mut files: Vec<(&str, &[u8])> = extra.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let declared: Vec<String> =
        (0..OUTPUT_LIMIT).map(|index| ONE.replace("one", &format!("{index:0>110}"))).collect();
    let declared: Vec<&str> = declared.iter().map(String::as_str).collect();
    files.push(("x", b""));
    let (judgement, _) = form(&task(&declared), &files);
    assert_eq!(judgement.result, VerdictResult::Blocked);
    let detail = judgement.detail();
    assert!(detail.len() <= DETAIL_LIMIT);
    serde_json::from_slice::<egress::Detail>(&detail).unwrap();
}

#[test]
fn the_sum_of_all_files_is_bounded() {
    let files = InMemory::new([
        (name("one.json"), b"{\"x\":1}\n".to_vec()),
        (name("two.json"), b"{\"x\":2}\n".to_vec()),
    ]);
    let both = task(&[ONE, TWO]);
    let judged = judge(&both, &mut files.clone()).unwrap();
    assert_eq!((judged.result, judged.report.bits[0], judged.report.bits[1]), (VerdictResult::Pass, 8, 8));
    let tight = with_policy(both, "release_bits = 134217728", "release_bits = 15");
    let judged = judge(&tight, &mut files.clone()).unwrap();
    assert_eq!(result(&judged, Rule::ReleaseBits), RuleResult::Blocked);
}

#[test]
fn a_sink_that_fails_is_an_error_and_no_judgement() {
    let mut source = InMemory::new([(name("one.json"), b"{\"x\":1}".to_vec())]);
    assert!(matches!(canonicalise(&task(&[ONE]), &mut source, &mut Full), Err(EgressError::File(_))));
}

fn refusal(declared: &[&str]) -> Option<DeclarationError> {
    let outputs: Vec<DeclaredOutput> =
        declared.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    check_declarations(&Policy::parse(STANDARD).unwrap(), &outputs).err()
}

#[test]
fn declarations_that_cannot_be_judged_are_refused_before_a_run() {
    use DeclarationError as E;
    let weights = |tensors: &str| format!(r#"{{"kind":"weights","path":"w","tensors":[{tensors}]}}"#);
    let table = |rest: &str| {
        format!(
            r#"{{"kind":"table","path":"t","columns":[{{"name":"n","type":"integer"}},{{"name":"m","type":"decimal:1"}}]{rest}}}"#
        )
    };
    assert_eq!(
        refusal(&[ONE, TWO, &weights(r#"{"name":"w","shape":["2","3"]}"#), &table(r#","countColumn":"n""#)]),
        None
    );
    assert!(matches!(refusal(&[ONE; 33]), Some(E::TooManyOutputs)));
    assert!(matches!(refusal(&[ONE, &ONE.replace("one", "ONE")]), Some(E::PathTwice { .. })));
    assert!(matches!(refusal(&[&ONE.replace("\"x\"", "\"x\",\"x\"")]), Some(E::NameTwice { .. })));
    let reserved = weights(r#"{"name":"__metadata__","shape":["1"]}"#);
    assert!(matches!(refusal(&[&reserved]), Some(E::NameReserved { .. })));
    for shape in [
        r#""0""#,
        r#""9223372036854775808","2""#,
        r#""281474976710657""#,
        r#""1","1","1","1","1","1","1","1","1""#,
    ] {
        let shaped = weights(&format!(r#"{{"name":"w","shape":[{shape}]}}"#));
        assert!(matches!(refusal(&[&shaped]), Some(E::Shape { .. })), "{shape}");
    }
    let many: Vec<String> = (0..4097).map(|index| format!(r#"{{"name":"t{index}","shape":[]}}"#)).collect();
    assert!(matches!(refusal(&[&weights(&many.join(","))]), Some(E::TooManyTensors { .. })));
    assert!(matches!(refusal(&[&table(r#","countColumn":"x""#)]), Some(E::NoSuchColumn { .. })));
    assert!(matches!(refusal(&[&table(r#","largestColumn":"x""#)]), Some(E::NoSuchColumn { .. })));
    assert!(matches!(refusal(&[&table(r#","countColumn":"m""#)]), Some(E::CountNotInteger { .. })));
}

#[test]
fn shares_zeros_and_degrees_of_freedom_name_what_is_declared() {
    use DeclarationError as E;
    let table = |more: &str| {
        format!(
            r#"{{"kind":"table","path":"t","columns":[{{"name":"plan","type":"category:hie.plan"}},
            {{"name":"n","type":"integer"}},{{"name":"m","type":"decimal:1"}},
            {{"name":"k","type":"decimal:1"}}],"countColumn":"n"{more}}}"#
        )
    };
    for more in ["", r#","largestColumn":"m""#, r#","largestColumn":"m","twoLargestColumn":"k""#] {
        assert_eq!(refusal(&[&table(more)]), None, "{more}");
    }
    for more in [r#","largestColumn":"n""#, r#","largestColumn":"m","twoLargestColumn":"m""#] {
        assert!(matches!(refusal(&[&table(more)]), Some(E::ShareNotDecimal { .. })), "{more}");
    }
    assert!(matches!(refusal(&[&table(r#","twoLargestColumn":"m""#)]), Some(E::LargestMissing { .. })));
    assert_eq!(refusal(&[&table(r#","structuralZeros":[["free"],["individual"]]"#)]), None);
    for zeros in [r#"[["free","male"]]"#, "[[]]", r#"[["free"],["free"]]"#] {
        let refused = refusal(&[&table(&format!(r#","structuralZeros":{zeros}"#))]);
        assert!(matches!(refused, Some(E::StructuralZeros { .. })), "{zeros}");
    }
    let model = r#"{"kind":"metrics","path":"m","names":["loss","df"],"degreesOfFreedom":"df"}"#;
    assert_eq!(refusal(&[model]), None);
    let other = model.replace(r#":"df"}"#, r#":"n"}"#);
    assert!(matches!(refusal(&[&other]), Some(E::NoSuchMetric { .. })));
}

#[test]
fn a_scale_takes_no_declared_name() {
    let declared =
        r#"{"kind":"weights","path":"w","tensors":[{"name":"w","shape":[]},{"name":"w.scale","shape":[]}]}"#;
    assert_eq!(refusal(&[declared]), None);
    let task = with_policy(task(&[declared]), "precision = \"bf16\"", "precision = \"int8\"");
    let judged = judge(&task, &mut InMemory::default());
    assert!(matches!(judged, Err(EgressError::Declaration(DeclarationError::NameReserved { .. }))));
}

#[test]
fn without_a_declaration_nothing_leaves_but_at_the_desk_all_of_it_is_charged() {
    let bare = [
        (r#"{"kind":"weights","path":"f","tensors":[]}"#, support::tensors(&[("w", &[2], &[0.5, 1.0])])),
        (r#"{"kind":"metrics","path":"f","names":[]}"#, b"{\"x\":1,\"y\":2}".to_vec()),
        (
            r#"{"kind":"table","path":"f","columns":[],"countColumn":"n"}"#,
            b"who,n,mean\nJane Roe,10,1.5\nBob,20,1.25\n".to_vec(),
        ),
    ];
    for (declared, written) in bare {
        let in_the_box = task(&[declared]);
        let (judgement, files) = form(&in_the_box, &[("f", &written)]);
        assert_eq!((judgement.result, files.0.len()), (VerdictResult::Blocked, 0), "{declared}");
        let desk = Task { as_written: true, catalogue: Vec::new(), ..in_the_box.clone() };
        let (judgement, mut files) = form(&desk, &[("f", &written)]);
        assert_eq!(judgement.result, VerdictResult::Pass, "{declared}: {:?}", judgement.files);
        let judged = judge(&desk, &mut files).unwrap();
        assert_eq!(judged.result, VerdictResult::Pass, "{declared}: {:?}", judged.files);
        assert_eq!(judged.report.bits[0], 8 * files.0[&name("f")].len() as u64);
        assert_eq!(judge(&in_the_box, &mut files).unwrap().result, VerdictResult::Blocked, "{declared}");
    }
}

#[test]
fn a_table_as_written_without_the_column_of_counts_it_names_is_blocked() {
    let declared = r#"{"kind":"table","path":"f","columns":[],"countColumn":"n"}"#;
    for written in ["a,b\n1,2\n", "a,n\n1,20.5\n"] {
        let desk = Task { as_written: true, ..task(&[declared]) };
        let (judgement, _) = form(&desk, &[("f", written.as_bytes())]);
        assert_eq!(result(&judgement, Rule::TableSmallestCount), RuleResult::Blocked, "{written}");
    }
}

#[test]
fn weights_that_by_their_shapes_can_never_leave_are_refused_by_name_and_those_that_may_are_not() {
    use DeclarationError as E;
    let policy = Policy::parse(STANDARD).unwrap();
    let sizes = |declared: &[&str]| check_sizes(&policy, &task(declared).outputs);
    let weights = |path: &str, parameters: u64, more: &str, evaluation: &str| {
        format!(
            r#"{{"kind":"weights","path":"{path}","tensors":[{{"name":"w","shape":["{parameters}"]{more}}}]{evaluation}}}"#
        )
    };
    let most = 8 << 20;
    assert_eq!(sizes(&[&weights("a", most, "", "")]), Ok(()));
    assert!(matches!(
        sizes(&[&weights("a", most + 1, "", "")]),
        Err(E::TooManyBits { bits: 134_217_744, .. })
    ));
    // Together they carry too much, each of them does not.
    let half = weights("b", most / 2 + 1, "", "");
    assert!(matches!(sizes(&[&weights("a", most / 2, "", ""), &half]), Err(E::ReleaseTooManyBits { .. })));
    // An evaluation may find a precision of fewer bits, and what the request fixed carries nothing.
    let evaluation = r#","evaluation":{"command":["e"],"metric":"m","better":"higher"}"#;
    assert_eq!(sizes(&[&weights("a", 2 * most, "", evaluation)]), Ok(()));
    assert!(matches!(sizes(&[&weights("a", 4 * most, "", evaluation)]), Err(E::TooManyBits { .. })));
    let fixed = format!(r#","sha256":"{}""#, "0".repeat(64));
    assert_eq!(sizes(&[&weights("a", 1 << 31, &fixed, "")]), Ok(()));
    assert_eq!(sizes(&[ONE, TWO]), Ok(()));
}
