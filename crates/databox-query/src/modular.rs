//! Rows of numbers modulo a prime, and how a column is taken out of them.

/// The largest Mersenne prime below 2^63. Elimination is modulo it: exact, and never larger than a word. A combination that
/// vanishes modulo it and not over whole numbers would have to have coefficients of 19 digits.
const PRIME: u64 = (1 << 61) - 1;

/// Largest numerator and denominator that are found again. Two such fractions are never one number modulo the prime, and of a
/// million numbers that stand for none fewer than three are taken for one.
const FRACTION_LIMIT: u64 = 1 << 20;

/// All of a class.
pub(crate) const WHOLE: u64 = 1;

/// So many of so many rows.
pub(crate) fn fraction(rows: u64, of: u64) -> u64 {
    product(rows % PRIME, power(of % PRIME, PRIME - 2))
}

/// The fraction of small whole numbers that this stands for; none if it stands for none (the reconstruction of Wang, 1981).
pub(crate) fn rational(value: u64) -> Option<f64> {
    let (mut last, mut rest) = (PRIME, value);
    let (mut before, mut factor) = (0i128, 1i128);
    while rest > FRACTION_LIMIT {
        let times = last / rest;
        (last, rest) = (rest, last % rest);
        (before, factor) = (factor, before - i128::from(times) * factor);
    }
    (factor.unsigned_abs() <= u128::from(FRACTION_LIMIT)).then(|| rest as f64 / factor as f64)
}

/// One number by another one, which is not 0.
pub(crate) fn quotient(one: u64, other: u64) -> u64 {
    product(one, power(other, PRIME - 2))
}

/// Whether some row has something in this column.
pub(crate) fn has(rows: &[Vec<u64>], column: usize) -> bool {
    rows.iter().any(|row| row[column] != 0)
}

/// Takes a row with something in this column out, and the column out of all others.
pub(crate) fn take_pivot(rows: &mut Vec<Vec<u64>>, column: usize) -> Option<Vec<u64>> {
    let place = rows.iter().position(|row| row[column] != 0)?;
    Some(take_row(rows, place, column))
}

/// Takes this row out, and the column out of all others.
pub(crate) fn take_row(rows: &mut Vec<Vec<u64>>, place: usize, column: usize) -> Vec<u64> {
    let pivot = rows.swap_remove(place);
    let inverse = power(pivot[column], PRIME - 2);
    for row in rows.iter_mut().filter(|row| row[column] != 0) {
        let factor = PRIME - product(row[column], inverse);
        for (value, by) in row.iter_mut().zip(&pivot).filter(|(_, by)| **by != 0) {
            *value = (*value + product(factor, *by)) % PRIME;
        }
    }
    pivot
}

pub(crate) fn product(one: u64, other: u64) -> u64 {
    (u128::from(one) * u128::from(other) % u128::from(PRIME)) as u64
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = product(result, base);
        }
        base = product(base, base);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_fractions_are_found_again_and_other_numbers_are_none() {
        assert_eq!(rational(0), Some(0.0));
        assert_eq!(rational(PRIME - 3), Some(-3.0));
        for (rows, of) in [(1, 1), (7, 1), (2, 3), (22, 7), (1 << 20, 3), (999, 1 << 20)] {
            assert_eq!(rational(fraction(rows, of)), Some(rows as f64 / of as f64), "{rows}/{of}");
            assert_eq!(rational(PRIME - fraction(rows, of)), Some(-(rows as f64) / of as f64), "{rows}/{of}");
        }
        assert_eq!(rational(power(3, 1_000_003)), None);
        assert_eq!(rational(fraction((1 << 21) + 1, (1 << 21) - 1)), None);
    }
}
