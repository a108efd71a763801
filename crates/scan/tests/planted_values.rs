//! Runs of exactly the promised length in values of tensors, at random places, behind each view of values; and other text that
//! is laid in the same way.

mod material;

use material::{Random, search_with};
use scan::{Background, Dtype, Limits, RUN, SearchedView, Values, View};

/// Runs planted behind each view, and in a long run.
const FEW: usize = 100;
const MANY: usize = 10_000;

/// Runs in one tensor.
const TOGETHER: usize = 100;

/// How text is laid into values.
struct Encoding {
    view: View,
    dtype: Dtype,
    /// Bytes of a run that is found in any case.
    run: usize,
    encode: fn(&[u8], &mut Random) -> Vec<u8>,
}

fn floats(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

fn doubles(values: impl Iterator<Item = f64>) -> Vec<u8> {
    values.flat_map(f64::to_le_bytes).collect()
}

/// A character of a run as a value: `$to` of its number.
macro_rules! scaled {
    ($view:ident, $to:expr) => {
        Encoding {
            view: View::$view,
            dtype: Dtype::F32,
            run: RUN,
            encode: |run, _| {
                let to: fn(f32) -> f32 = $to;
                floats(run.iter().map(|byte| to(f32::from(*byte))))
            },
        }
    };
}

/// Groups of a run's bytes as one number of this type each, in values of `f64`.
macro_rules! grouped {
    ($view:ident, $number:ty) => {
        Encoding {
            view: View::$view,
            dtype: Dtype::F64,
            // Beginnings and ends of groups are cut off.
            run: RUN + size_of::<$number>() - RUN % size_of::<$number>(),
            encode: |run, _| {
                let (groups, _) = run.as_chunks();
                doubles(groups.iter().map(|group| <$number>::from_le_bytes(*group) as f64))
            },
        }
    };
}

/// Values of four bytes, of which those of a run are put in by `$put`; the others are chance.
macro_rules! within {
    ($view:ident, $each:literal, $put:expr) => {
        Encoding {
            view: View::$view,
            dtype: Dtype::F32,
            run: (RUN / $each + 1) * $each,
            encode: |run, random| {
                let put: fn(&mut [u8; 4], &[u8]) = $put;
                let mut values = Vec::new();
                for some in run.chunks_exact($each) {
                    let mut value = (random.next() as u32).to_le_bytes();
                    put(&mut value, some);
                    values.extend(value);
                }
                values
            },
        }
    };
}

const ENCODINGS: [Encoding; 23] = [
    scaled!(Value, |number| number),
    scaled!(ValueTimes255, |number| number / 255.0),
    scaled!(ValueTimes128, |number| number / 128.0),
    scaled!(ValueTimes256, |number| number / 256.0),
    scaled!(ValueCentred, |number| number / 127.5 - 1.0),
    scaled!(ValueTimes10, |number| number / 10.0),
    scaled!(ValueTimes100, |number| number / 100.0),
    scaled!(ValueTimes127, |number| number / 127.0),
    scaled!(ValueTimes1000, |number| number / 1000.0),
    scaled!(Magnitude, |number| if (number as u32).is_multiple_of(3) { -number } else { number }),
    scaled!(I8, |number| number),
    grouped!(I16, i16),
    grouped!(I32, i32),
    Encoding {
        view: View::F32,
        dtype: Dtype::F64,
        run: 32,
        encode: |run, _| doubles(run.as_chunks().0.iter().map(|group| f64::from(f32::from_le_bytes(*group)))),
    },
    Encoding {
        view: View::Bf16,
        dtype: Dtype::F32,
        run: 32,
        encode: |run, _| {
            floats(run.as_chunks().0.iter().map(|[low, high]| f32::from_le_bytes([0, 0, *low, *high])))
        },
    },
    Encoding {
        view: View::F16,
        dtype: Dtype::F64,
        run: 32,
        encode: |run, _| {
            // Text has no exponent of all ones or zeros, so that each pair is a usual number.
            let half = |pair: &[u8; 2]| {
                let bits = u16::from_le_bytes(*pair);
                let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
                2_f64.powi(exponent - 15) * (1.0 + fraction / 1024.0)
            };
            doubles(run.as_chunks().0.iter().map(half))
        },
    },
    Encoding {
        view: View::Exponent,
        dtype: Dtype::F32,
        run: RUN,
        encode: |run, random| {
            let of = |byte: &u8| f32::from_bits(u32::from(*byte) << 23 | random.next() as u32 >> 9);
            floats(run.iter().map(of))
        },
    },
    within!(BigEndian, 4, |value, some| {
        value.copy_from_slice(some);
        value.reverse();
    }),
    within!(LowBytes, 3, |value, some| value[..3].copy_from_slice(some)),
    within!(LowHalves, 2, |value, some| value[..2].copy_from_slice(some)),
    within!(HighBytes, 1, |value, some| value[3] = some[0]),
    within!(LowSevenBits, 1, |value, some| value[0] = value[0] & 0x80 | some[0]),
    // As it is: the file itself.
    within!(Raw, 4, |value, some| value.copy_from_slice(some)),
];

fn text(random: &mut Random, length: usize) -> Vec<u8> {
    random.letters(b"abcdefghijklmnoprstuvwz0123456789,;.", length)
}

fn shown(encoding: &Encoding, values: &[u8]) -> Vec<u8> {
    if encoding.view == View::Raw {
        return values.to_vec();
    }
    let mut bytes = Vec::new();
    Values::of(encoding.dtype, values).unwrap().write(encoding.view, &mut bytes).unwrap();
    bytes
}

/// Runs of `from` in a tensor, each between values of no text.
fn planted(encoding: &Encoding, from: &[u8], random: &mut Random) -> Vec<u8> {
    let mut values = Vec::new();
    for _ in 0..TOGETHER {
        // Bytes of their own, which no text has, whatever is made of them.
        let filler = 40 + random.below(24);
        values
            .extend((encoding.encode)(&random.letters(b"\x01\x02\x03\x04\x05\x06\x07", 8 * filler), random));
        let at = random.below(from.len() - encoding.run + 1);
        values.extend((encoding.encode)(&from[at..at + encoding.run], random));
    }
    values.extend((encoding.encode)(&random.letters(b"\x01\x02\x03", 48), random));
    values
}

fn each_is_found(count: usize) {
    let mut random = Random(2010);
    let (data, other) = (text(&mut random, 200_000), text(&mut random, 200_000));
    let runs = |encoding: &Encoding, values: &[u8]| {
        let bytes = shown(encoding, values);
        let views = vec![SearchedView { output: 0, view: encoding.view, bytes: Box::new(&bytes[..]) }];
        search_with(views, &[&data], &Background::default(), Limits::default()).runs
    };
    for encoding in &ENCODINGS {
        assert!(encoding.run < 2 * RUN, "{:?}: what a view shows is cut at most at its ends", encoding.view);
        for _ in (0..count).step_by(TOGETHER) {
            let found = runs(encoding, &planted(encoding, &data, &mut random));
            assert!(found >= TOGETHER as u64, "{:?}: {found} of {TOGETHER}", encoding.view);
            assert_eq!(runs(encoding, &planted(encoding, &other, &mut random)), 0, "{:?}", encoding.view);
        }
    }
}

#[test]
fn runs_of_the_promised_length_are_found_behind_each_view_of_values_and_other_text_is_not() {
    each_is_found(FEW);
}

#[test]
#[ignore = "long: some minutes"]
fn none_of_ten_thousand_runs_is_missed_behind_each_view_of_values() {
    each_is_found(MANY);
}

#[test]
fn each_view_of_values_is_tried_but_those_that_no_text_fits_into() {
    let tried = |view: &View| ENCODINGS.iter().any(|encoding| encoding.view == *view);
    let untried: Vec<View> = View::OF_VALUES.into_iter().filter(|view| !tried(view)).collect();
    // Of 64 bits a value has 53, so that text in it is no text behind the view, but numbers are those of the data. The others
    // show every second byte: see `innocent`.
    assert_eq!(untried, [View::I64, View::F16HighBytes, View::I16HighBytes]);
}
