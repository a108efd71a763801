//! From SQL to the closed form of a question ([`Query`]) that a researcher signs.
//!
//! SQL is for people: it is read on the researcher's own machine and goes no further. What the closed form cannot say is
//! refused by name, so that nobody is answered another question than they asked. `docs/decisions/queries.md` says why the
//! form is so small.

mod filter;

use release::statement::{
    Catalogue, CatalogueEntry, Query, QueryError, QueryFunction, QueryPrivacy, QueryValue,
};
use release::value::Name;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, ObjectName, Select,
    SelectItem, SetExpr, Statement, TableFactor, Value,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

/// Longest text of a question, in bytes.
const TEXT_LIMIT: usize = 64 << 10;

/// SQL that is no question which the box answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SqlError {
    #[error("it is not one SELECT of SQL: {0}")]
    NotSql(String),
    #[error(
        "{0} is not answered; what is: SELECT categories, COUNT(*), SUM(column), AVG(column), APPROX_QUANTILE(column, 0.25) FROM dataset WHERE category = 'value' GROUP BY categories"
    )]
    Clause(&'static str),
    #[error(
        "{0} is neither a column that groups nor COUNT(*), SUM(column), AVG(column) or APPROX_QUANTILE(column, 0.25)"
    )]
    Item(String),
    #[error(
        "{0} is one person's value: APPROX_QUANTILE(column, 0.5) is answered, the mean of the values around that rank"
    )]
    OneValue(String),
    #[error("{0} names no quantile from 0.01 to 0.99 in hundredths")]
    Level(String),
    #[error("{0} stands in SELECT or in GROUP BY, and not in both")]
    NotGrouped(String),
    #[error(
        "{0}: nothing is named by AS, since the names in an answer follow from the question; leave it out"
    )]
    Alias(String),
    #[error(
        "{0} is no comparison that is answered: category = 'value' or category IN ('value', …), joined by AND and OR"
    )]
    Comparison(String),
    #[error("{0} is no dataset of this question with one file, and no `dataset.file`")]
    Table(String),
    #[error("{0}")]
    Query(#[from] QueryError),
}

/// Reads a question about the dataset of this catalogue entry, with the noise that it is to have. Whatever it returns passes
/// [`Query::check`] there.
///
/// # Errors
/// It names the first part of the text that is not answered.
pub fn read(sql: &str, privacy: Option<QueryPrivacy>, catalogue: &Catalogue) -> Result<Query, SqlError> {
    if sql.len() > TEXT_LIMIT {
        return Err(SqlError::NotSql(format!("more than {TEXT_LIMIT} bytes")));
    }
    let parsed = parse(sql)?;
    let Statement::Query(whole) = &parsed else {
        return Err(SqlError::Clause("another statement than SELECT"));
    };
    refuse_clauses(whole)?;
    let SetExpr::Select(select) = &*whole.body else {
        return Err(SqlError::Clause("UNION, VALUES or another form than one SELECT"));
    };
    refuse_parts(select)?;
    let [from] = &select.from[..] else { return Err(SqlError::Clause("another number of tables than one")) };
    let TableFactor::Table { name, alias, .. } = &from.relation else {
        return Err(SqlError::Clause("a table that is no name"));
    };
    if alias.is_some() {
        return Err(SqlError::Alias(from.relation.to_string()));
    }
    let GroupByExpr::Expressions(grouped, _) = &select.group_by else {
        return Err(SqlError::Clause("GROUP BY ALL"));
    };
    // Whatever else the text says (an ORDER BY that is new to the parser, a sample, a hint) stands in what was parsed, and
    // not in this text of the same parts.
    if parse(&only_these_parts(select, name, grouped))? != parsed {
        return Err(SqlError::Clause("a further clause"));
    }
    let (dataset, table) = table_of(name, catalogue)?;
    let (groups, values) = items(select, grouped, &table, catalogue)?;
    let filter = select.selection.as_ref().map(filter::read).transpose()?;
    let query = Query { dataset, table, groups, values, filter, privacy };
    query.check(catalogue)?;
    Ok(query)
}

fn parse(sql: &str) -> Result<Statement, SqlError> {
    let parsed = Parser::parse_sql(&GenericDialect {}, sql);
    let mut statements = parsed.map_err(|error| SqlError::NotSql(error.to_string()))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(SqlError::NotSql("not exactly one statement".to_owned())),
    }
}

/// Clauses of a whole query, each by its name.
fn refuse_clauses(query: &sqlparser::ast::Query) -> Result<(), SqlError> {
    let given = [
        (query.with.is_some(), "WITH"),
        (query.order_by.is_some(), "ORDER BY"),
        (query.limit_clause.is_some() || query.fetch.is_some(), "LIMIT"),
    ];
    given.into_iter().find(|(given, _)| *given).map_or(Ok(()), |(_, name)| Err(SqlError::Clause(name)))
}

/// Parts of a SELECT, each by its name.
fn refuse_parts(select: &Select) -> Result<(), SqlError> {
    let modified =
        matches!(&select.group_by, GroupByExpr::Expressions(_, modifiers) if !modifiers.is_empty());
    let given = [
        (select.distinct.is_some(), "DISTINCT"),
        (select.having.is_some(), "HAVING"),
        (select.top.is_some(), "TOP"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.from.iter().any(|from| !from.joins.is_empty()), "JOIN"),
        (modified, "ROLLUP or CUBE"),
    ];
    given.into_iter().find(|(given, _)| *given).map_or(Ok(()), |(_, name)| Err(SqlError::Clause(name)))
}

fn only_these_parts(select: &Select, table: &ObjectName, grouped: &[Expr]) -> String {
    let listed = |items: Vec<String>| items.join(", ");
    let mut text = format!(
        "SELECT {} FROM {table}",
        listed(select.projection.iter().map(ToString::to_string).collect())
    );
    if let Some(filter) = &select.selection {
        text += &format!(" WHERE {filter}");
    }
    if !grouped.is_empty() {
        text += &format!(" GROUP BY {}", listed(grouped.iter().map(ToString::to_string).collect()));
    }
    text
}

/// `dataset` if it has one file, `dataset.file` or `dataset."file.csv"`.
fn table_of(name: &ObjectName, catalogue: &Catalogue) -> Result<(Name, Name), SqlError> {
    let refused = || SqlError::Table(name.to_string());
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    let parts = parts.ok_or_else(refused)?;
    let CatalogueEntry::Dataset { tables, .. } = &catalogue.entry else { return Err(refused()) };
    let (dataset, table) = match &parts[..] {
        [dataset] => match &tables[..] {
            [table] => (dataset, &table.file),
            _ => return Err(refused()),
        },
        [dataset, file] => {
            let is_it = |table: &&release::statement::Table| {
                let own = table.file.as_str();
                own == file.value || own.strip_suffix(".csv") == Some(file.value.as_str())
            };
            (dataset, &tables.iter().find(is_it).ok_or_else(refused)?.file)
        }
        _ => return Err(refused()),
    };
    match dataset.value == catalogue.name.as_str() {
        true => Ok((catalogue.name.clone(), table.clone())),
        false => Err(refused()),
    }
}

fn column(expression: &Expr) -> Option<Name> {
    match expression {
        Expr::Identifier(Ident { value, .. }) => value.parse().ok(),
        _ => None,
    }
}

/// The columns that group, in the order of SELECT, and what is told of each group.
fn items(
    select: &Select,
    grouped: &[Expr],
    table: &Name,
    catalogue: &Catalogue,
) -> Result<(Vec<Name>, Vec<QueryValue>), SqlError> {
    let (mut groups, mut values, mut counts) = (Vec::new(), Vec::new(), 0);
    for item in &select.projection {
        let refused = || SqlError::Item(item.to_string());
        let expression = match item {
            SelectItem::UnnamedExpr(expression) => expression,
            SelectItem::ExprWithAlias { .. } => return Err(SqlError::Alias(item.to_string())),
            _ => return Err(refused()),
        };
        match expression {
            Expr::Identifier(_) => groups.push(column(expression).ok_or_else(refused)?),
            Expr::Function(function) if counts_units(function, catalogue) => counts += 1,
            Expr::Function(function) => values.push(value(function)?.ok_or_else(refused)?),
            _ => return Err(refused()),
        }
    }
    if counts > 1 {
        return Err(SqlError::Clause("a second COUNT"));
    }
    let mut wanted = Vec::new();
    for expression in grouped {
        wanted.push(column(expression).ok_or_else(|| SqlError::NotGrouped(expression.to_string()))?);
    }
    // A name that is misspelt in one of the two places is told as that.
    let columns = columns(catalogue, table);
    if let Some(unknown) = groups.iter().chain(&wanted).find(|group| !columns.contains(group)) {
        return Err(QueryError::NoColumn { table: table.clone(), column: unknown.clone() }.into());
    }
    let unmatched = groups.iter().find(|group| !wanted.contains(group));
    match unmatched.or_else(|| wanted.iter().find(|group| !groups.contains(group))) {
        Some(group) => Err(SqlError::NotGrouped(group.to_string())),
        None => Ok((groups, values)),
    }
}

/// The columns of a file of the dataset.
fn columns<'a>(catalogue: &'a Catalogue, table: &Name) -> Vec<&'a Name> {
    let CatalogueEntry::Dataset { tables, .. } = &catalogue.entry else { return Vec::new() };
    let columns = tables.iter().filter(|found| found.file == *table).flat_map(|found| &found.columns);
    columns.map(|column| &column.name).collect()
}

/// `COUNT(*)`, and `COUNT(DISTINCT unit)`: the box counts units, never rows.
fn counts_units(function: &Function, catalogue: &Catalogue) -> bool {
    let CatalogueEntry::Dataset { unit_column, .. } = &catalogue.entry else { return false };
    let text = function.to_string();
    text.eq_ignore_ascii_case("COUNT(*)") || {
        let distinct = format!("COUNT(DISTINCT {unit_column})");
        // The column's name as it is written, the rest in any case.
        text.eq_ignore_ascii_case(&distinct) && text.ends_with(&format!(" {unit_column})"))
    }
}

/// Functions that give one row's value. What the box tells in their place has a name of its own, so that nobody is answered
/// another question than they asked.
const ONE_VALUE: [&str; 8] = [
    "MEDIAN",
    "QUANTILE",
    "QUANTILE_CONT",
    "QUANTILE_DISC",
    "PERCENTILE_CONT",
    "PERCENTILE_DISC",
    "MIN",
    "MAX",
];

/// `SUM(column)`, `AVG(column)`, `APPROX_QUANTILE(column, level)` or `APPROX_MEDIAN(column)`, and nothing more: no DISTINCT, no
/// FILTER, no OVER. None if it is another function.
fn value(function: &Function) -> Result<Option<QueryValue>, SqlError> {
    let name = function.name.to_string().to_ascii_uppercase();
    if ONE_VALUE.contains(&name.as_str()) {
        return Err(SqlError::OneValue(function.to_string()));
    }
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
        _ => None,
    };
    let Some(arguments) = list.args.iter().map(plain).collect::<Option<Vec<Expr>>>() else { return Ok(None) };
    let known = match (name.as_str(), &arguments[..]) {
        ("SUM", [_]) => QueryFunction::Sum,
        ("AVG" | "MEAN", [_]) => QueryFunction::Mean,
        ("APPROX_MEDIAN", [_]) => QueryFunction::Quantile(50),
        ("APPROX_QUANTILE", [_, level]) => {
            QueryFunction::Quantile(percent(level).ok_or_else(|| SqlError::Level(function.to_string()))?)
        }
        _ => return Ok(None),
    };
    // Whatever else is said of it stands in its text.
    let texts: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let is_plain = function.to_string() == format!("{}({})", function.name, texts.join(", "));
    let column = column(&arguments[0]).filter(|_| is_plain);
    Ok(column.map(|column| QueryValue { column, function: known }))
}

/// A level in hundredths, such as 25 for `0.25`; none below 0.01 or above 0.99, or of more digits.
fn percent(level: &Expr) -> Option<u8> {
    let Expr::Value(value) = level else { return None };
    let Value::Number(text, false) = &value.value else { return None };
    let (whole, digits) = text.split_once('.')?;
    let digits = digits.trim_end_matches('0');
    let hundredths = match digits.len() {
        1 => digits.parse::<u8>().ok()?.checked_mul(10)?,
        2 => digits.parse().ok()?,
        _ => return None,
    };
    (whole.trim_start_matches('0').is_empty() && hundredths > 0).then_some(hundredths)
}
