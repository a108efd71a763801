//! Views: other readings of canonical bytes, written out as plain bytes.
//!
//! A view is made by a process that holds no data, and is searched by one that parses nothing. Whoever lays the data
//! into an output in a way that no view undoes is not found; what bounds that is the count of bits that leave.

use release::report::VIEWS;

/// A reading of an output's canonical bytes. The order is that of [`VIEWS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// The canonical file itself.
    Raw,
    /// Each value as an `f32`.
    F32,
    /// Each value as an `f16`, rounded to nearest, ties to even.
    F16,
    /// Each value as a `bf16`, rounded to nearest, ties to even.
    Bf16,
    /// Each value as an `i8`: rounded to nearest, held within the type's range. So for all integer views.
    I8,
    /// Each value as an `i16`.
    I16,
    /// Each value as an `i32`.
    I32,
    /// Each value as an `i64`.
    I64,
    /// Each value rounded to nearest, as one byte. A value outside 0..=255 is left out, so that it parts nothing.
    /// So for all views that write one byte a value.
    Value,
    /// Each value times 255, as one byte: characters scaled to 0..=1.
    ValueTimes255,
    /// Numbers of a text, as one byte each. See [`text_numbers`].
    TextNumbers,
    /// Each value times 128, as one byte.
    ValueTimes128,
    /// Each value times 256, as one byte.
    ValueTimes256,
    /// Each value plus one, times 127.5, as one byte: characters scaled to -1..=1.
    ValueCentred,
    /// The bytes of each value in reverse order.
    BigEndian,
    /// The bytes of each value without its highest one: characters laid where they change a weight least.
    LowBytes,
    /// The canonical file, compared with every second pair of bytes of the data: what rounding to `bf16` leaves of
    /// data laid into `f32`. The data is read from each of four beginnings.
    UpperHalves,
    /// Each value times 10, as one byte.
    ValueTimes10,
    /// Each value times 100, as one byte.
    ValueTimes100,
    /// Each value times 127, as one byte.
    ValueTimes127,
    /// Each value times 1000, as one byte.
    ValueTimes1000,
    /// Each value without its sign, as one byte.
    Magnitude,
    /// The exponent of each value as `f32` holds it, with its bias, as one byte: characters as powers of two.
    Exponent,
    /// The highest byte of each value.
    HighBytes,
    /// The lowest seven bits of each value: the fraction of a `bf16`, room for one ASCII character.
    LowSevenBits,
    /// The lower half of the bytes of each value of 4 bytes or more.
    LowHalves,
    /// As `tensor-value`, with each dimension of a tensor but the last in turn read innermost: text written down a column; and with all of
    /// three or more in reverse order, in tensors of at most 4 Mi values.
    Transposed,
    /// The bytes of the values in those orders.
    TransposedBytes,
    /// For each bit of the values, lowest first, that bit of each value, eight to a byte, the first one highest. It is
    /// read from each bit of its first byte on; with 1 for 0, and from the last bit to the first. A block of values at a time;
    /// blocks overlap.
    BitPlanes,
    /// The same with the first one lowest.
    BitPlanesLittle,
    /// For 2 to 7, and for wide types to 15, the lowest so many bits of each value, one after the other, highest first,
    /// read like `bit-planes`.
    LowBits,
    /// The same with the lowest first, filling each byte from its lowest bit.
    LowBitsLittle,
    /// As `text-numbers`, each number times 10, 100, 1000, 127, 128, 255 and 256 in turn.
    TextNumbersScaled,
    /// The digits of all numbers of a text, and of all their fractions, two or three at a time as one byte, from each beginning.
    TextDigits,
    /// Names of tensors, columns and metrics, and a table's cells that are no numbers, without anything between them: by
    /// row, then by column.
    Strings,
    /// Whole numbers, and the digits of others read as one, as the fewest bytes that hold them, highest first: by row, then
    /// by column.
    IntegersBig,
    /// The same with the lowest byte first.
    IntegersLittle,
    /// Where bytes hold 1, 2 or 4 bits each, these bits, in both orders, read like `bit-planes` but from the first to the last.
    Packed,
    /// What base64 encodes in another view, whatever its two last letters, its padding and its line breaks; and uuencode. So for
    /// all encodings: see [`decode`](crate::decode).
    Base64,
    /// What base32 encodes.
    Base32,
    /// What Ascii85 or base85 (RFC 1924) encodes.
    Base85,
    /// What hexadecimal digits encode, also in dumps with offsets and characters beside them.
    Hexadecimal,
    /// What `%` or `=` and two hexadecimal digits encode.
    Percent,
    /// What `\u`, `\x` and character references encode.
    Escapes,
    /// What a list of decimal numbers encodes, one a byte.
    Decimal,
    /// What gzip, zlib, ZIP members and raw DEFLATE hold.
    Deflate,
    /// What bzip2 holds.
    Bzip2,
    /// What xz holds.
    Xz,
    /// What the older LZMA format holds.
    Lzma,
    /// What Zstandard holds.
    Zstd,
    /// What LZ4 frames hold.
    Lz4,
    /// What Brotli holds.
    Brotli,
    /// Bytes that begin 1 to 7 bits behind the beginning of a byte. This view and those that follow are read off others:
    /// see [`View::OF_BYTES`].
    BitsShifted,
    /// The bits of each byte in reverse order.
    BitsReversed,
    /// The halves of each byte in reverse order.
    NibblesSwapped,
    /// The bytes in reverse order.
    Reversed,
    /// Groups of 2, 4 or 8 bytes in reverse order, from each beginning.
    BytesSwapped,
    /// Every second byte to every 16th, and in files of at most [`LONG_STRIDES_BYTES`](crate::LONG_STRIDES_BYTES) to every 256th, from each beginning.
    Strides,
    /// Each byte XOR its neighbour, on both sides: whatever was combined with a constant by XOR.
    XorConstant,
    /// Each byte XOR the one 17 to 32 behind it, on both sides: a key of 1 to 32 bytes, repeated.
    XorRepeated,
    /// Each byte's distance from its neighbour, on both sides: whatever a constant was added to.
    AddConstant,
    /// Letters in lower case and digits alone, on both sides: other separators and another case.
    Folded,
    /// All bytes but zeros, on both sides: characters written in 8, 16 or 32 bits.
    WithoutZeros,
    /// Which bytes are equal to which, on both sides: each byte replaced by another. See [`SUBSTITUTED_RUN`](crate::SUBSTITUTED_RUN).
    Substitution,
    /// Which values of a tensor are equal to which, compared with bytes of the data. The view holds each value as an `f32`.
    ValueSubstitution,
    /// Which letters are equal to which, compared with the data in groups of 6 bits: base64 with any alphabet.
    Base64Substitution,
    /// The same with groups of 4 bits: hexadecimal with any alphabet.
    HexadecimalSubstitution,
    /// Which words of a text are equal to which, compared with bytes of the data. The view holds the number of each word in
    /// four bytes: as they follow each other, and cells of a table down each column.
    WordSubstitution,
    /// The higher byte of each value as an `f16`, compared with every second byte of the data: what rounding to `bf16` leaves of
    /// data laid into `f16`, two bytes a value. The data is read from both beginnings.
    F16HighBytes,
    /// The same as an `i16`: two bytes of data as one whole number.
    I16HighBytes,
    /// Text in another character set: what UTF-16, UTF-32, EUC-KR and windows-1251 say, as UTF-8; and what UTF-8 says, in the
    /// older sets of its alphabet.
    WideText,
}

impl View {
    /// Every view, in the order of [`VIEWS`].
    pub const ALL: [Self; VIEWS.len()] = [
        Self::Raw,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Value,
        Self::ValueTimes255,
        Self::TextNumbers,
        Self::ValueTimes128,
        Self::ValueTimes256,
        Self::ValueCentred,
        Self::BigEndian,
        Self::LowBytes,
        Self::UpperHalves,
        Self::ValueTimes10,
        Self::ValueTimes100,
        Self::ValueTimes127,
        Self::ValueTimes1000,
        Self::Magnitude,
        Self::Exponent,
        Self::HighBytes,
        Self::LowSevenBits,
        Self::LowHalves,
        Self::Transposed,
        Self::TransposedBytes,
        Self::BitPlanes,
        Self::BitPlanesLittle,
        Self::LowBits,
        Self::LowBitsLittle,
        Self::TextNumbersScaled,
        Self::TextDigits,
        Self::Strings,
        Self::IntegersBig,
        Self::IntegersLittle,
        Self::Packed,
        Self::Base64,
        Self::Base32,
        Self::Base85,
        Self::Hexadecimal,
        Self::Percent,
        Self::Escapes,
        Self::Decimal,
        Self::Deflate,
        Self::Bzip2,
        Self::Xz,
        Self::Lzma,
        Self::Zstd,
        Self::Lz4,
        Self::Brotli,
        Self::BitsShifted,
        Self::BitsReversed,
        Self::NibblesSwapped,
        Self::Reversed,
        Self::BytesSwapped,
        Self::Strides,
        Self::XorConstant,
        Self::XorRepeated,
        Self::AddConstant,
        Self::Folded,
        Self::WithoutZeros,
        Self::Substitution,
        Self::ValueSubstitution,
        Self::Base64Substitution,
        Self::HexadecimalSubstitution,
        Self::WordSubstitution,
        Self::F16HighBytes,
        Self::I16HighBytes,
        Self::WideText,
    ];

    /// Views that show one value after the other, besides [`View::LowHalves`] and [`View::ValueSubstitution`]; see
    /// [`Values`](crate::Values).
    pub const OF_VALUES: [Self; 24] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Value,
        Self::ValueTimes255,
        Self::ValueTimes128,
        Self::ValueTimes256,
        Self::ValueCentred,
        Self::BigEndian,
        Self::LowBytes,
        Self::ValueTimes10,
        Self::ValueTimes100,
        Self::ValueTimes127,
        Self::ValueTimes1000,
        Self::Magnitude,
        Self::Exponent,
        Self::HighBytes,
        Self::LowSevenBits,
        Self::F16HighBytes,
        Self::I16HighBytes,
    ];

    /// What a process without data writes of a weights file, before it decodes.
    pub const OF_TENSORS: [Self; 35] = {
        let mut all = [Self::ValueSubstitution; 35];
        let mut index = 0;
        while index < Self::OF_VALUES.len() {
            all[index] = Self::OF_VALUES[index];
            index += 1;
        }
        all[24] = Self::LowHalves;
        all[25] = Self::Transposed;
        all[26] = Self::TransposedBytes;
        all[27] = Self::ValueSubstitution;
        all[28] = Self::BitPlanes;
        all[29] = Self::BitPlanesLittle;
        all[30] = Self::LowBits;
        all[31] = Self::LowBitsLittle;
        all[32] = Self::Strings;
        all[33] = Self::IntegersBig;
        all[34] = Self::IntegersLittle;
        all
    };

    /// What it writes of a text, before it decodes.
    pub const OF_TEXTS: [Self; 6] = [
        Self::TextNumbers,
        Self::TextNumbersScaled,
        Self::TextDigits,
        Self::Strings,
        Self::IntegersBig,
        Self::IntegersLittle,
    ];

    /// What it decodes from all of these.
    pub const DECODED: [Self; 17] = [
        Self::Packed,
        Self::Base64,
        Self::Base32,
        Self::Base85,
        Self::Hexadecimal,
        Self::Percent,
        Self::Escapes,
        Self::Decimal,
        Self::Deflate,
        Self::Bzip2,
        Self::Xz,
        Self::Lzma,
        Self::Zstd,
        Self::Lz4,
        Self::Brotli,
        Self::WideText,
        Self::WordSubstitution,
    ];

    /// Views that the scanner reads off the canonical file and off those of the other views that hold bytes in their
    /// order: see [`View::holds_bytes`].
    pub const OF_BYTES: [Self; 14] = [
        Self::BitsShifted,
        Self::BitsReversed,
        Self::NibblesSwapped,
        Self::Reversed,
        Self::BytesSwapped,
        Self::Strides,
        Self::XorConstant,
        Self::XorRepeated,
        Self::AddConstant,
        Self::Folded,
        Self::WithoutZeros,
        Self::Substitution,
        Self::Base64Substitution,
        Self::HexadecimalSubstitution,
    ];

    /// Whether the views of [`View::OF_BYTES`] are read off this one too. Those left out hold the same bytes at other
    /// distances or scales; or, as `base85` and `packed`, mostly what comes of decoding what was never encoded.
    pub fn holds_bytes(self) -> bool {
        match self {
            Self::Raw
            | Self::I8
            | Self::Value
            | Self::LowBytes
            | Self::HighBytes
            | Self::Transposed
            | Self::TextNumbers
            | Self::TextDigits
            | Self::Strings
            | Self::IntegersBig
            | Self::IntegersLittle => true,
            Self::Base85 | Self::Packed | Self::WordSubstitution => false,
            _ => Self::DECODED.contains(&self),
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        VIEWS[usize::from(self.index())]
    }

    /// The view of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.name() == name)
    }

    /// Its number in reports.
    pub fn index(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use release::report::view_is_read_in_place;

    use super::*;

    #[test]
    fn views_have_the_names_and_the_order_of_reports() {
        for (index, view) in View::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(view.index()), index);
            assert_eq!(View::from_name(view.name()), Some(view));
        }
        assert_eq!(View::Value.name(), "tensor-value");
        assert_eq!(View::UpperHalves.name(), "upper-halves");
    }

    #[test]
    fn each_view_is_written_by_one_process_or_read_by_the_other() {
        for view in View::ALL {
            let written = View::OF_TENSORS.contains(&view)
                || View::OF_TEXTS.contains(&view)
                || View::DECODED.contains(&view);
            assert_ne!(written, view_is_read_in_place(view.name()), "{view:?}");
        }
    }
}
