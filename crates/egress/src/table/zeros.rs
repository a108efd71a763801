//! Rows of nobody. That no man of a village is healthy tells of each man there that he is not; that no man was pregnant
//! tells nothing, and is declared as such (a structural zero).

use super::columns::Columns;
use super::{Value, row_text};
use crate::policy::TablePolicy;

/// What a row says of units.
pub(super) enum Row {
    /// Some stand in it.
    OfUnits,
    /// Nobody does, and that may be said.
    OfNobody,
    /// It may not be said.
    Refused(String),
}

/// Whether a row of nobody may leave. `count` is the count as it was written.
pub(super) fn judge_row(policy: &TablePolicy, columns: &Columns, row: &[Value], count: i128) -> Row {
    let key: Vec<String> = columns
        .list
        .iter()
        .zip(row)
        .filter(|((_, cell), _)| cell.is_key())
        .map(|(_, value)| value.text())
        .collect();
    let is_structural = columns.structural_zeros.contains(&key);
    let place = || row_text(columns, row);
    let is_value = |index: &usize| {
        !columns.list[*index].1.is_key() && columns.count != Some(*index) && !columns.is_withheld(*index)
    };
    let says_something = (0..row.len()).filter(is_value).any(|index| row[index] != Value::Number(0));
    if count == 0 && says_something {
        return Row::Refused(format!("{}: nobody stands in it, and it has values", place()));
    }
    match (count, is_structural) {
        (0, true) => Row::OfNobody,
        (0, false) if policy.zeros_are_disclosive => Row::Refused(format!(
            "{}: nobody stands in it, or so few that it is rounded to 0, which tells of the others what they are not",
            place()
        )),
        (0, false) => Row::OfNobody,
        (_, true) => {
            Row::Refused(format!("{}: somebody stands where, by the declaration, nobody can stand", place()))
        }
        (_, false) => Row::OfUnits,
    }
}
