//! `WHERE`: public values of categories, joined by AND and OR.

use release::statement::Condition;
use sqlparser::ast::{BinaryOperator, Expr, InTarget, Value};

use crate::{SqlError, column};

/// Deepest nesting that is read. The parser's own limit is 50.
const DEPTH: usize = 50;

pub(crate) fn read(expression: &Expr) -> Result<Condition, SqlError> {
    part(expression, DEPTH)
}

fn part(expression: &Expr, depth: usize) -> Result<Condition, SqlError> {
    let refused = || SqlError::Comparison(expression.to_string());
    let deeper = depth.checked_sub(1).ok_or_else(refused)?;
    match expression {
        Expr::Nested(inner) => part(inner, deeper),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut of = Vec::new();
            for side in [left, right] {
                match part(side, deeper)? {
                    Condition::All { of: more } => of.extend(more),
                    one => of.push(one),
                }
            }
            Ok(Condition::All { of })
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            let mut of = Vec::new();
            for side in [left, right] {
                match part(side, deeper)? {
                    Condition::Any { of: more } => of.extend(more),
                    one => of.push(one),
                }
            }
            Ok(Condition::Any { of })
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            among(left, std::slice::from_ref(&**right)).ok_or_else(refused)
        }
        Expr::In { expr, target: InTarget::List(list), negated: false, global: false } => {
            among(expr, list).ok_or_else(refused)
        }
        _ => Err(refused()),
    }
}

fn among(named: &Expr, list: &[Expr]) -> Option<Condition> {
    let column = column(named)?;
    let mut values = list.iter().map(literal).collect::<Option<Vec<String>>>()?;
    values.sort();
    values.dedup();
    Some(Condition::Among { column, values })
}

/// A text, or a number that is the text of a category.
fn literal(expression: &Expr) -> Option<String> {
    let Expr::Value(value) = expression else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text.clone()),
        Value::Number(text, false) => Some(text.clone()),
        _ => None,
    }
}
