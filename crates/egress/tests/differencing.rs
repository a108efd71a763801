//! Tables of different jobs, by their counts before rounding.

mod support;

use egress::{
    Compared, EarlierTable, InMemory, Judgement, compare, earlier_counts_file, earlier_table_file,
    own_counts_file,
};
use release::rule::Rule;
use release::statement::{Catalogue, CatalogueEntry, Column, RuleResult, ValueType};
use support::{STANDARD, catalogue_with, form, name, result, task};

const BY_PLAN: &str = r#"{"kind":"table","path":"by_plan.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"}],"countColumn":"n"}"#;
const BY_HEALTH: &str = r#"{"kind":"table","path":"by_health.csv","columns":[
    {"name":"health","type":"category:hie.health"},{"name":"plan","type":"category:hie.plan"},
    {"name":"n","type":"integer"}],"countColumn":"n"}"#;
const ALL: &str =
    r#"{"kind":"table","path":"all.csv","columns":[{"name":"n","type":"integer"}],"countColumn":"n"}"#;
const BY_AGE: &str = r#"{"kind":"table","path":"by_age.csv","columns":[
    {"name":"age","type":"integer"},{"name":"n","type":"integer"}],"countColumn":"n"}"#;

/// `hie` with the categories `plan` and `region` (three each) and `health` (two).
fn catalogue() -> Catalogue {
    let mut catalogue = catalogue_with(&["free", "individual", "other"]);
    if let CatalogueEntry::Dataset { tables, .. } = &mut catalogue.entry {
        tables[0].columns.push(Column {
            name: name("health"),
            value_type: ValueType::Category,
            categories: vec!["good".to_owned(), "poor".to_owned()],
        });
        tables[0].columns.push(Column {
            name: name("region"),
            value_type: ValueType::Category,
            categories: ["north", "south", "unknown"].map(str::to_owned).into(),
        });
    }
    catalogue
}

/// A table that a job wrote of a snapshot.
#[derive(Clone, Copy)]
struct Wrote(&'static str, &'static str, &'static str);

/// What comes of a table after these, each judged as the box does.
fn compared(earlier: &[Wrote], own: &[Wrote]) -> Judgement {
    let canonical = |wrote: &Wrote| {
        let mut task = task(&[wrote.0]);
        task.catalogue = vec![catalogue()];
        let path = task.outputs[0].path().clone();
        let (judgement, mut sink) = form(&task, &[(path.as_str(), wrote.2.as_bytes())]);
        let (_, counts) = judgement.counts.into_iter().next().expect("counts");
        (task.outputs.remove(0), sink.0.remove(&path).expect("a form"), counts)
    };
    let (mut sealed, mut others) = (InMemory::default(), InMemory::default());
    let (mut outputs, mut tables) = (Vec::new(), Vec::new());
    for (index, wrote) in own.iter().enumerate() {
        let (output, bytes, counts) = canonical(wrote);
        sealed.0.insert(output.path().clone(), bytes);
        others.0.insert(own_counts_file(index), counts);
        outputs.push(output);
    }
    for (index, wrote) in earlier.iter().enumerate() {
        let (output, bytes, counts) = canonical(wrote);
        others.0.insert(earlier_table_file(index), bytes);
        others.0.insert(earlier_counts_file(index), counts);
        tables.push(EarlierTable { of: format!("job {index}"), output, snapshot: wrote.1.to_owned() });
    }
    let compared = Compared {
        policy: STANDARD.to_owned(),
        outputs,
        catalogue: vec![catalogue()],
        snapshot: own[0].1.to_owned(),
        earlier: tables,
    };
    let compared = Compared::from_json(&compared.to_json()).unwrap();
    compare(&compared, &mut sealed, &mut others).unwrap()
}

fn outcome(earlier: &[Wrote], own: &[Wrote]) -> RuleResult {
    result(&compared(earlier, own), Rule::TableDifferencing)
}

fn finding(earlier: &[Wrote], own: &[Wrote]) -> String {
    let judgement = compared(earlier, own);
    assert_eq!(result(&judgement, Rule::TableDifferencing), RuleResult::Blocked);
    judgement.files.iter().flat_map(|file| &file.findings).map(|found| found.detail.clone()).collect()
}

const FIRST: Wrote = Wrote(BY_PLAN, "one", "plan,n\nfree,100\nindividual,80\nother,60\n");

#[test]
fn the_same_table_with_one_unit_fewer_is_blocked_though_both_are_rounded_alike_and_names_the_other() {
    let fewer = Wrote(BY_PLAN, "one", "plan,n\nfree,99\nindividual,80\nother,60\n");
    let told = finding(&[FIRST], &[fewer]);
    assert!(told.contains("\"free\"") && told.contains("by_plan.csv of job 0"), "{told}");
    assert_eq!(outcome(&[fewer], &[FIRST]), RuleResult::Blocked, "one more is the same");
    let innocent = [
        ("the same table again", "plan,n\nfree,100\nindividual,80\nother,60\n"),
        ("a group that differs by as many as may stand alone", "plan,n\nfree,90\nindividual,80\nother,60\n"),
        ("another group altogether", "plan,n\nfree,40\nindividual,20\nother,10\n"),
    ];
    for (what, text) in innocent {
        assert_eq!(outcome(&[FIRST], &[Wrote(BY_PLAN, "one", text)]), RuleResult::Passed, "{what}");
    }
}

#[test]
fn a_chart_is_compared_like_the_table_of_its_values() {
    const CHART: &str = r#"{"kind":"figure","path":"chart.json","columns":[
        {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"}],"countColumn":"n"}"#;
    const FEWER: &str = r#"{"mark":"bar","encoding":{"x":{"field":"plan","type":"nominal"}},"data":{"values":[
        {"plan":"free","n":99},{"plan":"individual","n":80},{"plan":"other","n":60}]}}"#;
    const OTHERS: &str = r#"{"mark":"bar","encoding":{"x":{"field":"plan","type":"nominal"}},"data":{"values":[
        {"plan":"free","n":40},{"plan":"individual","n":20},{"plan":"other","n":15}]}}"#;
    let (fewer, others) = (Wrote(CHART, "one", FEWER), Wrote(CHART, "one", OTHERS));
    assert!(finding(&[FIRST], &[fewer]).contains("by_plan.csv of job 0"));
    assert!(finding(&[fewer], &[FIRST]).contains("chart.json of job 0"));
    assert_eq!(outcome(&[FIRST], &[others]), RuleResult::Passed);
    assert_eq!(outcome(&[others], &[FIRST]), RuleResult::Passed);
}

#[test]
fn a_snapshot_with_one_person_more_is_compared_with_the_one_before() {
    let later = Wrote(BY_PLAN, "two", "plan,n\nfree,101\nindividual,80\nother,60\n");
    assert!(finding(&[FIRST], &[later]).contains("\"free\""));
    let much_later = Wrote(BY_PLAN, "two", "plan,n\nfree,130\nindividual,80\nother,60\n");
    assert_eq!(outcome(&[FIRST], &[much_later]), RuleResult::Passed);
}

#[test]
fn finer_groups_that_leave_a_few_out_of_a_coarser_one_are_blocked() {
    let finer = |poor: &'static str| Wrote(BY_HEALTH, "one", poor);
    let missing = finer("health,plan,n\ngood,free,70\npoor,free,27\n");
    assert!(finding(&[FIRST], &[missing]).contains("\"free\""));
    // The same rows the other way round: the total comes after its parts.
    assert!(finding(&[missing], &[FIRST]).contains("by_health.csv of job 0"));
    let whole = finer("health,plan,n\ngood,free,70\npoor,free,30\n");
    assert_eq!(outcome(&[FIRST], &[whole]), RuleResult::Passed);
    let left_out = finer("health,plan,n\ngood,free,92\n");
    assert!(finding(&[FIRST], &[left_out]).contains("\"free\""), "eight are left");
    let many_left_out = finer("health,plan,n\ngood,free,50\n");
    assert_eq!(outcome(&[FIRST], &[many_left_out]), RuleResult::Passed);
}

#[test]
fn rows_of_several_jobs_that_leave_a_few_of_a_total_are_blocked_together() {
    let total = Wrote(ALL, "one", "n\n240\n");
    let free = Wrote(BY_PLAN, "one", "plan,n\nfree,150\n");
    let individual = Wrote(BY_PLAN, "one", "plan,n\nindividual,83\n");
    // Each pair leaves many; the three leave seven.
    for (earlier, own) in [
        (&[total, free][..], individual),
        (&[free, total], individual),
        (&[individual, free], total),
        (&[total, individual], free),
    ] {
        assert_eq!(outcome(earlier, &[own]), RuleResult::Blocked);
    }
    let fewer = Wrote(BY_PLAN, "one", "plan,n\nindividual,60\n");
    assert_eq!(outcome(&[total, free], &[fewer]), RuleResult::Passed, "thirty are left");
    // Of another snapshot the rows are those of others.
    let elsewhere = Wrote(BY_PLAN, "two", "plan,n\nfree,150\n");
    assert_eq!(outcome(&[total, elsewhere], &[individual]), RuleResult::Passed);
}

#[test]
fn a_table_of_other_people_hides_nothing_that_the_rows_of_several_jobs_tell_together() {
    let total = Wrote(ALL, "hie A", "n\n240\n");
    let free = Wrote(BY_PLAN, "hie A", "plan,n\nfree,150\n");
    let decoy = Wrote(BY_PLAN, "hie A", "plan,n\nfree,40\nother,30\n");
    let individual = Wrote(BY_PLAN, "hie A", "plan,n\nindividual,83\n");
    assert_ne!(outcome(&[total, free], &[decoy]), RuleResult::Blocked, "it is of others");
    for earlier in [[total, free, decoy], [decoy, free, total], [decoy, total, free]] {
        assert_eq!(outcome(&earlier, &[individual]), RuleResult::Blocked);
    }
    let sixty = Wrote(BY_PLAN, "hie A", "plan,n\nindividual,60\n");
    assert_ne!(outcome(&[total, free, decoy], &[sixty]), RuleResult::Blocked, "thirty are left");
    // A dataset beside it in the request changes nothing of the one that both have.
    let with_another = Wrote(BY_PLAN, "hie A\nx B", "plan,n\nindividual,83\n");
    assert_eq!(outcome(&[total, free], &[with_another]), RuleResult::Blocked);
    let newer = Wrote(BY_PLAN, "hie B\nx B", "plan,n\nindividual,83\n");
    assert_ne!(outcome(&[total, free], &[newer]), RuleResult::Blocked);
}

#[test]
fn tables_of_different_people_that_happen_to_be_close_in_one_group_are_shown_to_the_stewards() {
    let men = Wrote(BY_PLAN, "one", "plan,n\nfree,50\nindividual,80\nother,60\n");
    let women = Wrote(BY_PLAN, "one", "plan,n\nfree,47\nindividual,40\nother,95\n");
    let judgement = compared(&[men], &[women]);
    assert_eq!(result(&judgement, Rule::TableDifferencing), RuleResult::Noted);
    let told = &judgement.files[0].findings[0].detail;
    assert!(told.contains("\"free\"") && told.contains("by_plan.csv of job 0"), "{told}");
    assert!(told.contains("other people") && !told.contains("47") && !told.contains("50"), "{told}");
    let far = Wrote(BY_PLAN, "one", "plan,n\nfree,90\nindividual,40\nother,95\n");
    assert_eq!(outcome(&[men], &[far]), RuleResult::Passed);
}

#[test]
fn sums_that_differ_by_few_where_both_tables_leave_rows_out_are_shown_to_the_stewards() {
    const BY_HEALTH_ALONE: &str = r#"{"kind":"table","path":"by_health.csv","columns":[
        {"name":"health","type":"category:hie.health"},{"name":"plan","type":"category:hie.plan"},
        {"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let one = Wrote(BY_HEALTH_ALONE, "one", "health,plan,n\ngood,free,70\n");
    let other = Wrote(BY_HEALTH, "one", "health,plan,n\npoor,free,69\n");
    // By plan and health no row is the same; summed over health by nobody, since the categories are the same.
    assert_eq!(outcome(&[one], &[other]), RuleResult::Passed);
    const BY_REGION: &str = r#"{"kind":"table","path":"by_region.csv","columns":[
        {"name":"plan","type":"category:hie.plan"},{"name":"region","type":"category:hie.region"},
        {"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let regions = |text: &'static str| Wrote(BY_REGION, "one", text);
    let near = regions("plan,region,n\nfree,north,40\nfree,south,29\n");
    assert_eq!(outcome(&[one], &[near]), RuleResult::Noted, "69 against 70, and neither has all rows");
    let far = regions("plan,region,n\nfree,north,40\nfree,south,50\n");
    assert_eq!(outcome(&[one], &[far]), RuleResult::Passed);
}

#[test]
fn a_row_of_nobody_that_another_table_left_out_is_not_told_by_subtraction() {
    let zeros = BY_PLAN.replace(r#""countColumn":"n""#, r#""countColumn":"n","structuralZeros":[["other"]]"#);
    let earlier = Wrote(BY_PLAN, "one", "plan,n\nfree,100\nindividual,80\n");
    let own = Wrote(zeros.leak(), "one", "plan,n\nfree,150\nindividual,130\nother,0\n");
    assert_eq!(outcome(&[earlier], &[own]), RuleResult::Passed);
}

#[test]
fn two_tables_of_one_job_that_differ_by_one_unit_are_blocked() {
    let twice = BY_PLAN.replace("by_plan", "again");
    let again: &'static str = twice.leak();
    let fewer = Wrote(again, "one", "plan,n\nfree,99\nindividual,80\nother,60\n");
    assert!(finding(&[], &[FIRST, fewer]).contains("of this job"));
    let same = Wrote(again, "one", "plan,n\nfree,100\nindividual,80\nother,60\n");
    assert_eq!(outcome(&[], &[FIRST, same]), RuleResult::Passed);
}

#[test]
fn the_first_table_is_compared_with_nothing_and_passes_and_one_without_categories_is_noted() {
    assert_eq!(outcome(&[], &[FIRST]), RuleResult::Passed);
    let by_age = Wrote(BY_AGE, "one", "age,n\n18,40\n19,50\n");
    assert_eq!(outcome(&[FIRST], &[by_age]), RuleResult::Noted);
}

#[test]
fn counts_that_are_not_those_of_the_table_are_blocked() {
    let outputs = task(&[BY_PLAN]).outputs;
    let compared = |counts: &[u64]| {
        let table = (outputs[0].path().clone(), b"plan,n\nfree,100\nindividual,80\n".to_vec());
        let counts: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        let compared = Compared {
            policy: STANDARD.to_owned(),
            outputs: outputs.clone(),
            catalogue: vec![catalogue()],
            snapshot: String::new(),
            earlier: Vec::new(),
        };
        let mut others = InMemory::new([(own_counts_file(0), counts)]);
        let judged = compare(&compared, &mut InMemory::new([table]), &mut others).unwrap();
        result(&judged, Rule::TableDifferencing)
    };
    assert_eq!(compared(&[98, 82]), RuleResult::Passed);
    for wrong in [&[103, 82][..], &[98], &[98, 82, 50], &[]] {
        assert_eq!(compared(wrong), RuleResult::Blocked, "{wrong:?}");
    }
}

#[test]
fn an_earlier_table_that_is_not_there_ends_the_comparison() {
    let outputs = task(&[BY_PLAN]).outputs;
    let earlier = EarlierTable { of: "job".to_owned(), output: outputs[0].clone(), snapshot: String::new() };
    let compared = Compared {
        policy: STANDARD.to_owned(),
        outputs: Vec::new(),
        catalogue: vec![catalogue()],
        snapshot: String::new(),
        earlier: vec![earlier],
    };
    assert!(compare(&compared, &mut InMemory::default(), &mut InMemory::default()).is_err());
}

/// No pair of tables of the same people passes of which one tells how many of a small group stand in the other: every
/// pair of a table by plan and one by health and plan, over made-up people, against counting them.
#[test]
fn no_pair_passes_that_isolates_few_units_of_a_common_group() {
    let mut numbers = support::Numbers(5);
    let (mut blocked, mut passed) = (0, 0);
    for _ in 0..300 {
        let parts = [[30 + numbers.below(9), 20 + numbers.below(9)], [25, 31]];
        let dropped = numbers.below(16);
        let free: usize = parts[0].iter().sum();
        let individual: usize = parts[1].iter().sum();
        let coarse = format!("plan,n\nfree,{free}\nindividual,{individual}\nother,40\n");
        let fine = format!(
            "health,plan,n\ngood,free,{}\npoor,free,{}\ngood,individual,25\npoor,individual,31\n",
            parts[0][0] - dropped,
            parts[0][1]
        );
        let (coarse, fine) = (Wrote(BY_PLAN, "one", coarse.leak()), Wrote(BY_HEALTH, "one", fine.leak()));
        let isolates = (1..10).contains(&dropped);
        let expected = if isolates { RuleResult::Blocked } else { RuleResult::Passed };
        assert_eq!(outcome(&[coarse], &[fine]), expected, "{dropped}");
        if isolates { blocked += 1 } else { passed += 1 }
    }
    assert!(blocked > 50 && passed > 50, "{blocked} {passed}");
}
