//! Numbers of tables, in exact whole-number arithmetic: a number with N digits after the point is held as itself times
//! 10^N.

/// Longest text of a number. Any double has a text of at most 24 characters that reads back as itself; 37 digits fit
/// into 128 bits.
const TEXT_LIMIT: usize = 37;

/// Text that is no number of the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum NumberError {
    #[error("is not a number such as -12.5 or 1e-05")]
    NotNumber,
    #[error("is longer than {TEXT_LIMIT} characters")]
    TooLong,
    #[error("is not whole")]
    NotWhole,
    #[error("is too large")]
    TooLarge,
}

/// A number that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// The number times 10 to the digits of its column.
    pub(crate) scaled: i128,
    /// Whether digits were lost.
    pub(crate) rounded: bool,
    /// Whether it was written as −0.
    pub(crate) negative_zero: bool,
}

/// Reads a number of at most `integer_digits` digits before the point. Surplus digits after it are rounded, ties to
/// even; `digits` none means that it must be whole.
pub(crate) fn read(text: &str, digits: Option<u8>, integer_digits: u32) -> Result<Number, NumberError> {
    if text.len() > TEXT_LIMIT {
        return Err(NumberError::TooLong);
    }
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || mantissa.ends_with('.') || !all_digits(whole) || !all_digits(fraction) {
        return Err(NumberError::NotNumber);
    }
    let significand: i128 = format!("{whole}{fraction}").parse().map_err(|_| NumberError::NotNumber)?;
    let shift = exponent - fraction.len() as i32 + i32::from(digits.unwrap_or(0));
    let (magnitude, rounded) = shifted(significand, shift)?;
    if rounded && digits.is_none() {
        return Err(NumberError::NotWhole);
    }
    let limit = 10i128.pow(integer_digits + u32::from(digits.unwrap_or(0)));
    if magnitude >= limit {
        return Err(NumberError::TooLarge);
    }
    let scaled = if negative { -magnitude } else { magnitude };
    Ok(Number { scaled, rounded, negative_zero: negative && significand == 0 })
}

fn read_exponent(text: &str) -> Result<i32, NumberError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::NotNumber);
    }
    let size: i32 = digits.parse().map_err(|_| NumberError::NotNumber)?;
    Ok(if text.starts_with('-') { -size } else { size })
}

/// A number times 10 to the power of `shift`, rounded to a whole one, and whether anything was lost.
fn shifted(significand: i128, shift: i32) -> Result<(i128, bool), NumberError> {
    if significand == 0 {
        return Ok((0, false));
    }
    match 10i128.checked_pow(shift.unsigned_abs()) {
        Some(power) if shift >= 0 => {
            significand.checked_mul(power).map(|product| (product, false)).ok_or(NumberError::TooLarge)
        }
        Some(power) => Ok((round_quotient(significand, power), significand % power != 0)),
        None if shift >= 0 => Err(NumberError::TooLarge),
        // Less than half of the last digit: the significand has fewer digits than the power.
        None => Ok((0, true)),
    }
}

/// A quotient of numbers that are not negative, rounded to the nearest whole one, ties to even.
fn round_quotient(number: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (number / divisor, number % divisor);
    // `rest > divisor - rest` is `2 * rest > divisor` without a product that could overflow.
    match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

/// The multiple of `base` nearest to a number that is not negative, ties to the even multiple.
pub(crate) fn round_to_multiple(number: i128, base: i128) -> i128 {
    round_quotient(number, base) * base
}

/// The one text of a number: no exponent, no plus, no −0, exactly the column's digits after the point.
pub(crate) fn text(scaled: i128, digits: u8) -> String {
    let sign = if scaled < 0 { "-" } else { "" };
    let magnitude = scaled.unsigned_abs();
    match u32::from(digits) {
        0 => format!("{sign}{magnitude}"),
        digits => {
            let power = 10u128.pow(digits);
            format!("{sign}{}.{:0width$}", magnitude / power, magnitude % power, width = digits as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_text_whatever_it_was_written_as() {
        let cases = [
            ("1.5", 3, "1.500"),
            ("1.50000", 3, "1.500"),
            ("15e-1", 3, "1.500"),
            ("0.15E+1", 3, "1.500"),
            ("-1.5", 3, "-1.500"),
            ("-0.0", 3, "0.000"),
            ("-0.0001", 3, "0.000"),
            ("007", 0, "7"),
            ("1e3", 0, "1000"),
            ("0.0005", 3, "0.000"),
            ("0.0015", 3, "0.002"),
            ("0.00150000000000000001", 3, "0.002"),
            ("2.5", 0, "2"),
            ("3.5", 0, "4"),
            ("9.9999", 3, "10.000"),
            ("1e-9999", 3, "0.000"),
            ("0e9999", 3, "0.000"),
            ("0.1234567895", 9, "0.123456790"),
            ("0.1234567885", 9, "0.123456788"),
        ];
        for (written, digits, canonical) in cases {
            let number = read(written, Some(digits), 15).unwrap();
            assert_eq!(text(number.scaled, digits), canonical, "{written}");
            let again = read(canonical, Some(digits), 15).unwrap();
            assert_eq!((again.scaled, again.rounded, again.negative_zero), (number.scaled, false, false));
        }
    }

    #[test]
    fn what_is_not_a_number_of_the_column_is_refused_by_name() {
        for written in
            ["", "-", "+1", ".5", "5.", " 1", "1 ", "1_000", "NaN", "inf", "0x10", "1e", "1e+-1", "--1", "١"]
        {
            assert_eq!(read(written, Some(3), 15), Err(NumberError::NotNumber), "{written}");
        }
        assert_eq!(read("1.5", None, 15), Err(NumberError::NotWhole));
        assert_eq!(read("1.0", None, 15).map(|number| number.scaled), Ok(1));
        assert_eq!(read("999999999999999", None, 15).map(|number| number.scaled), Ok(999_999_999_999_999));
        assert_eq!(read("1000000000000000", None, 15), Err(NumberError::TooLarge));
        assert_eq!(read("1e9999", None, 15), Err(NumberError::TooLarge));
        assert_eq!(read("999999999999999.9999", Some(3), 15), Err(NumberError::TooLarge));
        assert_eq!(read(&"1".repeat(38), None, 18), Err(NumberError::TooLong));
    }

    #[test]
    fn counts_go_to_the_nearest_multiple_and_ties_to_the_even_one() {
        let rounded = [0, 2, 3, 7, 8, 12, 13, 1_000_001].map(|count| round_to_multiple(count, 5));
        assert_eq!(rounded, [0, 0, 5, 5, 10, 10, 15, 1_000_000]);
        assert_eq!([5, 15, 25].map(|count| round_to_multiple(count, 10)), [0, 20, 20]);
        assert_eq!(round_to_multiple(17, 1), 17);
    }
}
