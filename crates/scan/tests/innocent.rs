//! Copies in each view, and innocent outputs that look like them.

mod material;

use material::{Random, SMALL, SMALL_INDEXED, places, raw, search, search_with};
use scan::{Background, Limits, SearchedView, Values, View};
use scan::{Dtype, text_numbers};

const DATA: &[u8] = b"person,plan,visits,income\n125024,Individual deductible plan,3,11289.4\n\
    125025,Family plan without any deductible,0,21774.1\n125026,Individual deductible plan,12,9071.0\n";

fn bfloat16(values: impl Iterator<Item = f32>) -> Vec<u8> {
    // Every value here is a small integer or has its lower half cut, as the canonical form does.
    values.flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

fn runs_in(view: View, bytes: &[u8]) -> u64 {
    let views = vec![SearchedView { output: 0, view, bytes: Box::new(bytes) }];
    let report = search_with(views, &[DATA], &Background::default(), Limits::default());
    assert!(report.places.iter().all(|place| place.view == view.index()));
    report.runs
}

fn tensor_view(view: View, values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Values::of(Dtype::Bf16, values).unwrap().write(view, &mut bytes).unwrap();
    bytes
}

#[test]
fn one_character_a_weight_is_found_in_its_values_and_not_in_the_raw_file() {
    let weights = bfloat16(DATA[30..70].iter().map(|byte| f32::from(*byte)));
    assert_eq!(runs_in(View::Raw, &weights), 0);
    assert_eq!(runs_in(View::Value, &tensor_view(View::Value, &weights)), 1);
    let scaled = bfloat16(DATA[30..70].iter().map(|byte| f32::from(*byte) / 256.0));
    assert_eq!(runs_in(View::ValueTimes256, &tensor_view(View::ValueTimes256, &scaled)), 1);
}

#[test]
fn honest_weights_are_no_copy_in_any_view() {
    let mut random = Random(20);
    let weights = bfloat16((0..200_000).map(|_| (random.below(2000) as f32 - 1000.0) / 700.0));
    let data = random.bytes(100_000);
    for view in View::OF_VALUES {
        let bytes = tensor_view(view, &weights);
        let views = vec![SearchedView { output: 0, view, bytes: Box::new(&bytes[..]) }];
        assert_eq!(
            search_with(views, &[DATA, &data], &Background::default(), Limits::default()).runs,
            0,
            "{view:?}"
        );
    }
}

#[test]
fn text_laid_in_bf16_is_found_in_the_raw_file() {
    assert_eq!(runs_in(View::Raw, &DATA[26..90]), 1);
    let swapped = tensor_view(View::BigEndian, &DATA[26..90]);
    assert_eq!(runs_in(View::Raw, &swapped), 0);
    assert_eq!(runs_in(View::BigEndian, &tensor_view(View::BigEndian, &swapped)), 1);
}

#[test]
fn text_laid_in_the_low_byte_of_each_weight_is_found() {
    let weights: Vec<u8> = DATA[26..90].iter().flat_map(|byte| [*byte, 0x3f]).collect();
    assert_eq!(runs_in(View::Raw, &weights), 0);
    assert_eq!(runs_in(View::LowBytes, &tensor_view(View::LowBytes, &weights)), 1);
}

#[test]
fn what_bf16_leaves_of_text_laid_in_f32_is_found() {
    for start in 26..30 {
        let (values, _) = DATA[start..start + 100].as_chunks::<4>();
        let weights = bfloat16(values.iter().map(|value| f32::from_le_bytes(*value)));
        assert_eq!(runs_in(View::Raw, &weights), 0);
        assert_eq!(runs_in(View::UpperHalves, &weights), 1, "{start}");
    }
    assert_eq!(runs_in(View::UpperHalves, &DATA[26..90]), 0);
}

/// The value of 16 bits as an `f16` that is a normal number (IEEE 754-2019, 3.4).
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15)
}

#[test]
fn what_bf16_leaves_of_two_bytes_in_a_value_is_found_and_other_text_is_not() {
    type Laid = fn(u16) -> f32;
    let laid: [(View, Laid); 2] = [(View::F16HighBytes, half), (View::I16HighBytes, |bits| bits.into())];
    let other: Vec<u8> = DATA.iter().rev().copied().collect();
    for (view, value) in laid {
        for (text, expected) in [(DATA, 1), (&other, 0)] {
            for start in 26..28 {
                let (pairs, _) = text[start..start + 66].as_chunks::<2>();
                let weights = bfloat16(pairs.iter().map(|pair| value(u16::from_le_bytes(*pair))));
                assert_eq!(runs_in(View::Raw, &weights), 0);
                assert_eq!(runs_in(view, &tensor_view(view, &weights)), expected, "{view:?} {start}");
            }
        }
    }
}

#[test]
fn characters_written_as_numbers_of_a_table_are_found_by_row_and_by_column() {
    let digits: Vec<String> = DATA[26..66].iter().map(u8::to_string).collect();
    let column: String = digits.iter().map(|number| format!("plan,{},{number}\n", 40)).collect();
    let row = digits.join(",");
    for text in [column, row] {
        let mut bytes = Vec::new();
        text_numbers(text.as_bytes(), &mut bytes).unwrap();
        assert_eq!(runs_in(View::Raw, text.as_bytes()), 0);
        assert_eq!(runs_in(View::TextNumbers, &bytes), 1);
    }
}

#[test]
fn a_report_names_the_output_of_each_run() {
    let views = vec![raw(4, &DATA[40..80]), raw(2, b"nothing of it"), raw(1, &DATA[10..50])];
    let report = search_with(views, &[DATA], &Background::default(), Limits::default());
    assert_eq!(places(&report), [(1, 0, 40), (4, 0, 40)]);
}

#[test]
fn random_outputs_are_no_copy_of_random_data() {
    let mut random = Random(21);
    let data = random.bytes(2_000_000);
    assert_eq!(search(&random.bytes(1_000_000), &[&data]).runs, 0);
}

/// Runs that count although the plans' names and the header are public.
fn private_runs(output: &str) -> u64 {
    let public = [
        "Individual deductible plan",
        "Family plan without any deductible",
        "person,plan,visits,income",
        "visits",
        "0",
        "1",
    ];
    let background = Background::of(public);
    search_with(vec![raw(0, output.as_bytes())], &[DATA], &background, Limits::default()).runs
}

#[test]
fn outputs_that_share_public_names_alone_are_no_copy() {
    let table = "plan,n,mean\nFamily plan without any deductible,0,2\nIndividual deductible plan,12,3\n";
    assert_eq!(search(table.as_bytes(), &[DATA]).runs, 1);
    assert_eq!(private_runs(table), 0);
    assert_eq!(private_runs("{\"columns\":\"person,plan,visits,income\\n\"}"), 0);
    assert_eq!(private_runs("Individual deductible plan,3,1"), 0);
}

#[test]
fn rows_are_a_copy_although_they_hold_public_names() {
    assert_eq!(
        private_runs(
            "125024,Individual deductible plan,3,11289.4\n125025,Family plan without any deductible,0,2177"
        ),
        1
    );
    assert_eq!(private_runs(std::str::from_utf8(DATA).unwrap()), 1);
}

#[test]
fn short_public_strings_excuse_nothing() {
    let data: &[u8] = b"\n1,0,1,1,0,7,8,0,0,1,0,1,1,2,1,1,0,0,0,1,6,3,1,1,0,0,1,1,0,1\n";
    let background = Background::of(["0", "1", ",", "1,0,1,1,0,7,8,0"]);
    assert_eq!(search_with(vec![raw(0, data)], &[data], &background, Limits::default()).runs, 1);
}

const NAME: &[u8] = b"a name of the catalogue, longer than a run";

#[test]
fn what_was_excused_once_still_counts_where_the_data_has_more_of_it() {
    let mut random = Random(22);
    let (left, right, other) = (random.bytes(20), random.bytes(20), random.bytes(20));
    let view = [&left, NAME, &right].concat();
    let half = [[&left, NAME, &other].concat(), [&other, NAME, &right].concat()];
    let background = Background::of([NAME]);
    let runs_with =
        |data: &[&[u8]]| search_with(vec![raw(0, &view)], data, &background, Limits::default()).runs;
    assert_eq!(runs_with(&[&half[0], &half[1]]), 0);
    assert_eq!(runs_with(&[&half[0], &half[1], &view]), 1);
}

#[test]
fn a_public_name_that_is_cut_between_two_passes_is_still_public() {
    let mut random = Random(23);
    let (before, behind) = (random.bytes(25), random.bytes(25));
    let data = [&before[..], NAME, &random.bytes(30), NAME, &behind].concat();
    let background = Background::of([NAME]);
    for shift in 0..200 {
        let mut view = random.bytes(shift);
        while view.len() < 20_000 {
            view.extend([&before[..], NAME, &random.bytes(17), NAME, &behind, &random.bytes(17)].concat());
        }
        let report = search_with(vec![raw(0, &view)], &[&data], &background, SMALL_INDEXED);
        assert_eq!(report, search_with(vec![raw(0, &view)], &[&data], &background, SMALL));
        assert_eq!(report.runs, 0, "{shift}");
    }
}
