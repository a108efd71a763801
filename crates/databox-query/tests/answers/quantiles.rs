//! Quantiles: the rows around a rank, against a second way to find them, and what they tell together.

use std::collections::BTreeSet;

use databox_query::{AnswerError, answer, compare};
use release::rule::Rule;
use release::statement::{Condition, Query, QueryFunction, RuleResult};

use crate::support::{Random, Row, answered, blocked, data, name, query, task, text};

const MEDIAN: QueryFunction = QueryFunction::Quantile(50);

/// A number of the answer's only row, and none if there is no row.
fn told(text: &str, asked: &Query) -> Option<String> {
    let found = answered(&task(asked.clone(), 2), data(text).path());
    let row = found.lines().nth(1)?;
    row.split(',').nth(1).map(str::to_owned)
}

/// People with one row each at the near site with the plan `free`.
fn of(numbers: impl IntoIterator<Item = f64>) -> String {
    let mut text = "person,plan,site,x,y\n".to_owned();
    for (person, number) in numbers.into_iter().enumerate() {
        text += &format!("p{person},free,near,1,{number}\n");
    }
    text
}

fn quantile(percent: u8) -> Query {
    query(&[], &[(QueryFunction::Quantile(percent), "y")])
}

/// The mean around a rank by the definition: one more row on each side until there are ten people on each.
fn by_hand(rows: &[Row], percent: usize) -> Option<f64> {
    let mut sorted: Vec<(i64, String)> =
        rows.iter().filter_map(|row| Some((row.x?, format!("p{}", row.person)))).collect();
    sorted.sort();
    let people = |rows: &[(i64, String)]| rows.iter().map(|row| row.1.clone()).collect::<BTreeSet<_>>().len();
    let all = sorted.len();
    let (below, above) = (all * percent / 100, (all * percent).div_ceil(100));
    let enough =
        |side: &usize| people(&sorted[below - side..below]).min(people(&sorted[above..above + side])) >= 10;
    let side = (1..=below.min(all - above)).find(enough)?;
    let (from, to) = (below - side, above + side);
    if people(&sorted[..from]).min(people(&sorted[to..])) < 10 {
        return None;
    }
    let window = &sorted[from..to];
    let alike = window.iter().all(|row| row.0 == window[0].0);
    let others: Vec<_> = sorted.iter().filter(|row| row.0 != window[0].0).cloned().collect();
    if alike && people(&others) < 10 {
        return None;
    }
    Some(window.iter().map(|row| row.0 as f64).sum::<f64>() / window.len() as f64)
}

#[test]
fn a_quantile_is_the_mean_of_the_rows_around_its_rank() {
    let mut random = Random(5);
    let (mut found, mut none) = (0, 0);
    for round in 0..60 {
        // Some with a row for each person, some with many, and few or many numbers.
        let (people, numbers) = ([1000, 60][round % 2], [5, 1000][round / 2 % 2]);
        let rows: Vec<Row> = (0..random.below(300) + 20)
            .map(|_| Row {
                person: random.below(people) as u32,
                plan: "free",
                site: "far",
                x: (random.below(9) > 0).then(|| random.below(numbers) as i64 + 50),
            })
            .collect();
        for percent in [10, 25, 50, 75, 90] {
            let asked = query(&[], &[(QueryFunction::Quantile(percent), "x")]);
            let told = told(&text(&rows), &asked).map(|text| text.parse::<f64>().unwrap());
            let expected = by_hand(&rows, usize::from(percent));
            assert_eq!(told.is_some(), expected.is_some(), "{percent} of {rows:?}");
            if let (Some(told), Some(expected)) = (told, expected) {
                assert!((told - expected).abs() <= expected / 200.0, "{told} for {expected}");
                found += 1;
            } else {
                none += 1;
            }
        }
    }
    assert!(found > 60 && none > 60, "{found} and {none}");
}

#[test]
fn several_quantiles_and_a_mean_of_one_column_stand_beside_each_other_by_group() {
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..80 {
        text += &format!("p{person},free,near,{},{}\n", person % 7, person * 100);
    }
    let asked = query(
        &["plan"],
        &[
            (QueryFunction::Quantile(25), "y"),
            (QueryFunction::Mean, "y"),
            (MEDIAN, "x"),
            (QueryFunction::Quantile(75), "y"),
        ],
    );
    let found = answered(&task(asked, 2), data(&text).path());
    let mut lines = found.lines();
    let header =
        "plan,units,quantile-25.y,mean.y,quantile-50.x,quantile-75.y,share.largest,share.two-largest";
    assert_eq!(lines.next(), Some(header));
    assert!(
        lines.next().is_some_and(|row| row.starts_with("free,80,1950.000,3950.000,2.850,5950.000,")),
        "{found}"
    );
}

#[test]
fn the_least_and_the_greatest_ones_and_what_nearly_all_have_are_not_told() {
    // Of thirty-nine people not ten stand beyond the ten on each side of the median.
    for (people, percent) in [(39, 50), (79, 25), (199, 10), (199, 90)] {
        let numbers = |people: i32| (0..people).map(f64::from);
        assert_eq!(told(&of(numbers(people)), &quantile(percent)), None, "{percent}");
        assert!(told(&of(numbers(people + 1)), &quantile(percent)).is_some(), "{percent}");
    }
    // Of ninety people nine have another number than all others, and then ten.
    let with_others =
        |others: i32| of((0..90).map(|person| if person < others { f64::from(person) } else { 50.0 }));
    assert_eq!(told(&with_others(9), &quantile(50)), None);
    assert_eq!(told(&with_others(10), &quantile(50)).as_deref(), Some("50.000"));
    // That most have nothing may be told, and what the others have may not where one of them has nearly all of it.
    let zeros = of((0..90).map(|person| if person < 60 { 0.0 } else { f64::from(person) }));
    assert_eq!(told(&zeros, &quantile(50)).as_deref(), Some("0.000"));
    let rich = |zeros: i32| of((0..200).map(|person| if person < zeros { 0.0 } else { 5.0 }));
    assert_eq!(told(&rich(189), &quantile(90)), None);
    assert_eq!(told(&rich(180), &quantile(90)).as_deref(), Some("2.500"));
}

#[test]
fn one_person_with_many_rows_is_not_the_mean_around_a_rank() {
    let mut text = of((0..60).map(f64::from));
    (0..500).for_each(|_| text += "p29,free,near,1,29.5\n");
    // The rows around the median are all of one person, up to those of nineteen others: two have nine tenths of them.
    assert_eq!(told(&text, &quantile(50)), None);
}

#[test]
fn of_people_with_many_rows_ten_are_enough_for_a_median_and_nine_are_not() {
    // Each has a row in each quarter.
    let median = |people: i32, quarters: i32| {
        let rows =
            (0..people).flat_map(|person| (0..quarters).map(move |quarter| (person, quarter * 100 + person)));
        let rows: String = rows.map(|(person, number)| format!("p{person},free,near,1,{number}\n")).collect();
        told(&("person,plan,site,x,y\n".to_owned() + &rows), &quantile(50))
    };
    // It is 154.5, of which three digits are told.
    assert_eq!(median(10, 4).as_deref(), Some("154.000"));
    assert_eq!(median(9, 4), None);
    assert_eq!(median(9, 40), None);
    assert_eq!(median(10, 3), None);
}

/// Thirty people with numbers below zero and thirty with numbers above, one row each, and one with so many rows of 0.03.
fn around_zero(rows: usize) -> String {
    let sizes = || (1..=30).map(|tenth| f64::from(tenth) / 10.0);
    of(sizes().map(|size| -size).chain(sizes())) + &"x,free,near,1,0.03\n".repeat(rows)
}

#[test]
fn one_persons_many_rows_near_zero_are_not_the_mean_of_a_group_or_around_a_rank() {
    // By sums one person has little: others have more, with either sign.
    assert_eq!(told(&around_zero(200), &quantile(50)), None);
    assert_eq!(told(&around_zero(20), &quantile(50)).as_deref(), Some("0.016"));
    let mean = query(&[], &[(QueryFunction::Mean, "y")]);
    let of_mean = |rows| {
        let found = answered(&task(mean.clone(), 2), data(&around_zero(rows)).path());
        found.lines().nth(1).map(|row| row.split(',').nth(1).map(str::to_owned))
    };
    assert_eq!(of_mean(2000), None);
    assert_eq!(of_mean(200), Some(Some("0.023".to_owned())));
    // Nobody learns a mean from a sum alone.
    let sum = query(&[], &[(QueryFunction::Sum, "y")]);
    assert_eq!(told(&around_zero(2000), &sum).as_deref(), Some("60.000"));
}

#[test]
fn a_quantile_that_the_policy_does_not_allow_is_not_answered() {
    let data = data(&of((0..300).map(f64::from)));
    let refused = answer(&task(quantile(35), 1), data.path());
    assert!(matches!(refused, Err(AnswerError::Question)), "{refused:?}");
    let mut other = task(quantile(35), 1);
    other.policy = other.policy.replace("[10, 20, 25, 30,", "[10, 20, 25, 30, 35,");
    assert!(answer(&other, data.path()).is_ok());
    let mut none = task(quantile(50), 1);
    none.policy = none.policy.replace("[10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90]", "[]");
    assert!(matches!(answer(&none, data.path()), Err(AnswerError::Question)));
}

#[test]
fn quantiles_of_one_answer_that_differ_by_a_few_are_blocked() {
    let several = |percents: &[u8], mean: bool| {
        let quantiles = percents.iter().map(|percent| (QueryFunction::Quantile(*percent), "y"));
        query(&[], &quantiles.chain(mean.then_some((QueryFunction::Mean, "y"))).collect::<Vec<_>>())
    };
    let people = |people: i32| of((0..people).map(f64::from));
    let quartiles = [25, 50, 75];
    assert_eq!(blocked(&people(80), &[several(&quartiles, true)]), None);
    // The ranks 20 and 24 of eighty: four people stand in the one window alone, and four in the other.
    let words = blocked(&people(80), &[several(&[25, 30], false)]).unwrap();
    assert_eq!(words, "what it tells, put together, tells something of fewer than 10 units alone");
    assert_eq!(blocked(&people(100), &[several(&[25, 30], false)]), None);
    // Of two hundred people the windows at all tenths leave twenty; of one more any two neighbours share a person.
    let tenths = [10, 20, 30, 40, 50, 60, 70, 80, 90];
    assert_eq!(blocked(&people(200), &[several(&tenths, true)]), None);
    assert_eq!(blocked(&people(201), &[several(&tenths, true)]), None);
    let with_sum = [several(&quartiles, true), query(&[], &[(QueryFunction::Sum, "y")])];
    assert_eq!(blocked(&people(80), &with_sum), None);
}

/// So many people with numbers above all others', so many below, at the far site; a hundred at the near one.
fn with_far(above: u32, below: u32) -> String {
    let mut text = of((0..100).map(|person| f64::from(person) + 1000.0));
    (0..above).for_each(|person| text += &format!("a{person},free,far,1,{}\n", 5000 + person));
    (0..below).for_each(|person| text += &format!("b{person},free,far,1,{}\n", person + 1));
    text
}

#[test]
fn medians_of_two_groups_that_tell_of_a_few_by_subtraction_are_blocked() {
    let near = || Condition::Among { column: name("site"), values: vec!["near".to_owned()] };
    let asked = |values: &[(QueryFunction, &str)]| {
        [query(&[], values), Query { filter: Some(near()), ..query(&[], values) }]
    };
    let medians = asked(&[(MEDIAN, "y")]);
    // The counts differ by twelve, and by eight above and four below the median moves by two ranks.
    let words = blocked(&with_far(8, 4), &medians).unwrap();
    assert_eq!(words, "together with job-0 it tells something of fewer than 10 units alone");
    let counts = asked(&[]);
    assert_eq!(blocked(&with_far(8, 4), &counts), None, "the counts alone tell of twelve");
    // By six and six it does not move at all, and by twelve it moves by six.
    assert_eq!(blocked(&with_far(6, 6), &medians), None);
    assert_eq!(blocked(&with_far(12, 0), &medians), None);
    // A sum of all and a median: what is left is of ninety.
    assert_eq!(
        blocked(&with_far(12, 0), &[query(&[], &[(QueryFunction::Sum, "y")]), medians[1].clone()]),
        None
    );
    // Eighty at the far site: around the ranks 20 and 24 two windows differ by four people each way.
    let far = Condition::Among { column: name("site"), values: vec!["far".to_owned()] };
    let of_far = |function| Query { filter: Some(far.clone()), ..query(&[], &[(function, "y")]) };
    let [low, next] = [25, 30].map(|percent| of_far(QueryFunction::Quantile(percent)));
    let sum = of_far(QueryFunction::Sum);
    assert_eq!(blocked(&with_far(40, 40), &[low.clone(), sum.clone(), of_far(MEDIAN)]), None);
    assert!(blocked(&with_far(40, 40), &[low, sum, next]).is_some());
}

#[test]
fn medians_by_group_after_the_median_of_all_are_told() {
    let mut random = Random(3);
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..300 {
        let (plan, site) =
            (["free", "it's"][random.below(2) as usize], ["far", "near"][random.below(2) as usize]);
        text += &format!("p{person},{plan},{site},1,{}\n", random.below(100_000));
    }
    let by = |groups: &[&str]| query(groups, &[(MEDIAN, "y"), (QueryFunction::Mean, "y")]);
    assert_eq!(blocked(&text, &[by(&[]), by(&["plan"]), by(&["site"])]), None);
}

#[test]
fn an_earlier_quantile_whose_policy_is_not_known_blocks_later_ones() {
    let data = data(&with_far(0, 0));
    let mut asked = task(query(&["plan"], &[(MEDIAN, "y")]), 1);
    let earlier = |query: Query| egress::EarlierQuery { of: "job".to_owned(), query, policy: None };
    let result = |task: &egress::QueryTask| {
        compare(task, data.path()).unwrap().0.rules[Rule::TableDifferencing.index()]
    };
    asked.earlier = vec![earlier(query(&[], &[(QueryFunction::Sum, "y")]))];
    assert_eq!(result(&asked), RuleResult::Passed);
    asked.earlier = vec![earlier(quantile(50))];
    assert_eq!(result(&asked), RuleResult::Blocked);
}
