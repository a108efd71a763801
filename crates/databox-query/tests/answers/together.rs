//! Answers that together tell of a few people, and such that do not.

use databox_query::compare;
use egress::EarlierQuery;
use release::rule::Rule;
use release::statement::{Catalogue, CatalogueEntry, Condition, Query, QueryFunction, RuleResult};

use crate::support::{POLICY, Random, blocked, blocked_in, catalogue, data, name, query, task};

/// Sixty people of each plan but `it's`, which 30 have; of those with the plan `free` three are at the far site.
fn people() -> String {
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..150 {
        let plan = if person < 60 {
            "free"
        } else if person < 120 {
            "\"a,b\""
        } else {
            "it's"
        };
        let far = if person < 60 { person < 3 } else { person % 2 == 0 };
        let site = if far { "far" } else { "near" };
        text += &format!("p{person},{plan},{site},{},1\n", person % 7);
    }
    text
}

fn among(column: &str, values: &[&str]) -> Condition {
    Condition::Among {
        column: name(column),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

fn all(of: &[Condition]) -> Condition {
    Condition::All { of: of.to_vec() }
}

fn filtered(query: Query, filter: Condition) -> Query {
    Query { filter: Some(filter), ..query }
}

fn counted() -> Query {
    query(&[], &[])
}

fn summed(column: &str) -> Query {
    query(&[], &[(QueryFunction::Sum, column)])
}

#[test]
fn a_group_and_all_of_it_but_three_are_blocked_and_name_each_other() {
    let free = || among("plan", &["free"]);
    let near = || all(&[free(), among("site", &["near"])]);
    for (one, other) in [(counted(), counted()), (summed("x"), summed("x")), (counted(), summed("x"))] {
        let words = blocked(&people(), &[filtered(one, free()), filtered(other, near())]).unwrap();
        assert_eq!(words, "together with job-0 it tells something of fewer than 10 units alone");
    }
    // The other way round.
    assert!(blocked(&people(), &[filtered(counted(), near()), filtered(counted(), free())]).is_some());
    // Sums of different columns and different counts: the sums say nothing of each other, the counts do.
    assert!(blocked(&people(), &[filtered(summed("y"), free()), filtered(summed("x"), near())]).is_some());
    let ab = || among("plan", &["a,b"]);
    let twin = all(&[ab(), among("site", &["near"])]);
    assert_eq!(blocked(&people(), &[filtered(summed("x"), ab()), filtered(summed("x"), twin)]), None);
    // The same question again says nothing new.
    assert_eq!(blocked(&people(), &[filtered(summed("x"), free()), filtered(summed("x"), free())]), None);
}

#[test]
fn three_sums_that_leave_three_people_are_blocked_together_and_no_two_of_them() {
    let far = || among("site", &["far"]);
    let plan = |plan: &str| filtered(summed("x"), all(&[far(), among("plan", &[plan])]));
    let whole = || filtered(summed("x"), far());
    assert_eq!(blocked(&people(), &[whole(), plan("a,b")]), None);
    assert_eq!(blocked(&people(), &[plan("it's"), plan("a,b")]), None);
    let words = blocked(&people(), &[whole(), plan("it's"), plan("a,b")]).unwrap();
    assert_eq!(words, "together with job-0, job-1 it tells something of fewer than 10 units alone");
    let near = |query: Query| filtered(query, among("site", &["near"]));
    let near_plan =
        |plan: &str| filtered(summed("x"), all(&[among("site", &["near"]), among("plan", &[plan])]));
    assert_eq!(blocked(&people(), &[near(summed("x")), near_plan("it's"), near_plan("a,b")]), None);
}

#[test]
fn a_margin_that_gives_back_a_group_left_out_is_blocked_and_margins_alone_are_not() {
    let (plan, site) = (query(&["plan"], &[]), query(&["site"], &[]));
    let both = query(&["plan", "site"], &[]);
    assert_eq!(blocked(&people(), &[plan.clone(), site.clone()]), None);
    // Of three people with the plan `free` at the far site nothing is told, but each margin tells them.
    assert!(blocked(&people(), &[plan.clone(), both.clone()]).is_some());
    assert!(blocked(&people(), &[both.clone(), site.clone()]).is_some());
    let twin = people().replace(",free,far,", ",free,near,");
    assert_eq!(blocked(&twin, &[plan.clone(), both.clone()]), None);
    assert_eq!(blocked(&twin, &[plan, site, both]), None);
}

#[test]
fn people_whose_plan_is_not_public_are_not_told_by_all_and_each_public_plan() {
    let (whole, plan) = (query(&[], &[]), query(&["plan"], &[]));
    assert_eq!(blocked(&people(), &[whole.clone(), plan.clone()]), None);
    let rare = |count: usize| {
        let rare: String = (0..count).map(|person| format!("r{person},rare,near,1,1\n")).collect();
        people() + &rare
    };
    assert!(blocked(&rare(1), &[whole.clone(), plan.clone()]).is_some());
    assert!(blocked(&rare(9), &[plan.clone(), whole.clone()]).is_some());
    assert_eq!(blocked(&rare(10), &[whole, plan]), None);
}

#[test]
fn people_with_a_number_are_counted_apart_from_people_without() {
    // Sixty people with the plan, fifty-five of them at the near site; of the five others one has a number.
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..75 {
        let (site, x) = if person < 20 { ("far", if person == 0 { "7" } else { "" }) } else { ("near", "3") };
        text += &format!("p{person},free,{site},{x},1\n");
    }
    let near = || among("site", &["near"]);
    let counts = [counted(), filtered(counted(), near())];
    assert_eq!(blocked(&text, &counts), None, "the difference is of twenty people");
    let sums = [summed("x"), filtered(summed("x"), near())];
    assert!(blocked(&text, &sums).is_some(), "and the sum of one");
    let others = [summed("y"), filtered(summed("y"), near())];
    assert_eq!(blocked(&text, &others), None);
}

#[test]
fn a_person_in_several_groups_is_counted_once_in_each() {
    // Each person has a row at both sites, but five have one at the far site alone.
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..40 {
        text += &format!("p{person},free,far,1,1\n");
        if person >= 5 {
            text += &format!("p{person},free,near,1,1\n");
        }
    }
    let (whole, near) = (counted(), filtered(counted(), among("site", &["near"])));
    assert!(blocked(&text, &[whole.clone(), near.clone()]).is_some());
    // Both numbers in one answer tell the same.
    assert!(blocked(&text, &[query(&["site"], &[])]).is_some());
    let twin = text.replace("p7,free,near", "p47,free,near");
    let more: String = (0..6).map(|person| format!("q{person},free,far,1,1\n")).collect();
    let twin = twin + &more;
    assert_eq!(blocked(&twin, &[whole, near]), None);
    assert_eq!(blocked(&twin, &[query(&["site"], &[])]), None);
}

#[test]
fn an_earlier_answer_whose_policy_is_not_known_counts_as_if_it_had_told_all() {
    let data = data(&people());
    let mut task = task(query(&["plan"], &[]), 1);
    let earlier = |policy: Option<&str>| EarlierQuery {
        of: "job".to_owned(),
        query: filtered(query(&[], &[]), all(&[among("plan", &["free"]), among("site", &["far"])])),
        policy: policy.map(str::to_owned),
    };
    let result = |task: &egress::QueryTask| {
        compare(task, data.path()).unwrap().0.rules[Rule::TableDifferencing.index()]
    };
    // Three people, who were left out. With them told, the rest of their plan is no smaller than it was.
    task.earlier = vec![earlier(Some(POLICY))];
    assert_eq!(result(&task), RuleResult::Passed);
    task.query = filtered(query(&["site"], &[]), among("plan", &["free", "it's"]));
    assert_eq!(result(&task), RuleResult::Passed);
    task.earlier = vec![earlier(None)];
    let far = filtered(counted(), among("site", &["far"]));
    task.query = far;
    // Whether the three were told is not known: nothing passes that they would be worked out from, though it adds nothing.
    assert_eq!(result(&task), RuleResult::Blocked);
}

/// Fifty people with a row under each plan, all at the near site, and so many who have those at the far one and one more row.
fn in_many_rows(people: usize) -> String {
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..50 + people {
        let site = if person < people { "far" } else { "near" };
        for plan in ["free", "\"a,b\"", "it's"] {
            text += &format!("p{person},{plan},{site},{},1\n", person % 7 + 1);
        }
        text += &format!("p{person},free,near,1,1\n");
    }
    text
}

#[test]
fn people_with_many_rows_are_not_many_people() {
    let near = filtered(summed("x"), among("site", &["near"]));
    let queries = [query(&["plan"], &[(QueryFunction::Sum, "x")]), near];
    // Four people in three classes each: the difference of the sums is theirs.
    assert!(blocked(&in_many_rows(4), &queries).is_some());
    assert_eq!(blocked(&in_many_rows(12), &queries), None);
}

#[test]
fn many_questions_about_the_same_groups_are_put_together() {
    let earlier = vec![query(&["plan"], &[]); 40];
    let queries: Vec<Query> = earlier.into_iter().chain([counted()]).collect();
    assert_eq!(blocked(&people(), &queries), None);
}

/// Sixty people each with the plans `free` and `a,b`, with 100 each; thirty with `it's`, one of whom has so much and the others
/// 1 each. Half of all are at each site.
fn with_one(most: i64) -> String {
    let mut text = "person,plan,site,x,y\n".to_owned();
    for person in 0..150 {
        let plan = ["free", "free", "\"a,b\"", "\"a,b\"", "it's"][person / 30];
        let x = match person {
            0..120 => 100,
            120 => most,
            _ => 1,
        };
        text += &format!("p{person},{plan},{},{x},1\n", ["far", "near"][person % 2]);
    }
    text
}

#[test]
fn a_sum_that_one_person_has_nearly_all_of_does_not_follow_from_sums_that_nobody_has() {
    let by_plan = query(&["plan"], &[(QueryFunction::Sum, "x")]);
    let words = blocked(&with_one(5000), &[by_plan.clone(), summed("x")]).unwrap();
    assert_eq!(words, "together with job-0 it tells a sum of which one or two units have nearly all");
    assert!(blocked(&with_one(5000), &[summed("x"), by_plan.clone()]).is_some());
    // Where nobody has nearly all of it the group is told itself.
    assert_eq!(blocked(&with_one(1), &[by_plan.clone(), summed("x")]), None);
    // The counts tell of thirty people, and another column of none more than of others.
    assert_eq!(blocked(&with_one(5000), &[query(&["plan"], &[]), summed("x")]), None);
    let of_y = query(&["plan"], &[(QueryFunction::Sum, "y")]);
    assert_eq!(blocked(&with_one(5000), &[of_y, summed("y")]), None);
    // One plan is not enough: what is left are the other and the one who has much, who has less than half of both.
    let free = filtered(summed("x"), among("plan", &["free"]));
    assert_eq!(blocked(&with_one(5000), &[free, summed("x")]), None);
    // Three answers of which no two tell: all, and the two plans one by one.
    let one = |plan: &str| filtered(summed("x"), among("plan", &[plan]));
    let words = blocked(&with_one(5000), &[one("free"), one("a,b"), summed("x")]).unwrap();
    assert_eq!(words, "together with job-0, job-1 it tells a sum of which one or two units have nearly all");
}

#[test]
fn a_sum_that_is_told_three_times_over_and_less_another_is_judged_as_it_is_told() {
    // Five groups by plan and site: one of which a person has much, three of which four sums are made, and one with so much
    // for each of sixty people.
    let people = |other: i64| {
        let mut text = "person,plan,site,x,y\n".to_owned();
        let groups =
            [("free", "far"), ("free", "near"), ("\"a,b\"", "far"), ("\"a,b\"", "near"), ("it's", "far")];
        for (group, (plan, site)) in groups.into_iter().enumerate() {
            for person in 0..[30, 60, 60, 60, 60][group] {
                let x = match (group, person) {
                    (0, 0) => 10_000,
                    (0, _) => 1,
                    (4, _) => other,
                    _ => 100,
                };
                text += &format!("p{group}-{person},{plan},{site},{x},1\n");
            }
        }
        text
    };
    let cell = |plan: &str, site: &str| all(&[among("plan", &[plan]), among("site", &[site])]);
    let any = |of: &[Condition]| filtered(summed("x"), Condition::Any { of: of.to_vec() });
    let rich = || cell("free", "far");
    let (one, two, three) = (|| cell("free", "near"), || cell("a,b", "far"), || cell("a,b", "near"));
    let queries = [
        any(&[rich(), one()]),
        any(&[rich(), two()]),
        any(&[rich(), three()]),
        any(&[one(), two(), three(), cell("it's", "far")]),
    ];
    // Of 30,087 less 3,000 one person has 30,000.
    assert!(
        blocked(&people(50), &queries)
            .is_some_and(|words| words.ends_with("one or two units have nearly all"))
    );
    // Sixty people with twice as much, and one of four sums missing.
    assert_eq!(blocked(&people(100), &queries), None);
    assert_eq!(blocked(&people(50), &queries[1..]), None);
}

#[test]
fn a_sum_of_nothing_that_a_group_was_left_out_for_does_not_follow_from_other_sums() {
    // Thirty people have a plan of which so many have something.
    let people = |some: usize| {
        let mut text = "person,plan,site,x,y\n".to_owned();
        for person in 0..150 {
            let x = if person < 30 - some { 0 } else { 5 };
            let (plan, site) =
                (["it's", "free", "\"a,b\"", "free", "\"a,b\""][person / 30], ["far", "near"][person % 2]);
            text += &format!("p{person},{plan},{site},{x},1\n");
        }
        text
    };
    let by = |group: &str| query(&[group], &[(QueryFunction::Sum, "x")]);
    let words = "together with job-0 it tells a sum of which one or two units have nearly all";
    assert_eq!(blocked(&people(0), &[by("plan"), summed("x")]).as_deref(), Some(words));
    assert_eq!(blocked(&people(0), &[summed("x"), by("plan")]).as_deref(), Some(words));
    // A median of the same column makes no difference.
    let median = query(&[], &[(QueryFunction::Quantile(50), "x")]);
    assert!(blocked(&people(0), &[median.clone(), summed("x"), by("plan")]).is_some());
    // They are in each sum, and no sum is theirs.
    assert_eq!(blocked(&people(0), &[median.clone(), by("site"), summed("x")]), None);
    // Where enough of them have something their plan is told itself.
    assert_eq!(blocked(&people(15), &[median, by("plan"), summed("x")]), None);
}

#[test]
fn sums_by_two_categories_are_told_after_one_another_though_a_person_has_much() {
    let by = |groups: &[&str]| query(groups, &[(QueryFunction::Sum, "x")]);
    assert_eq!(blocked(&with_one(700), &[summed("x"), by(&["site"])]), None);
    assert_eq!(
        blocked(&with_one(100), &[summed("x"), by(&["site"]), by(&["plan"]), by(&["plan", "site"])]),
        None
    );
}

#[test]
fn a_sum_and_a_mean_that_count_the_rows_of_one_person_are_blocked_and_those_of_many_are_not() {
    // Thirty people have one row each at the far site, and one has so many more; a hundred have twenty each at the near one.
    let people = |more: usize| {
        let rows: String = (0..30).map(|person| format!("p{person},free,far,{},1\n", person + 1)).collect();
        let near: String = (0..100).map(|person| format!("n{person},free,near,5,1\n").repeat(20)).collect();
        "person,plan,site,x,y\n".to_owned() + &rows + &near + &"p7,free,far,0,1\n".repeat(more)
    };
    let by_site = query(&["site"], &[(QueryFunction::Sum, "x")]);
    let mean = query(&[], &[(QueryFunction::Mean, "x")]);
    let at = |site: &str| filtered(mean.clone(), among("site", &[site]));
    // How many rows all and those at the near site have follows, and so how many are left.
    let words = blocked(&people(1000), &[mean.clone(), at("near"), by_site.clone()]).unwrap();
    assert!(
        words.ends_with("it tells how many rows there are, of which one or two units have nearly all"),
        "{words}"
    );
    assert!(blocked(&people(1000), &[by_site.clone(), at("near"), mean.clone()]).is_some());
    assert_eq!(blocked(&people(10), &[by_site.clone(), at("near"), mean.clone()]), None);
    // The mean of those rows themselves is not told: it tells nothing of the sum's.
    assert_eq!(blocked(&people(1000), &[at("far"), by_site.clone()]), None);
    // Two sums, or two means, count no rows.
    assert_eq!(blocked(&people(1000), &[summed("x"), by_site]), None);
    assert_eq!(blocked(&people(1000), &[mean.clone(), at("near")]), None);
}

/// A catalogue with so many plans and sites, and so many people, who are anywhere and have something between 50 and 150.
fn by_chance(plans: u64, sites: u64, people: usize) -> (Catalogue, String) {
    let mut catalogue = catalogue();
    if let CatalogueEntry::Dataset { tables, .. } = &mut catalogue.entry {
        tables[0].columns[1].categories = (10..10 + plans).map(|plan| format!("plan-{plan}")).collect();
        tables[0].columns[2].categories = (10..10 + sites).map(|site| format!("site-{site}")).collect();
    }
    let (mut random, mut text) = (Random(17), "person,plan,site,x,y\n".to_owned());
    for person in 0..people {
        let [plan, site, x] = [random.below(plans) + 10, random.below(sites) + 10, random.below(100) + 50];
        text += &format!("p{person},plan-{plan},site-{site},{x},1\n");
    }
    (catalogue, text)
}

#[test]
fn margins_of_ten_by_ten_groups_of_five_hundred_people_are_told_after_one_another() {
    let (catalogue, text) = by_chance(10, 10, 500);
    for values in [&[][..], &[(QueryFunction::Sum, "x")]] {
        let [plan, site] = ["plan", "site"].map(|group| query(&[group], values));
        let plans = ["plan-10", "plan-11", "plan-12"];
        assert_eq!(blocked_in(&catalogue, &text, &[site.clone(), plan.clone()]), None);
        // Three plans at all sites but one: the rest is of a few at that one.
        let some = |sites: &[&str]| {
            filtered(query(&["plan"], values), all(&[among("plan", &plans), among("site", sites)]))
        };
        let sites: Vec<String> = (11..20).map(|site| format!("site-{site}")).collect();
        let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
        let words = blocked_in(&catalogue, &text, &[site, plan, some(&sites)]).unwrap();
        assert!(
            words.starts_with("together with job-1 it tells something of fewer than 10 units"),
            "{words}"
        );
    }
}
