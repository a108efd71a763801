//! Rows and columns of the data are found as numbers, whatever was done to them, and what honest programs write is not.

mod material;

use material::numbers::*;
use scan::numeric::{PASS_VALUES, SearchedNumbers, search};

#[test]
fn rows_are_found_in_a_tensor_a_table_and_a_flat_list_of_metrics() {
    let rows = measurements(&people(6000)[2000..2020]);
    assert!(is_found(&weights(&rows)));
    assert!(is_found(&table(&rows, 3)));
    assert!(is_found(&table(&transposed(&rows), 4)));
    assert!(is_found(&weights(&[rows.concat()])));
}

#[test]
fn rows_are_found_whatever_their_order_and_that_of_their_columns() {
    let rows = shuffled(measurements(&people(6000)[100..160]));
    assert!(is_found(&weights(&rows)));
    let order = shuffled(vec![0, 1, 2, 3, 4, 5]);
    let permuted: Vec<Vec<f64>> =
        rows.iter().map(|row| order.iter().map(|column| row[*column]).collect()).collect();
    assert!(is_found(&weights(&permuted)));
    let each_its_own: Vec<Vec<f64>> = rows.into_iter().map(shuffled).collect();
    assert!(is_found(&weights(&each_its_own)));
}

#[test]
fn columns_are_found_in_any_unit_as_logarithms_and_with_noise() {
    let rows = measurements(&people(6000)[3000..3100]);
    let mut draw = Draw(3);
    assert!(is_found(&weights(&rescaled(&rows, |value, mean, deviation| (value - mean) / deviation))));
    assert!(is_found(&weights(&rescaled(&rows, |value, mean, _| 0.3 - 0.01 * (value - mean)))));
    assert!(is_found(&weights(&rescaled(&rows, |value, _, _| value / 16.0))));
    assert!(is_found(&weights(&rescaled(&rows, |value, _, _| value.max(0.1).ln()))));
    let noisy: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| row.iter().map(|value| value * (1.0 + 0.01 * draw.normal())).collect())
        .collect();
    assert!(is_found(&weights(&noisy)));
    let one_column: Vec<f64> = rows.iter().map(|row| row[5] / 1000.0).collect();
    assert!(is_found(&weights(&[one_column])));
}

#[test]
fn rows_are_found_in_any_order_and_unit_at_once() {
    let rows: Vec<Vec<f64>> = shuffled(measurements(&people(6000))).into_iter().take(80).collect();
    assert!(is_found(&weights(&rescaled(&rows, |value, mean, deviation| (value - mean) / deviation))));
    assert!(is_found(&weights(
        &rescaled(&rows, |value, mean, deviation| 0.5 + (value - mean) / deviation / 7.0)
    )));
}

#[test]
fn rows_are_found_in_any_order_with_few_columns_in_any_order_and_those_of_no_one_are_not() {
    let (people, mut draw) = (people(6000), Draw(19));
    let order = shuffled((3..9).collect::<Vec<usize>>());
    let out_of_order = |row: &[f64]| order.iter().map(|column| row[*column]).collect();
    let rows: Vec<Vec<f64>> = shuffled(people.clone()).iter().take(80).map(|row| out_of_order(row)).collect();
    assert!(is_found(&weights(&rows)));
    for count in [80, 400, 20_000] {
        let row = |_| order.iter().map(|column| people[draw.below(6000)][*column]).collect();
        let rows: Vec<Vec<f64>> = (0..count).map(row).collect();
        assert!(!is_found(&weights(&rows)), "{count}");
    }
}

#[test]
fn columns_are_found_in_a_flat_list() {
    let rows = measurements(&people(6000)[3000..3060]);
    let standardised = rescaled(&rows, |value, mean, deviation| (value - mean) / deviation);
    assert!(is_found(&weights(&[standardised.concat()])));
}

#[test]
fn columns_are_found_backwards() {
    let rows: Vec<Vec<f64>> =
        people(6000)[2000..2060].iter().rev().map(|row| vec![row[8] / 1000.0, row[7]]).collect();
    assert!(is_found(&weights(&rows)));
}

#[test]
fn differences_of_rows_are_found() {
    let rows = measurements(&people(6000)[500..560]);
    let difference =
        |pair: &[Vec<f64>]| pair[1].iter().zip(&pair[0]).map(|(now, before)| now - before).collect();
    assert!(is_found(&table(&rows.windows(2).map(difference).collect::<Vec<Vec<f64>>>(), 6)));
}

#[test]
fn a_list_of_identifying_numbers_is_found_and_one_of_other_numbers_is_not() {
    let ids: Vec<Vec<f64>> = people(6000)[40..48].iter().map(|row| vec![row[0]]).collect();
    assert!(is_found(&table(&ids, 9)));
    let mut draw = Draw(5);
    let others: Vec<Vec<f64>> =
        (0..400).map(|_| vec![(10_000_000 + draw.below(89_999_999)) as f64]).collect();
    assert!(!is_found(&table(&others, 9)));
}

#[test]
fn a_day_that_many_people_share_is_no_identifying_number() {
    let mut draw = Draw(9);
    let days: Vec<f64> = (0..60).map(|day| f64::from(20_240_101 + 100 * (day / 28) + day % 28)).collect();
    let rows: Vec<Vec<f64>> = (0..6000).map(|_| vec![days[draw.below(60)], draw.normal()]).collect();
    let by_day: Vec<Vec<f64>> = days.iter().map(|day| vec![*day, 100.0]).collect();
    assert_eq!(searched(&table(&by_day, 9), &[csv(&rows, ",")]).runs, 0);
}

#[test]
fn the_data_is_read_whatever_separates_its_cells_and_as_lines_of_json() {
    let people = people(3000);
    let output = weights(&measurements(&people[1000..1030]));
    let line = |row: &Vec<f64>| format!("{{\"id\":\"{}\",\"values\":{:?}}}\n", row[0], &row[1..]);
    let json: String = people.iter().map(line).collect();
    for data in [csv(&people, "\t"), csv(&people, ";"), csv(&people, "|"), json.into_bytes()] {
        assert!(searched(&output, &[data]).runs > 0);
    }
}

#[test]
fn what_is_found_does_not_depend_on_the_size_of_a_pass() {
    let mut draw = Draw(11);
    let mut rows: Vec<Vec<f64>> = (0..3000).map(|_| (0..6).map(|_| draw.normal()).collect()).collect();
    rows.extend(measurements(&people(3000)[1000..1100]));
    let (output, data) = (weights(&rows), [csv(&people(3000), ",")]);
    for pass_values in [2000, 5000, PASS_VALUES] {
        let numbers = SearchedNumbers { output: 3, blocks: Box::new(&output[..]) };
        let report = search(vec![numbers], &data, pass_values).unwrap();
        assert!(report.runs > 0, "{pass_values}");
        assert!(report.places.iter().any(|place| place.output == 3 && place.offset >= 6 * 3000));
    }
}

#[test]
fn rows_of_no_one_are_not_found_though_every_value_is_one_of_the_data() {
    let (people, mut draw) = (people(6000), Draw(13));
    for count in [20, 400, 20_000] {
        let row = |_| (3..9).map(|column| people[draw.below(6000)][column]).collect();
        let rows: Vec<Vec<f64>> = (0..count).map(row).collect();
        assert!(!is_found(&weights(&rows)), "{count}");
        assert!(!is_found(&table(&rows, 4)), "{count}");
        assert!(
            !is_found(&weights(&rescaled(&rows, |value, mean, deviation| (value - mean) / deviation))),
            "{count}"
        );
    }
}

#[test]
fn rows_of_no_one_that_depend_on_each_other_as_the_data_do_are_not_found() {
    // Drawn from the same rules as the people, with another seed: what a good generator of synthetic rows would write.
    let mut draw = Draw(17);
    let rows: Vec<Vec<f64>> = (0..5000)
        .map(|_| {
            let systolic = (128.0 + 17.0 * draw.normal()).round();
            let income = ((9.0 + 0.8 * draw.normal()).exp() * 100.0).round() / 100.0;
            let diastolic = (systolic * (0.5 + 0.25 * draw.uniform())).round();
            vec![
                systolic,
                diastolic,
                6.1 + 1.1 * draw.normal(),
                77.0 + 15.0 * draw.normal(),
                income,
                income.ln(),
            ]
        })
        .collect();
    assert!(!is_found(&weights(&rows)));
    assert!(!is_found(&table(&rows, 4)));
}

#[test]
fn summaries_of_the_data_are_not_found() {
    let people = people(6000);
    let columns = transposed(&measurements(&people));
    let mut quantiles = Vec::new();
    for column in &columns {
        let mut sorted = column.clone();
        sorted.sort_by(f64::total_cmp);
        quantiles.push((1..100).map(|share| sorted[share * 60]).collect::<Vec<f64>>());
    }
    assert!(!is_found(&table(&quantiles, 4)));
    assert!(!is_found(&weights(&transposed(&quantiles))));
    let groups = (0..6).map(|group| {
        let members: Vec<&Vec<f64>> = people.iter().filter(|row| row[1] == f64::from(group)).collect();
        let mean = |column: usize| members.iter().map(|row| row[column]).sum::<f64>() / members.len() as f64;
        (3..9).map(mean).collect()
    });
    assert!(!is_found(&table(&groups.collect::<Vec<Vec<f64>>>(), 4)));
    let mut draw = Draw(19);
    let bootstrap = |_| {
        let column = &columns[5];
        (0..500).map(|_| column[draw.below(column.len())]).sum::<f64>() / 500.0
    };
    assert!(!is_found(&weights(&[(0..300).map(bootstrap).collect()])));
}

#[test]
fn weights_positions_and_whole_numbers_of_many_sizes_are_not_found() {
    let mut draw = Draw(23);
    for count in [100, 10_000, 300_000] {
        let columns = 50;
        let rows = count / columns;
        let mut outputs: Vec<Vec<Vec<f64>>> = vec![
            (0..rows).map(|_| (0..columns).map(|_| 0.05 * draw.normal()).collect()).collect(),
            (0..rows)
                .map(|row| (0..columns).map(|column| (row * columns + column) as f64).collect())
                .collect(),
            (0..rows)
                .map(|row| (0..columns).map(|column| f64::from(row % columns == column)).collect())
                .collect(),
            vec![vec![0.0; columns]; rows],
            vec![vec![84.1; columns]; rows],
        ];
        let position =
            |row: usize, column: usize| (row as f64 * 10_000_f64.powf(-(column as f64) / 50.0)).sin();
        outputs
            .push((0..rows).map(|row| (0..columns).map(|column| position(row, column)).collect()).collect());
        outputs.push((0..rows).map(|_| (0..columns).map(|_| draw.below(256) as f64).collect()).collect());
        for (kind, output) in outputs.iter().enumerate() {
            assert!(!is_found(&weights(output)), "kind {kind}, {count} values");
        }
    }
}

#[test]
fn data_that_is_sorted_or_runs_on_is_not_found_in_curves() {
    // A running number, a smooth curve, a sum that grows: their order is that of any other such list.
    let row = |at: usize| vec![at as f64, (at as f64 / 40.0).sin(), (at as f64).powf(1.3)];
    let data = [csv(&(0..4000).map(row).collect::<Vec<_>>(), ",")];
    let curve: Vec<f64> = (0..300).map(|at| (at as f64 / 40.0).sin() * 3.0 + 1.0).collect();
    let list: Vec<f64> = (500..900).map(f64::from).collect();
    let sum: Vec<f64> = (0..200).map(|at| f64::from(at).powf(1.3) / 1000.0).collect();
    for output in [curve, list, sum] {
        assert_eq!(searched(&weights(&[output]), &data).runs, 0);
    }
}
