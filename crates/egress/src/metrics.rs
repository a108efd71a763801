//! Metrics: a flat JSON object of scalars under declared names.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

use release::rule::Rule;
use release::value::Name;

use crate::finding::{Notes, Record, quoted};
use crate::json::Json;
use crate::policy::MetricsPolicy;

/// Metrics that have no canonical form.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum MetricsError {
    #[error("no name is declared")]
    NothingDeclared,
    #[error("not JSON, in which NaN and Infinity do not exist: {0}")]
    NotJson(String),
    #[error("not a JSON object")]
    NotObject,
    #[error("{0} is written twice")]
    Twice(String),
    #[error("{0} is not declared")]
    Undeclared(String),
    #[error("{0} is declared and missing")]
    Missing(Name),
    #[error("{0} is not a finite number")]
    NotNumber(Name),
    #[error("{0} is not a name: A-Z a-z 0-9 . _ - are expected")]
    NotName(String),
}

/// Bytes that the declared names fix: braces, names, quotes, colons, commas and the end of the line.
pub(crate) fn fixed_bytes(names: &[Name]) -> u64 {
    let each: usize = names.iter().map(|name| name.as_str().len() + 3).sum();
    let commas = names.len().saturating_sub(1);
    (each + commas + 3) as u64
}

/// Metrics in their canonical form.
pub(crate) struct Form {
    pub(crate) bytes: Vec<u8>,
    pub(crate) notes: Notes,
    /// The degrees of freedom as they were written, if a name is declared for them.
    pub(crate) degrees_of_freedom: Option<f64>,
}

/// What the rules say of metrics besides their form.
pub(crate) fn check(policy: &MetricsPolicy, form: &Form, record: &mut Record) {
    let least = policy.degrees_of_freedom;
    match form.degrees_of_freedom {
        None => record.leave_out(Rule::MetricsDegreesOfFreedom),
        Some(degrees) if degrees < least as f64 => {
            let detail =
                format!("{degrees} residual degrees of freedom; the policy asks for at least {least}");
            record.block(Rule::MetricsDegreesOfFreedom, detail);
        }
        Some(_) => record.ran(Rule::MetricsDegreesOfFreedom),
    }
}

/// The canonical form of what was written, and what was changed. `names` is none where what was written counts as
/// declared.
pub(crate) fn form(
    policy: &MetricsPolicy,
    names: Option<&[Name]>,
    degrees_of_freedom: Option<&Name>,
    written: &[u8],
) -> Result<Form, MetricsError> {
    let Json::Object(pairs) =
        Json::parse(written).map_err(|error| MetricsError::NotJson(error.to_string()))?
    else {
        return Err(MetricsError::NotObject);
    };
    let names = match names {
        Some(names) => names.to_vec(),
        None => pairs.iter().map(|(name, _)| as_name(name)).collect::<Result<_, _>>()?,
    };
    if names.is_empty() {
        return Err(MetricsError::NothingDeclared);
    }
    let mut values = by_name(pairs, &names)?;
    let (mut rounded, mut zeroed, mut degrees) = (0, 0, None);
    let mut text = String::from("{");
    for (index, name) in names.iter().enumerate() {
        let value = match values.remove(name.as_str()) {
            Some(Json::Whole(value)) => value as f64,
            Some(Json::Number(value)) if value.is_finite() => value,
            Some(_) => return Err(MetricsError::NotNumber(name.clone())),
            None => return Err(MetricsError::Missing(name.clone())),
        };
        if degrees_of_freedom == Some(name) {
            degrees = Some(value);
        }
        let kept = if value.is_normal() { value } else { 0.0 };
        zeroed += u64::from(kept.to_bits() != value.to_bits());
        let number = number_text(kept, policy.significant_digits as usize);
        rounded += u64::from(number.parse::<f64>() != Ok(kept));
        let comma = if index == 0 { "" } else { "," };
        text.push_str(&format!("{comma}\"{name}\":{number}"));
    }
    text.push_str("}\n");
    let mut notes = Notes::default();
    let digits = format!("rounded to {} significant digits", policy.significant_digits);
    notes.changed(Rule::MetricsForm, rounded, &digits);
    notes.changed(Rule::MetricsForm, zeroed, "-0 or too small, set to 0");
    Ok(Form { bytes: text.into_bytes(), notes, degrees_of_freedom: degrees })
}

/// Whether names and punctuation are those that the request fixed, with characters of numbers between them.
pub(crate) fn holds_names(names: &[Name], file: &mut impl BufRead) -> io::Result<bool> {
    let mut pieces: Vec<String> = names.iter().map(|name| format!(",\"{name}\":")).collect();
    if let Some(first) = pieces.first_mut() {
        first.replace_range(..1, "{");
    }
    for piece in &pieces {
        if !begins_with(piece, file)? {
            return Ok(false);
        }
        pass_number(file)?;
    }
    Ok(begins_with("}\n", file)? && file.fill_buf()?.is_empty())
}

fn begins_with(piece: &str, file: &mut impl BufRead) -> io::Result<bool> {
    let mut found = Vec::new();
    file.by_ref().take(piece.len() as u64).read_to_end(&mut found)?;
    Ok(found == piece.as_bytes())
}

fn pass_number(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = file.fill_buf()?;
        let number = bytes.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'e')).count();
        let goes_on = number > 0 && number == bytes.len();
        file.consume(number);
        if !goes_on {
            return Ok(());
        }
    }
}

fn as_name(name: &str) -> Result<Name, MetricsError> {
    name.parse().map_err(|_| MetricsError::NotName(quoted(name.as_bytes())))
}

fn by_name(pairs: Vec<(String, Json)>, names: &[Name]) -> Result<BTreeMap<String, Json>, MetricsError> {
    let mut values = BTreeMap::new();
    for (name, value) in pairs {
        if !names.iter().any(|declared| declared.as_str() == name) {
            return Err(MetricsError::Undeclared(quoted(name.as_bytes())));
        }
        if values.insert(name.clone(), value).is_some() {
            return Err(MetricsError::Twice(quoted(name.as_bytes())));
        }
    }
    Ok(values)
}

/// The one text of a number with at most so many significant digits: plain from 0.00001 to below 10^15, else with an
/// exponent. Ties of the exact binary value go to the even digit.
fn number_text(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|character| *character != '.').collect();
    let digits = match digits.trim_end_matches('0') {
        "" => return "0".to_owned(),
        digits => digits,
    };
    let (first, rest) = digits.split_at(1);
    match exponent {
        0..15 if exponent as usize + 1 >= digits.len() => {
            format!("{sign}{digits}{}", "0".repeat(exponent as usize + 1 - digits.len()))
        }
        0..15 => {
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            format!("{sign}{whole}.{fraction}")
        }
        -5..0 => format!("{sign}0.{}{digits}", "0".repeat(-exponent as usize - 1)),
        _ if rest.is_empty() => format!("{sign}{first}e{exponent}"),
        _ => format!("{sign}{first}.{rest}e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_text() {
        let texts = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.43216, "0.4322"),
            (15143.0, "15140"),
            (12.0, "12"),
            (9999.6, "10000"),
            (1234.5, "1234"),
            (0.00001234567, "0.00001235"),
            (1.5e-6, "1.5e-6"),
            (1e15, "1e15"),
            (-123456789012345.0, "-123500000000000"),
            (1.7e308, "1.7e308"),
            (2e-300, "2e-300"),
            (0.1 + 0.2, "0.3"),
        ];
        for (value, text) in texts {
            assert_eq!(number_text(value, 4), text);
            assert_eq!(number_text(text.parse().unwrap(), 4), text, "not stable");
        }
    }
}
