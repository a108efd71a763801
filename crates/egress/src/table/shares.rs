//! Whether few units have nearly all of a row: the (n, k) rule and the p % rule (Hundepool et al., *Statistical Disclosure
//! Control*, 2012, section 4.2.2), from the shares that a job declares.
//!
//! A share was rounded to its column's digits, so it stands for a range; a rule holds if it holds at the worst
//! end of it. What the shares leave open counts as the worst, too: two units have at most twice the share of the largest.

use release::rule::Rule;

use super::columns::{Cell, Columns};
use super::{Value, row_text};
use crate::policy::TablePolicy;

/// The whole of a row. Half of the last of nine digits is 1, so that the ends of a rounded share are whole.
const WHOLE: i128 = 2_000_000_000;

/// A share that was rounded.
#[derive(Debug, Clone, Copy)]
struct Share {
    least: i128,
    most: i128,
}

impl Share {
    fn new(columns: &Columns, index: usize, row: &[Value]) -> Option<Self> {
        let Value::Number(scaled) = row[index] else { return None };
        let half = 10i128.pow(9 - u32::from(columns.list[index].1.digits().min(9)));
        let middle = scaled.checked_mul(2 * half)?;
        // Outside of 0 to 1 it is no share.
        (0..=WHOLE)
            .contains(&middle)
            .then(|| Self { least: (middle - half).max(0), most: (middle + half).min(WHOLE) })
    }
}

/// What the rules say of one row, before its shares are withheld.
pub(super) fn judge_row(
    policy: &TablePolicy,
    columns: &Columns,
    row: &[Value],
    units: Option<i128>,
) -> Vec<(Rule, String)> {
    let Some(index) = columns.largest else { return Vec::new() };
    if is_nothing(columns, row) {
        return Vec::new();
    }
    let place = row_text(columns, row);
    let Some((largest, two)) = shares(columns, index, row, units) else {
        let detail = format!("{place}: these cannot be the shares of the largest units of this row");
        return vec![(Rule::TableDominance, detail)];
    };
    let mut findings = Vec::new();
    let (units, percent) = (policy.dominance_units, i128::from(policy.dominance_percent));
    let dominating = if units == 1 { largest } else { two };
    if dominating.most * 100 > percent * WHOLE {
        let who = if units == 1 { "the largest unit" } else { "the two largest units" };
        let detail = format!("{place}: {who} may have more than {percent} % of it{}", unknown(columns));
        findings.push((Rule::TableDominance, detail));
    }
    let p = i128::from(policy.p_percent);
    if (WHOLE - two.most) * 100 < p * largest.most {
        let detail = format!(
            "{place}: the second largest unit may learn the largest one's value to within {p} %{}",
            unknown(columns)
        );
        findings.push((Rule::TablePPercent, detail));
    }
    findings
}

fn unknown(columns: &Columns) -> &'static str {
    match columns.two_largest {
        Some(_) => "",
        None => "; two_largest_column could say more",
    }
}

/// The share of the largest unit and that of the two largest together; none if no units can have them.
fn shares(columns: &Columns, index: usize, row: &[Value], units: Option<i128>) -> Option<(Share, Share)> {
    let largest = Share::new(columns, index, row)?;
    let two = match columns.two_largest {
        Some(index) => Share::new(columns, index, row)?,
        None => Share { least: largest.least, most: (2 * largest.most).min(WHOLE) },
    };
    // Of n units the largest has at least an n-th, and the two largest at least two.
    let spread =
        |share: Share, of: i128| units.is_none_or(|units| share.most * units >= of.min(units) * WHOLE);
    let fits = two.most >= largest.least && two.least <= 2 * largest.most;
    (fits && spread(largest, 1) && spread(two, 2)).then_some((largest, two))
}

/// A row whose values are all 0 has no shares.
fn is_nothing(columns: &Columns, row: &[Value]) -> bool {
    let is_number = |index: &usize| matches!(columns.list[*index].1, Cell::Number { .. });
    (0..row.len())
        .filter(is_number)
        .filter(|index| columns.count != Some(*index))
        .all(|index| row[index] == Value::Number(0))
}
