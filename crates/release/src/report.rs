//! What the enclave's children report: messages of one fixed size each, made of small integers only.
//!
//! A child may have been taken over by what it read. If the enclave parsed text from it, a flaw in that parser would
//! run where the data and the verdict key are. So a message has no lengths, no strings and no nesting: each byte is
//! at a fixed place and is checked against a closed list. Detail for people travels beside it, as bytes that the
//! enclave seals into the review packet without looking.

use crate::rule::Rule;
use crate::statement::RuleResult;

/// Most outputs that one job may declare.
pub const OUTPUT_LIMIT: usize = 32;

/// Most places that a scan report names; further ones are only counted.
pub const PLACE_LIMIT: usize = 16;

/// Most bytes of detail that one child may add to a review packet.
pub const DETAIL_LIMIT: usize = 16 * 1024;

const RULES: usize = Rule::ALL.len();
/// Every message begins with these 8 bytes; the last is the version.
const MAGIC: &[u8; 7] = b"databox";

/// A message that is not of the fixed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a child of the enclave sent a message that is not of the fixed form")]
pub struct ReportError;

/// What the canonicaliser reports, and the judge: what came of each rule, and the bits of each output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputReport {
    /// What came of each rule, by [`Rule::index`]. A rule that another child runs reads `NotChecked` here.
    pub rules: [RuleResult; RULES],
    /// Upper bound in bits of each declared output, in the order of the request; 0 past the last one.
    pub bits: [u64; OUTPUT_LIMIT],
}

/// What the scanner reports: whether a copy was found, how much of the data is exempt, and where copies stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    /// What came of each rule; a rule that the scanner does not run reads `NotChecked`.
    pub rules: [RuleResult; RULES],
    /// Share of the data in windows of a period of at most 4, in millionths.
    pub exempt_millionths: u32,
    /// Bytes of private data that were searched through.
    pub data_bytes: u64,
    /// How many runs were found.
    pub runs: u64,
    /// The first of them.
    pub places: Vec<Place>,
}

/// What the process reports that compares two evaluations of weights: one bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationReport {
    /// True if the metric of the smaller precision is there, and is worse than the other by no more than the policy allows.
    pub holds: bool,
}

/// A run of private bytes in a view of an output. Numbers only: the bytes themselves are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The output, in the order of the request.
    pub output: u16,
    /// The view, in the order of [`VIEWS`], or [`NUMBERS_VIEW`].
    pub view: u16,
    /// Where the run begins in the view, in bytes; in numbers, in values.
    pub offset: u64,
    /// Its length in bytes; in numbers, in values.
    pub length: u64,
}

/// Names of the views, in the order of their numbers. What each shows is told by `scan::View`.
pub const VIEWS: [&str; 71] = [
    "raw",
    "tensor-f32",
    "tensor-f16",
    "tensor-bf16",
    "tensor-i8",
    "tensor-i16",
    "tensor-i32",
    "tensor-i64",
    "tensor-value",
    "tensor-value-255",
    "text-numbers",
    "tensor-value-128",
    "tensor-value-256",
    "tensor-value-centred",
    "tensor-big-endian",
    "tensor-low-bytes",
    "upper-halves",
    "tensor-value-10",
    "tensor-value-100",
    "tensor-value-127",
    "tensor-value-1000",
    "tensor-magnitude",
    "tensor-exponent",
    "tensor-high-bytes",
    "tensor-low-seven-bits",
    "tensor-low-halves",
    "tensor-transposed",
    "tensor-transposed-bytes",
    "bit-planes",
    "bit-planes-little",
    "low-bits",
    "low-bits-little",
    "text-numbers-scaled",
    "text-digits",
    "strings",
    "integers-big",
    "integers-little",
    "packed",
    "base64",
    "base32",
    "base85",
    "hexadecimal",
    "percent",
    "escapes",
    "decimal",
    "deflate",
    "bzip2",
    "xz",
    "lzma",
    "zstd",
    "lz4",
    "brotli",
    "bits-shifted",
    "bits-reversed",
    "nibbles-swapped",
    "reversed",
    "bytes-swapped",
    "strides",
    "xor-constant",
    "xor-repeated",
    "add-constant",
    "folded",
    "without-zeros",
    "substitution",
    "value-substitution",
    "base64-substitution",
    "hexadecimal-substitution",
    "word-substitution",
    "tensor-f16-high-bytes",
    "tensor-i16-high-bytes",
    "wide-text",
];

/// The view of places that are counted in numbers, not in bytes: offset and length are values of the output.
pub const NUMBERS_VIEW: u16 = VIEWS.len() as u16;

/// The name of a place's view, if there is one.
pub fn view_name(view: u16) -> Option<&'static str> {
    if view == NUMBERS_VIEW { Some("numbers") } else { VIEWS.get(usize::from(view)).copied() }
}

/// From how many bytes of the data a run is found behind the view of this name, wherever it begins; in plain data from
/// 127, or not at all behind views for which [`view_needs_distinct`] holds. More than 31 where the view shows the data and the output both
/// in another way (a distance has two ends, half of the bytes are gone) or shows only which symbols are equal.
pub fn view_run(name: &str) -> u64 {
    match name {
        "add-constant" | "xor-constant" => 32,
        "bytes-swapped" => 39,
        "tensor-f16-high-bytes" | "tensor-i16-high-bytes" => 62,
        "xor-repeated" => 63,
        "upper-halves" => 64,
        "substitution"
        | "value-substitution"
        | "base64-substitution"
        | "hexadecimal-substitution"
        | "word-substitution" => 127,
        // Behind `folded` letters and digits are counted, behind `without-zeros` bytes that are not zero.
        _ => 31,
    }
}

/// Whether windows count behind this view only with more distinct bytes than elsewhere: of what it shows 8 in 16, or 10 among 64
/// replaced symbols, instead of 5 in 16. What is plain is then not looked for.
pub fn view_needs_distinct(name: &str) -> bool {
    matches!(name, "add-constant" | "folded" | "without-zeros" | "xor-constant" | "xor-repeated")
        || name.ends_with("substitution")
}

/// Whether the scanner reads the view of this name off other files. Every other view is a file of its own.
pub fn view_is_read_in_place(name: &str) -> bool {
    matches!(
        name,
        "raw"
            | "upper-halves"
            | "bits-shifted"
            | "bits-reversed"
            | "nibbles-swapped"
            | "reversed"
            | "bytes-swapped"
            | "strides"
            | "xor-constant"
            | "xor-repeated"
            | "add-constant"
            | "folded"
            | "without-zeros"
            | "substitution"
            | "base64-substitution"
            | "hexadecimal-substitution"
    )
}

impl OutputReport {
    /// Size of the message in bytes.
    pub const BYTES: usize = 8 + RULES + 8 * OUTPUT_LIMIT;

    /// A report in which nothing was checked.
    pub fn unchecked() -> Self {
        Self { rules: [RuleResult::NotChecked; RULES], bits: [0; OUTPUT_LIMIT] }
    }

    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header(1);
        bytes.extend(self.rules.map(result_to_byte));
        self.bits.iter().for_each(|bits| bytes.extend(bits.to_be_bytes()));
        bytes
    }

    /// Reads the message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportError> {
        let mut reader = Reader::new(bytes, Self::BYTES, 1)?;
        let rules = reader.rules()?;
        let mut bits = [0; OUTPUT_LIMIT];
        for slot in &mut bits {
            *slot = reader.u64()?;
        }
        Ok(Self { rules, bits })
    }
}

impl ScanReport {
    /// What this report and that of further parts of the outputs say together: a copy was found if it was in one of them, and
    /// none was only if each of them says so. Both searched the same data.
    pub fn and(mut self, further: Self) -> Self {
        self.rules = in_each_part(self.rules, further.rules);
        self.exempt_millionths = self.exempt_millionths.max(further.exempt_millionths);
        self.data_bytes = self.data_bytes.max(further.data_bytes);
        self.runs = self.runs.saturating_add(further.runs);
        self.places.extend(further.places);
        self.places.truncate(PLACE_LIMIT);
        self
    }

    /// Size of the message in bytes.
    pub const BYTES: usize = 8 + RULES + 4 + 8 + 8 + PLACE_LIMIT * 20;

    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header(2);
        bytes.extend(self.rules.map(result_to_byte));
        bytes.extend(self.exempt_millionths.to_be_bytes());
        bytes.extend(self.data_bytes.to_be_bytes());
        bytes.extend(self.runs.to_be_bytes());
        for index in 0..PLACE_LIMIT {
            let place = self.places.get(index).copied().unwrap_or_default();
            bytes.extend(place.output.to_be_bytes());
            bytes.extend(place.view.to_be_bytes());
            bytes.extend(place.offset.to_be_bytes());
            bytes.extend(place.length.to_be_bytes());
        }
        bytes
    }

    /// Reads the message. A place of length 0 is an empty slot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportError> {
        let mut reader = Reader::new(bytes, Self::BYTES, 2)?;
        let rules = reader.rules()?;
        let exempt_millionths = u32::from_be_bytes(reader.take()?);
        let data_bytes = reader.u64()?;
        let runs = reader.u64()?;
        let mut places = Vec::new();
        for _ in 0..PLACE_LIMIT {
            let place = Place {
                output: u16::from_be_bytes(reader.take()?),
                view: u16::from_be_bytes(reader.take()?),
                offset: reader.u64()?,
                length: reader.u64()?,
            };
            if usize::from(place.output) >= OUTPUT_LIMIT || view_name(place.view).is_none() {
                return Err(ReportError);
            }
            places.extend((place.length > 0).then_some(place));
        }
        let counted = places.len() as u64 <= runs && exempt_millionths <= 1_000_000;
        if counted {
            Ok(Self { rules, exempt_millionths, data_bytes, runs, places })
        } else {
            Err(ReportError)
        }
    }
}

/// What came of each rule that was run for parts of the same outputs, one after the other. What was not checked in one of them
/// was not checked.
pub fn in_each_part(one: [RuleResult; RULES], other: [RuleResult; RULES]) -> [RuleResult; RULES] {
    let severity = |result: RuleResult| match result {
        RuleResult::NotApplicable => 0,
        RuleResult::Passed => 1,
        RuleResult::Noted => 2,
        RuleResult::NotChecked => 3,
        RuleResult::Blocked => 4,
    };
    std::array::from_fn(|rule| {
        [one[rule], other[rule]].into_iter().max_by_key(|one| severity(*one)).unwrap_or(one[rule])
    })
}

impl EvaluationReport {
    /// Size of the message in bytes.
    pub const BYTES: usize = 8 + 1;

    /// The message.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = header(3);
        bytes.push(u8::from(self.holds));
        bytes
    }

    /// Reads the message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportError> {
        match Reader::new(bytes, Self::BYTES, 3)?.take()? {
            [0] => Ok(Self { holds: false }),
            [1] => Ok(Self { holds: true }),
            _ => Err(ReportError),
        }
    }
}

fn header(kind: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(kind);
    bytes
}

fn result_to_byte(result: RuleResult) -> u8 {
    match result {
        RuleResult::Passed => 1,
        RuleResult::Noted => 2,
        RuleResult::Blocked => 3,
        RuleResult::NotChecked => 4,
        RuleResult::NotApplicable => 5,
    }
}

fn result_from_byte(byte: u8) -> Result<RuleResult, ReportError> {
    Ok(match byte {
        1 => RuleResult::Passed,
        2 => RuleResult::Noted,
        3 => RuleResult::Blocked,
        4 => RuleResult::NotChecked,
        5 => RuleResult::NotApplicable,
        _ => return Err(ReportError),
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], size: usize, kind: u8) -> Result<Self, ReportError> {
        match bytes.strip_prefix(MAGIC) {
            Some(rest) if bytes.len() == size && rest[0] == kind => Ok(Self(&rest[1..])),
            _ => Err(ReportError),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ReportError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ReportError)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, ReportError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn rules(&mut self) -> Result<[RuleResult; RULES], ReportError> {
        let mut rules = [RuleResult::NotChecked; RULES];
        for (slot, byte) in rules.iter_mut().zip(self.take::<RULES>()?) {
            *slot = result_from_byte(byte)?;
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_report() -> ScanReport {
        let mut rules = [RuleResult::NotChecked; RULES];
        rules[Rule::CopyExact.index()] = RuleResult::Blocked;
        let place = Place { output: 1, view: 3, offset: 70_000, length: 31 };
        ScanReport { rules, exempt_millionths: 12, data_bytes: 1 << 33, runs: 20, places: vec![place] }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let scan = scan_report();
        assert_eq!(scan.to_bytes().len(), ScanReport::BYTES);
        assert_eq!(ScanReport::from_bytes(&scan.to_bytes()), Ok(scan));
        let mut output = OutputReport::unchecked();
        output.bits[2] = 640;
        assert_eq!(output.to_bytes().len(), OutputReport::BYTES);
        assert_eq!(OutputReport::from_bytes(&output.to_bytes()), Ok(output));
    }

    #[test]
    fn parts_pass_only_if_each_of_them_does_and_all_of_their_runs_count() {
        let with = |result| {
            let mut rules = [RuleResult::NotChecked; RULES];
            rules[Rule::CopyExact.index()] = result;
            ScanReport { rules, exempt_millionths: 12, data_bytes: 9, runs: 0, places: Vec::new() }
        };
        use RuleResult::{Blocked, NotChecked, Passed};
        for (one, other, both) in
            [(Passed, Passed, Passed), (Passed, NotChecked, NotChecked), (NotChecked, Blocked, Blocked)]
        {
            for (one, other) in [(one, other), (other, one)] {
                let report = with(one).and(with(other));
                assert_eq!(report.rules[Rule::CopyExact.index()], both, "{one:?} {other:?}");
                assert_eq!((report.data_bytes, report.exempt_millionths), (9, 12));
            }
        }
        let many =
            ScanReport { runs: 20, places: vec![scan_report().places[0]; PLACE_LIMIT], ..with(Blocked) };
        let both = scan_report().and(many);
        assert_eq!((both.runs, both.places.len()), (40, PLACE_LIMIT));
        assert_eq!(ScanReport::from_bytes(&both.to_bytes()), Ok(both));
    }

    #[test]
    fn a_comparison_of_evaluations_says_one_bit_and_nothing_else() {
        for holds in [false, true] {
            let report = EvaluationReport { holds };
            assert_eq!(EvaluationReport::from_bytes(&report.to_bytes()), Ok(report));
        }
        let bytes = EvaluationReport { holds: true }.to_bytes();
        for (place, byte) in [(0, b'x'), (7, 1), (8, 2), (8, 255)] {
            let mut other = bytes.clone();
            other[place] = byte;
            assert_eq!(EvaluationReport::from_bytes(&other), Err(ReportError));
        }
        assert_eq!(EvaluationReport::from_bytes(&[&bytes[..], &[0]].concat()), Err(ReportError));
    }

    #[test]
    fn a_message_of_another_size_kind_or_word_is_refused() {
        let bytes = scan_report().to_bytes();
        assert_eq!(ScanReport::from_bytes(&bytes[1..]), Err(ReportError));
        assert_eq!(OutputReport::from_bytes(&bytes), Err(ReportError));
        assert_eq!(ScanReport::from_bytes(&[&bytes[..], b"x"].concat()), Err(ReportError));
        let mut unknown = bytes.clone();
        unknown[8] = 9;
        assert_eq!(ScanReport::from_bytes(&unknown), Err(ReportError));
        let mut outside = bytes;
        outside[8 + RULES + 20] = 255;
        assert_eq!(ScanReport::from_bytes(&outside), Err(ReportError));
    }
}
