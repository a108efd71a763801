//! Answers against a second way to find them, and files that are not as they should be.

mod quantiles;
mod support;
mod together;

use databox_query::{AnswerError, answer};
use release::statement::{Condition, QueryFunction};

use support::{Random, Row, answered, by_hand, data, name, query, task, text};

const HEADER: &str = "person,plan,site,x,y\n";

/// So many people of a plan, each with one row.
fn people(count: usize, plan: &str, x: impl Fn(usize) -> i64) -> String {
    (0..count).map(|person| format!("{plan}{person},{plan},far,{},1\n", x(person))).collect()
}

#[test]
fn answers_are_those_that_counting_person_by_person_gives() {
    let mut random = Random(11);
    let (mut told, mut untold) = (0, 0);
    for round in 0..40 {
        let rows: Vec<Row> = (0..random.below(900) + 50)
            .map(|_| {
                let person = random.below(120) as u32;
                Row {
                    person,
                    plan: ["a,b", "free", "it's", "rare", ""][random.below(5) as usize],
                    site: ["far", "near", "elsewhere"][random.below(3) as usize],
                    x: match random.below(8) {
                        0 => None,
                        // Now and then one person has nearly all.
                        1 if person == 3 => Some(5_000),
                        _ => Some(random.below(40) as i64 - 10),
                    },
                }
            })
            .collect();
        let mut asked =
            query([&[][..], &["plan"], &["site", "plan"]][round % 3], &[(QueryFunction::Sum, "x")]);
        if round % 2 == 1 {
            let among = |column: &str, value: &str| Condition::Among {
                column: name(column),
                values: vec![value.to_owned()],
            };
            asked.filter = Some(Condition::Any { of: vec![among("site", "far"), among("plan", "free")] });
        }
        let data = data(&text(&rows));
        let found = answered(&task(asked.clone(), 2), data.path());
        let expected = by_hand(&rows, &asked);
        let mut lines = found.lines();
        assert!(
            lines
                .next()
                .is_some_and(|header| header.ends_with("units,sum.x,share.largest,share.two-largest"))
        );
        let mut reader = csv::Reader::from_reader(found.as_bytes());
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), expected.len(), "{found}\n{expected:?}");
        for record in &records {
            let width = asked.groups.len();
            let key: Vec<String> = record.iter().take(width).map(str::to_owned).collect();
            let (units, sum, _) = expected[&key];
            let stated: f64 = record[width + 1].parse().unwrap();
            assert_eq!(record[width], units.to_string());
            assert!((stated - sum as f64).abs() <= (sum as f64).abs() / 200.0 + 1e-9, "{stated} for {sum}");
        }
        told += records.len();
        untold += usize::from(records.is_empty());
    }
    assert!(told > 40 && untold > 0, "{told} groups, {untold} answers without one");
}

#[test]
fn groups_of_nobody_of_few_and_of_one_rich_person_look_the_same() {
    let sum = query(&["plan"], &[(QueryFunction::Sum, "x")]);
    let many = people(12, "free", |person| person as i64);
    let answer_with =
        |more: &str| answered(&task(sum.clone(), 1), data(&format!("{HEADER}{many}{more}")).path());
    let alone = answer_with("");
    assert_eq!(alone, "plan,units,sum.x,share.largest,share.two-largest\nfree,12,66.000,0.166667,0.318182\n");
    assert_eq!(answer_with(&people(1, "it's", |_| 1)), alone);
    assert_eq!(answer_with(&people(9, "it's", |_| 1)), alone);
    assert_eq!(answer_with(&people(30, "it's", |person| if person == 0 { 10_000 } else { 1 })), alone);
    assert_ne!(answer_with(&people(10, "it's", |_| 1)), alone);
}

#[test]
fn a_mean_is_of_rows_with_a_number_and_needs_enough_people_who_have_one() {
    let mean = query(&[], &[(QueryFunction::Mean, "x")]);
    let empty: String = (0..20).map(|person| format!("e{person},free,far,,1\n")).collect();
    let with = people(12, "free", |person| person as i64);
    let found = answered(&task(mean.clone(), 1), data(&format!("{HEADER}{with}{empty}")).path());
    assert!(found.ends_with("\n32,5.500,0.166667,0.318182\n"), "{found}");
    let few = people(9, "free", |person| person as i64);
    let found = answered(&task(mean, 1), data(&format!("{HEADER}{few}{empty}")).path());
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn rows_of_nobody_count_for_nobody() {
    let nobody: String = (0..50).map(|_| ",free,far,1,1\n".to_owned()).collect();
    let count = query(&[], &[]);
    let found = answered(&task(count.clone(), 1), data(&format!("{HEADER}{nobody}")).path());
    assert_eq!(found, "units\n");
    let some = people(10, "free", |_| 1);
    let found = answered(&task(count, 1), data(&format!("{HEADER}{nobody}{some}")).path());
    assert_eq!(found, "units\n10\n");
}

#[test]
fn a_file_is_read_as_at_its_registration_whatever_ends_its_lines() {
    let count = query(&["plan"], &[]);
    let lines: Vec<String> = (0..10).map(|person| format!("p{person},\"a,b\",far,1,1")).collect();
    for end in ["\n", "\r\n", "\r"] {
        let header = HEADER.trim_end();
        let text = format!("{header}{end}{}{end}", lines.join(end));
        let found = answered(&task(count.clone(), 2), data(&text).path());
        assert_eq!(found, "plan,units\n\"a,b\",10\n", "{end:?}");
    }
    // A line's end within quotation marks ends no row.
    let quoted = lines.join("\n").replace("p3,", "\"p\n3\",");
    let found = answered(&task(count, 2), data(&format!("{HEADER}{quoted}\n")).path());
    assert_eq!(found, "plan,units\n\"a,b\",10\n");
}

#[test]
fn a_large_file_in_pieces_gives_the_answer_of_the_whole() {
    let mut text = HEADER.to_owned();
    for row in 0..400_000u32 {
        let plan = ["free", "it's"][(row % 2) as usize];
        text += &format!("p{},{plan},far,{},0.25\n", row % 5_000, row % 9);
    }
    assert!(text.len() > 8 << 20);
    let sum = query(&["plan"], &[(QueryFunction::Sum, "x"), (QueryFunction::Mean, "y")]);
    let plain = data(&text);
    let whole = answered(&task(sum.clone(), 1), plain.path());
    assert!(whole.contains("free,2500,800000.000,0.250"), "{whole}");
    assert_eq!(answered(&task(sum.clone(), 3), plain.path()), whole);
    let quoted = data(&text.replacen("p0,", "\"p0\",", 1));
    assert_eq!(answered(&task(sum, 3), quoted.path()), whole);
}

#[test]
fn what_cannot_be_summed_up_is_refused_by_name_and_without_the_value() {
    let refused = |query: release::statement::Query, text: &str| {
        let error = answer(&task(query, 2), data(text).path()).expect_err(text);
        let (name, words) = (format!("{error:?}"), error.to_string());
        assert!(!name.contains("secret") && !words.contains("secret"), "{name} {words}");
        name
    };
    let sum = || query(&["plan"], &[(QueryFunction::Sum, "x")]);
    let many = people(20, "free", |_| 1);
    for cell in ["secret", "NaN", "inf", "-inf", "1e999", "0x10", "1,2", " 1"] {
        let row = format!("s,free,far,\"{cell}\",1\n");
        assert_eq!(refused(sum(), &format!("{HEADER}{many}{row}")), "NotNumber", "{cell}");
    }
    let huge = format!("{HEADER}{many}h,free,far,1e308,1\nh,free,far,1e308,1\n");
    assert_eq!(refused(sum(), &huge), "Overflow");
    assert_eq!(refused(sum(), &format!("{HEADER}{many}secret,free\n")), "Form");
    assert_eq!(refused(sum(), "person,plan,site,y,x\nsecret,free,far,1,1\n"), "Header");
    assert_eq!(refused(sum(), "person,plan,site\rsecret,free,far\n"), "Header");
    assert_eq!(refused(sum(), ""), "Header");
    assert!(refused(query(&["x"], &[]), HEADER).starts_with("Query"));
}

#[test]
fn a_question_that_needs_more_memory_than_it_is_given_is_refused_by_name() {
    let mut text = HEADER.to_owned();
    (0..200_000u32).for_each(|person| text += &format!("person-number-{person},free,far,1,1\n"));
    let data = data(&text);
    let mut small = task(query(&[], &[(QueryFunction::Sum, "x")]), 1);
    small.memory_bytes = 1 << 20;
    assert!(matches!(answer(&small, data.path()), Err(AnswerError::Memory)));
    small.memory_bytes = 256 << 20;
    assert!(answer(&small, data.path()).is_ok());
}
