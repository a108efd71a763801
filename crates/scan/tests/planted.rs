//! Runs of exactly the promised length, at random places, behind each view of bytes; and what looks the same and is none.

mod material;

use std::io::Write;

use material::{Random, search_with};
use scan::{Allowance, Background, Dtype, Limits, RUN, SUBSTITUTED_RUN, SearchedView, View, decode, planes};

/// Runs planted behind each view, and in a long run.
const FEW: usize = 100;
const MANY: usize = 10_000;

/// How runs are laid into an output.
struct Encoding {
    view: View,
    /// Bytes of a run that is found in any case.
    run: usize,
    encode: fn(&[u8], &mut Random) -> Vec<u8>,
}

fn key(random: &mut Random) -> u8 {
    1 + random.below(255) as u8
}

/// Groups of so many bytes, each in reverse order. The run may begin anywhere in the first one.
fn groups_reversed(run: &[u8], width: usize, random: &mut Random) -> Vec<u8> {
    let (first, rest) = run.split_at(random.below(width));
    first.iter().rev().chain(rest.chunks(width).flat_map(|group| group.iter().rev())).copied().collect()
}

fn any_substitution(random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).collect();
    for at in (1..256).rev() {
        bytes.swap(at, random.below(at + 1));
    }
    bytes
}

const ENCODINGS: [Encoding; 15] = [
    Encoding { view: View::Raw, run: RUN, encode: |run, _| run.to_vec() },
    Encoding { view: View::Reversed, run: RUN, encode: |run, _| run.iter().rev().copied().collect() },
    Encoding {
        view: View::BitsReversed,
        run: RUN,
        encode: |run, _| run.iter().map(|byte| byte.reverse_bits()).collect(),
    },
    Encoding {
        view: View::NibblesSwapped,
        run: RUN,
        encode: |run, _| run.iter().map(|byte| byte.rotate_left(4)).collect(),
    },
    Encoding {
        view: View::BitsShifted,
        run: RUN,
        encode: |run, random| {
            let shift = 1 + random.below(7) as u32;
            let both = |pair: &[u8; 2]| (pair[0] << (8 - shift)) | pair[1] >> shift;
            [&[random.next() as u8][..], run, &[random.next() as u8]]
                .concat()
                .array_windows()
                .map(both)
                .collect()
        },
    },
    Encoding {
        view: View::BytesSwapped,
        run: RUN + 2,
        encode: |run, random| groups_reversed(run, 2, random),
    },
    Encoding {
        view: View::BytesSwapped,
        run: RUN + 4,
        encode: |run, random| groups_reversed(run, 4, random),
    },
    Encoding {
        view: View::BytesSwapped,
        run: RUN + 8,
        encode: |run, random| groups_reversed(run, 8, random),
    },
    Encoding {
        view: View::Strides,
        run: RUN,
        encode: |run, random| {
            let step = 2 + random.below(15);
            let mut bytes = random.bytes(run.len() * step);
            run.iter().enumerate().for_each(|(at, byte)| bytes[at * step] = *byte);
            bytes
        },
    },
    Encoding {
        view: View::XorConstant,
        run: RUN + 1,
        encode: |run, random| {
            let key = key(random);
            run.iter().map(|byte| byte ^ key).collect()
        },
    },
    Encoding {
        view: View::AddConstant,
        run: RUN + 1,
        encode: |run, random| {
            let key = key(random);
            run.iter().map(|byte| byte.wrapping_add(key)).collect()
        },
    },
    Encoding {
        view: View::XorRepeated,
        run: RUN + 32,
        encode: |run, random| {
            let length = 1 + random.below(32);
            let key = random.bytes(length);
            run.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
        },
    },
    Encoding {
        view: View::WithoutZeros,
        run: RUN,
        encode: |run, _| run.iter().flat_map(|byte| [*byte, 0, 0, 0]).collect(),
    },
    Encoding {
        view: View::Folded,
        run: 2 * RUN,
        encode: |run, _| {
            let letters = run.iter().filter(|byte| byte.is_ascii_alphanumeric());
            letters.flat_map(|byte| [byte.to_ascii_uppercase(), b'|']).collect()
        },
    },
    Encoding {
        view: View::Substitution,
        run: SUBSTITUTED_RUN,
        encode: |run, random| {
            let other = any_substitution(random);
            run.iter().map(|byte| other[usize::from(*byte)]).collect()
        },
    },
];

/// Words of random letters, as no two texts share them.
fn text(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < length {
        let word = 3 + random.below(8);
        text.extend(random.letters(b"abcdefghijklmnoprstuvwz0123456789", word));
        text.push(b", ;-"[random.below(4)]);
    }
    text.truncate(length);
    text
}

fn runs(view: View, bytes: &[u8], data: &[u8]) -> u64 {
    let views = vec![SearchedView { output: 0, view, bytes: Box::new(bytes) }];
    search_with(views, &[data], &Background::default(), Limits::default()).runs
}

/// So many runs of `from`, encoded, each between bytes of its own.
fn planted(count: usize, encoding: &Encoding, from: &[u8], random: &mut Random) -> Vec<u8> {
    let mut view = Vec::new();
    for _ in 0..count {
        let filler = 40 + random.below(24);
        view.extend(random.bytes(filler));
        let at = random.below(from.len() - encoding.run + 1);
        view.extend((encoding.encode)(&from[at..at + encoding.run], random));
    }
    let last = random.bytes(40);
    view.extend(last);
    view
}

fn each_is_found(count: usize) {
    let said = |encoding: &Encoding| release::report::view_run(encoding.view.name());
    for encoding in &ENCODINGS {
        // Behind that view letters and digits are counted alone.
        assert!(
            encoding.run as u64 <= said(encoding) || encoding.view == View::Folded,
            "{:?}",
            encoding.view
        );
    }
    let mut random = Random(2000);
    let (data, other) = (text(&mut random, 400_000), text(&mut random, 400_000));
    for (number, encoding) in ENCODINGS.iter().enumerate() {
        // A view is cut in parts, or long strides would be left out of it.
        for some in (0..count).step_by(50) {
            let some = 50.min(count - some);
            let found = runs(encoding.view, &planted(some, encoding, &data, &mut random), &data);
            assert!(found >= some as u64, "{number} {:?}: {found} of {some}", encoding.view);
            let none = runs(encoding.view, &planted(some, encoding, &other, &mut random), &data);
            assert_eq!(none, 0, "{number} {:?}", encoding.view);
        }
    }
}

#[test]
fn runs_of_the_promised_length_are_found_behind_each_view_of_bytes_and_other_text_is_not() {
    each_is_found(FEW);
}

#[test]
#[ignore = "long: a minute"]
fn none_of_ten_thousand_runs_is_missed_behind_each_view_of_bytes() {
    each_is_found(MANY);
}

type Encode = fn(&[u8]) -> Vec<u8>;

fn letters(run: &[u8], bits: u32, alphabet: &[u8]) -> Vec<u8> {
    let all: Vec<u32> =
        run.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1))).collect();
    all.chunks(bits as usize)
        .map(|group| {
            let value =
                group.iter().chain(&[0; 8]).take(bits as usize).fold(0, |value, bit| value << 1 | bit);
            alphabet[value as usize]
        })
        .collect()
}

fn zlib(run: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(run).unwrap();
    encoder.finish().unwrap()
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// As `uuencode` writes lines.
fn uuencode(run: &[u8]) -> Vec<u8> {
    let alphabet: Vec<u8> = (b' '..b'`').collect();
    let line = |line: &[u8]| {
        let mut letters = letters(line, 6, &alphabet);
        letters.resize(4 * line.len().div_ceil(3), b' ');
        [&[b' ' + line.len() as u8][..], &letters, b"\n"].concat()
    };
    run.chunks(20).flat_map(line).collect()
}

/// As `xxd` writes lines.
fn dump(run: &[u8]) -> Vec<u8> {
    let line = |(at, line): (usize, &[u8])| {
        let pairs =
            line.chunks(2).map(|pair| String::from_utf8(letters(pair, 4, b"0123456789abcdef")).unwrap());
        let pairs = pairs.collect::<Vec<_>>().join(" ");
        format!("{:08x}: {pairs:<39}  {}\n", 16 * at, String::from_utf8_lossy(line)).into_bytes()
    };
    run.chunks(16).enumerate().flat_map(line).collect()
}

const CODES: [(View, Encode); 14] = [
    (View::Base64, |run| letters(run, 6, BASE64)),
    (View::Base32, |run| letters(run, 5, BASE32)),
    (View::Hexadecimal, |run| letters(run, 4, b"0123456789abcdef")),
    (View::Percent, |run| run.iter().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect()),
    (View::Escapes, |run| run.iter().flat_map(|byte| format!("\\u{byte:04x}").into_bytes()).collect()),
    (View::Decimal, |run| run.iter().flat_map(|byte| format!("{byte}, ").into_bytes()).collect()),
    (View::Decimal, |run| run.iter().flat_map(|byte| format!("{byte:03}").into_bytes()).collect()),
    (View::Base64, uuencode),
    (View::Hexadecimal, dump),
    (View::Packed, |run| letters(run, 1, &[0, 1])),
    (View::WideText, |run| run.iter().flat_map(|byte| [0, 0, 0, *byte]).collect()),
    (View::Base64, |run| letters(run, 6, BASE64).into_iter().flat_map(|letter| [letter, 0]).collect()),
    (View::Deflate, zlib),
    (View::Hexadecimal, |run| letters(&letters(&zlib(run), 6, BASE64), 4, b"0123456789abcdef")),
];

/// Runs in one stream, laid with `FEW` others.
fn each_is_found_behind_decoders(count: usize) {
    let mut random = Random(2001);
    let (data, other) = (text(&mut random, 100_000), text(&mut random, 100_000));
    for (number, (view, encode)) in CODES.into_iter().enumerate() {
        for _ in (0..count).step_by(FEW) {
            for (from, expected) in [(&data, FEW), (&other, 0)] {
                let mut stream = Vec::new();
                for planted in 0..FEW {
                    let filler = random.below(9);
                    stream.extend(random.letters(&[0x80, 0xc0, 0xff], 40 + filler));
                    let each = from.len() / FEW;
                    let at = planted * each + random.below(each - RUN);
                    stream.extend(encode(&from[at..at + RUN]));
                }
                stream.extend([0x80; 9]);
                let found = runs(view, &all_decoded(&stream), &data);
                assert!(found >= expected as u64, "{number} {view:?}: {found} of {expected}");
                assert!(expected > 0 || found == 0, "{number} {view:?}");
            }
        }
    }
}

/// What all decoders show, since what two of them show is written once.
fn all_decoded(stream: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    decode(stream, &[], &mut Allowance::default(), &mut |_, bytes| {
        decoded.extend([&[0xfe; 40][..], bytes].concat());
        Ok(())
    })
    .unwrap();
    decoded
}

#[test]
fn runs_of_31_bytes_are_found_behind_each_decoder_and_other_text_is_not() {
    each_is_found_behind_decoders(FEW);
}

#[test]
#[ignore = "long: some minutes"]
fn none_of_ten_thousand_runs_is_missed_behind_each_decoder() {
    each_is_found_behind_decoders(MANY);
}

/// Ascii85 without its marks (Adobe, PostScript Language Reference, ASCII85Encode).
fn ascii85(run: &[u8]) -> Vec<u8> {
    let group = |group: &[u8; 4]| {
        let number = u32::from_be_bytes(*group);
        [4, 3, 2, 1, 0].map(|power| b'!' + (number / 85_u32.pow(power) % 85) as u8)
    };
    run.as_chunks().0.iter().flat_map(group).collect()
}

/// A Brotli stream of one stored block (RFC 7932, section 9.2).
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u32 - 1;
    // From the lowest bit: a window of 16 bits, not the last block, four digits of length, stored.
    let head = (length << 4 | 1 << 20).to_le_bytes();
    [&head[..3], bytes, &[3]].concat()
}

fn written<W: Write>(bytes: &[u8], mut writer: W, finish: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
    writer.write_all(bytes).unwrap();
    finish(writer)
}

const PACKERS: [(View, Encode); 8] = [
    (View::Deflate, zlib),
    (View::Bzip2, |bytes| {
        let writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        written(bytes, writer, |writer| writer.finish().unwrap())
    }),
    (View::Xz, |bytes| {
        let writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
        written(bytes, writer, |writer| writer.finish().unwrap())
    }),
    (View::Lzma, |bytes| {
        let options = lzma_rust2::LzmaOptions::with_preset(0);
        let writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
        written(bytes, writer, |writer| writer.finish().unwrap())
    }),
    (View::Zstd, |bytes| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }),
    (View::Lz4, |bytes| {
        written(bytes, lz4_flex::frame::FrameEncoder::new(Vec::new()), |writer| writer.finish().unwrap())
    }),
    (View::Brotli, brotli),
    (View::Base85, ascii85),
];

#[test]
fn a_run_of_31_bytes_is_found_in_text_behind_each_packer_and_other_text_is_not() {
    let mut random = Random(2004);
    let (data, other) = (text(&mut random, 100_000), text(&mut random, 100_000));
    for (view, pack) in PACKERS {
        for (from, expected) in [(&data, true), (&other, false)] {
            for _ in 0..20 {
                let (before, behind) = (random.below(600), random.below(600));
                let at = random.below(from.len() - RUN);
                let (before, behind) = (random.letters(b"ghost ", before), random.letters(b"ghost ", behind));
                let packed = pack(&[&before, &from[at..at + RUN], &behind].concat());
                let found = runs(view, &all_decoded(&packed), &data);
                assert_eq!(found > 0, expected, "{view:?} {} {}", before.len(), behind.len());
            }
        }
    }
}

#[test]
fn runs_are_found_in_words_that_stand_for_bytes_in_text_and_in_cells_and_other_text_is_not() {
    let mut random = Random(2003);
    let (data, other) = (text(&mut random, 100_000), text(&mut random, 100_000));
    let word: Vec<String> =
        any_substitution(&mut random).iter().map(|byte| format!("{}{byte:x}", byte % 7)).collect();
    let in_text = |run: &[u8]| run.iter().map(|byte| format!("{} ", word[usize::from(*byte)])).collect();
    let in_cells = |run: &[u8]| {
        let row =
            |(place, byte): (usize, &u8)| format!("{place},{},50.{}\n", word[usize::from(*byte)], place % 3);
        run.iter().enumerate().map(row).collect::<String>()
    };
    for (from, expected) in [(&data, true), (&other, false)] {
        for encode in [&in_text as &dyn Fn(&[u8]) -> String, &in_cells] {
            let at = random.below(from.len() - SUBSTITUTED_RUN);
            let stream = encode(&from[at..at + SUBSTITUTED_RUN]);
            let mut symbols = Vec::new();
            decode(stream.as_bytes(), &[], &mut Allowance::default(), &mut |view, bytes| {
                if view == View::WordSubstitution {
                    symbols.extend(bytes);
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(runs(View::WordSubstitution, &symbols, &data) > 0, expected, "{stream}");
        }
    }
}

#[test]
fn runs_in_one_bit_of_each_value_are_found_wherever_they_begin() {
    let mut random = Random(2002);
    let data = text(&mut random, 100_000);
    for bit in [0, 3, 6, 15] {
        for _ in 0..8 {
            let mut values = random.bytes(2 * 4000);
            let (begin, at) = (random.below(3000), random.below(data.len() - RUN));
            let bits =
                data[at..at + RUN].iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
            let written: [(View, Vec<u8>); 4] = [
                (View::BitPlanes, bits.clone().collect()),
                (View::BitPlanes, bits.clone().map(|bit| 1 - bit).collect()),
                // The last one first: bytes are filled from their other end.
                (View::BitPlanesLittle, bits.clone().rev().collect()),
                (
                    View::BitPlanes,
                    data[at..at + RUN]
                        .iter()
                        .rev()
                        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
                        .collect(),
                ),
            ];
            for (way, (view, bits)) in written.into_iter().enumerate() {
                for (index, value) in bits.into_iter().enumerate() {
                    let byte = &mut values[2 * (begin + index) + bit / 8];
                    *byte = *byte & !(1 << (bit % 8)) | value << (bit % 8);
                }
                let mut shown = Vec::new();
                planes(view, Dtype::Bf16, &values, &mut shown).unwrap();
                assert_ne!(runs(view, &shown, &data), 0, "way {way}: bit {bit} from {begin}");
            }
        }
    }
}
