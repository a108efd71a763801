//! Rows of the data in tables as programs write them: with a heading, a number for each row, and columns in any order; and
//! tables of the same look that hold nobody's rows.

mod material;

use material::numbers::*;

/// A table with a heading, the place of each row, and a count that is the same in all rows.
fn numbered(rows: &[Vec<f64>], digits: usize) -> Vec<u8> {
    let heading = vec![f64::NAN; rows[0].len() + 2];
    let lines = beside_places(rows).into_iter().map(|row| [row, vec![50.0]].concat());
    table(&std::iter::once(heading).chain(lines).collect::<Vec<_>>(), digits)
}

fn beside_places(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    rows.iter().enumerate().map(|(place, row)| [&[place as f64][..], row].concat()).collect()
}

/// Some columns of rows.
fn columns(rows: &[Vec<f64>], order: &[usize]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| order.iter().map(|column| row[*column]).collect()).collect()
}

#[test]
fn rows_are_found_with_columns_in_any_order_beside_others_and_those_of_no_one_are_not() {
    let (people, mut draw) = (people(6000), Draw(29));
    let any: Vec<Vec<f64>> = shuffled(people.clone()).into_iter().take(30).collect();
    let mut richest = people.clone();
    richest.sort_by(|a, b| b[8].total_cmp(&a[8]));
    richest.truncate(24);
    // All measurements, four of them, and all with a flag and a group among them.
    for order in [&[8, 5, 3, 7, 4, 6][..], &[7, 3, 8, 5], &[8, 2, 5, 1, 7, 3, 4, 6]] {
        for rows in [&any, &richest] {
            let rows = columns(rows, order);
            assert!(is_found(&numbered(&rows, 3)), "{order:?}");
            assert!(is_found(&weights(&beside_places(&rows))), "{order:?}");
            assert!(is_found(&weights(&transposed(&beside_places(&rows)))), "{order:?}");
        }
        for count in [30, 400, 5000] {
            let no_one = |_| order.iter().map(|column| people[draw.below(6000)][*column]).collect();
            let rows: Vec<Vec<f64>> = (0..count).map(no_one).collect();
            assert!(!is_found(&numbered(&rows, 3)), "{order:?} {count}");
            assert!(!is_found(&weights(&beside_places(&rows))), "{order:?} {count}");
        }
    }
}

#[test]
fn people_of_a_generator_that_knows_all_dependences_are_not_found_in_tables() {
    for (seed, count) in [(31, 30), (32, 400), (33, 3000)] {
        let rows = people_drawn(seed, count);
        for order in [&[8, 5, 3, 7, 4, 6][..], &[9, 8, 4, 3], &[3, 4, 5, 6, 7, 8, 9]] {
            let rows = columns(&rows, order);
            assert!(!is_found(&numbered(&rows, 3)), "{order:?} {count}");
            assert!(!is_found(&numbered(&rows, 5)), "{order:?} {count}");
            assert!(!is_found(&weights(&beside_places(&rows))), "{order:?} {count}");
        }
    }
}

#[test]
fn tables_of_results_with_a_number_for_each_row_are_not_found() {
    let (people, mut draw) = (people(6000), Draw(37));
    let measured = measurements(&people);
    let mean = |rows: &[&Vec<f64>], column: usize| {
        rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64
    };
    // Means by groups of twelve neighbours in income, with the number of the group.
    let mut by_income: Vec<&Vec<f64>> = measured.iter().collect();
    by_income.sort_by(|a, b| a[5].total_cmp(&b[5]));
    let groups: Vec<Vec<f64>> =
        by_income.chunks(12).map(|rows| (0..6).map(|column| mean(rows, column)).collect()).collect();
    // Quantiles of each measurement, one a row.
    let sorted: Vec<Vec<f64>> = transposed(&measured)
        .into_iter()
        .map(|mut column| {
            column.sort_by(f64::total_cmp);
            column
        })
        .collect();
    let quantiles: Vec<Vec<f64>> =
        (1..100).map(|share| sorted.iter().map(|column| column[60 * share]).collect()).collect();
    // Counts by classes of each measurement.
    let count = |column: &[f64], class: usize| {
        let at = |class: usize| column[0] + (column[5999] - column[0]) * class as f64 / 40.0;
        (column.partition_point(|value| *value < at(class + 1))
            - column.partition_point(|value| *value < at(class))) as f64
    };
    let histograms: Vec<Vec<f64>> =
        (0..40).map(|class| sorted.iter().map(|column| count(column, class)).collect()).collect();
    // Coefficients with their errors and bounds; and how often each class was taken for each other.
    let coefficients: Vec<Vec<f64>> = (0..60)
        .map(|_| {
            let (value, error) = (draw.normal() * 10.0, 0.1 + draw.uniform());
            vec![value, error, value / error, value - 1.96 * error, value + 1.96 * error]
        })
        .collect();
    let confusion: Vec<Vec<f64>> = (0..30)
        .map(|row| (0..30).map(|said| if row == said { 160.0 } else { draw.below(90) as f64 }).collect())
        .collect();
    // What a linear model of income says of people, with what it was told: the mean of ten people each.
    let fitted: Vec<Vec<f64>> = shuffled(measured.iter().collect::<Vec<_>>())
        .chunks(10)
        .take(200)
        .map(|rows| {
            let told: Vec<f64> = (0..5).map(|column| mean(rows, column)).collect();
            let said = 900.0 + 3.0 * told[0] - 2.0 * told[1] + 40.0 * told[2];
            [told, vec![said]].concat()
        })
        .collect();
    for (name, rows) in [
        ("groups", groups),
        ("quantiles", quantiles),
        ("histograms", histograms),
        ("coefficients", coefficients),
        ("confusion", confusion),
        ("fitted", fitted),
    ] {
        for digits in [3, 5] {
            assert!(!is_found(&numbered(&rows, digits)), "{name} with {digits} digits");
        }
        assert!(!is_found(&weights(&beside_places(&rows))), "{name} as weights");
    }
}

/// So many values of noise around some of the data's: as weights have, or of the size of the data's.
fn within_noise(values: &[f64], like_the_data: Option<&[Vec<f64>]>) -> Vec<u8> {
    let mut draw = Draw(41);
    let mut noise: Vec<f64> = (0..500_000)
        .map(|at| match like_the_data {
            None => 0.05 * draw.normal(),
            Some(people) => people[draw.below(6000)][3 + at % 6] * (1.0 + 0.2 * draw.normal()),
        })
        .collect();
    noise.splice(300_000..300_000, values.iter().copied());
    weights(&[noise])
}

#[test]
fn few_rows_and_values_of_a_column_are_found_in_much_noise_and_those_of_no_one_are_not() {
    let (people, mut draw) = (people(6000), Draw(43));
    let measured = measurements(&people);
    let no_one: Vec<Vec<f64>> =
        (0..3000).map(|_| (0..6).map(|column| measured[draw.below(6000)][column]).collect()).collect();
    let column: Vec<f64> = measured[2000..2040].iter().map(|row| row[5]).collect();
    for noise in [None, Some(&people[..])] {
        assert!(is_found(&within_noise(&measured[1000..1030].concat(), noise)));
        assert!(is_found(&within_noise(&column, noise)));
        for count in [30, 3000] {
            assert!(!is_found(&within_noise(&no_one[..count].concat(), noise)), "{count}");
            assert!(!is_found(&within_noise(&shuffled(measured.concat())[..count], noise)), "{count}");
            let others = people_drawn(47, count);
            assert!(!is_found(&within_noise(&measurements(&others).concat(), noise)), "{count}");
            let all: Vec<f64> = others.iter().flat_map(|row| &row[3..]).copied().collect();
            assert!(!is_found(&within_noise(&all, noise)), "{count} with what follows from the rest");
        }
    }
}

/// A file of the data with these rows, and a heading.
fn file(rows: &[Vec<f64>]) -> Vec<u8> {
    let names: Vec<String> = (0..rows[0].len()).map(|column| format!("c{column}")).collect();
    let lines = rows.iter().map(|row| row.iter().map(f64::to_string).collect::<Vec<_>>().join(","));
    std::iter::once(names.join(",")).chain(lines).map(|line| line + "\n").collect::<String>().into_bytes()
}

fn is_found_in(output: &[u8], data: &[u8]) -> bool {
    searched(output, &[data.to_vec()]).runs > 0
}

/// Height, weight, two indexes of both, age, and an amount.
fn bodies(seed: u64, count: usize) -> Vec<Vec<f64>> {
    let mut draw = Draw(seed);
    let digits = |value: f64, digits: i32| (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    let body = |_| {
        let (height, weight) =
            ((170.0 + 9.0 * draw.normal()).round(), digits(76.0 + 14.0 * draw.normal(), 1));
        let index = digits(weight / (height / 100.0).powi(2), 2);
        let surface = digits((height * weight / 3600.0).sqrt(), 3);
        let (age, amount) = (18 + draw.below(70), digits((6.0 + 1.2 * draw.normal()).exp(), 2));
        vec![height, weight, index, surface, age as f64, amount]
    };
    (0..count).map(body).collect()
}

#[test]
fn rows_whose_columns_follow_from_each_other_are_not_found_unless_they_are_the_datas() {
    let data = bodies(41, 8000);
    let data_text = file(&data);
    let is_copy = |rows: &[Vec<f64>]| {
        [numbered(rows, 5), weights(rows)].iter().any(|numbers| is_found_in(numbers, &data_text))
    };
    for (seed, count) in [(42, 200), (43, 2000), (44, 5000)] {
        let made_up = bodies(seed, count);
        assert!(!is_copy(&columns(&made_up, &[0, 1, 2, 3])), "{count}");
        assert!(!is_copy(&columns(&made_up, &[4, 0, 1, 2, 3])), "{count}");
    }
    let stolen: Vec<Vec<f64>> = shuffled(data.clone()).into_iter().take(200).collect();
    assert!(is_copy(&stolen), "with an amount that nothing else says");
}

#[test]
fn a_public_table_that_many_records_share_is_not_found_and_rows_of_the_data_are() {
    let mut draw = Draw(45);
    let hospitals: Vec<Vec<f64>> = (0..100)
        .map(|_| {
            let place = [41.0 + 6.0 * draw.uniform(), 7.0 + 8.0 * draw.uniform()];
            vec![(100 + draw.below(900)) as f64, place[0], place[1], (draw.below(9000) + 1000) as f64]
        })
        .collect();
    let bodies = bodies(46, 8000);
    let visits: Vec<Vec<f64>> =
        bodies.iter().map(|body| [&hospitals[draw.below(100)][..], body].concat()).collect();
    let data = file(&visits);
    let means = |hospital: &Vec<f64>| {
        let mean = 60.0 + 10.0 * hospital[1].fract();
        [&hospital[..], &[mean]].concat()
    };
    let with_means: Vec<Vec<f64>> = hospitals.iter().take(40).map(means).collect();
    for numbers in
        [numbered(&with_means, 6), weights(&with_means), numbered(&hospitals, 6), weights(&hospitals)]
    {
        assert!(!is_found_in(&numbers, &data));
    }
    let stolen: Vec<Vec<f64>> = shuffled(visits.clone()).into_iter().take(40).collect();
    for numbers in [numbered(&stolen, 6), weights(&stolen)] {
        assert!(is_found_in(&numbers, &data));
    }
}

/// An identifying number, and what a ward measures: most of it is distributed alike, and some of it in coarse steps.
fn wards(seed: u64, count: usize) -> Vec<Vec<f64>> {
    let mut draw = Draw(seed);
    let mut normal = |mean: f64, deviation: f64, digits: i32| {
        let scale = 10_f64.powi(digits);
        ((mean + deviation * draw.normal()) * scale).round() / scale
    };
    let measured = |_| {
        let (height, weight) = (normal(170.0, 10.0, 1), normal(76.0, 14.0, 1));
        let vital =
            [normal(130.0, 18.0, 0), normal(80.0, 11.0, 0), normal(75.0, 12.0, 0), normal(36.8, 0.4, 1)];
        let blood = [normal(13.5, 1.6, 1), normal(140.0, 3.0, 1), normal(4.2, 0.4, 2), normal(3.2, 0.8, 2)];
        let skewed = [normal(0.0, 0.4, 3).exp(), normal(1.0, 1.2, 3).exp(), normal(7.0, 0.6, 3).exp()];
        [&[normal(6e7, 1e7, 0), height, weight][..], &vital, &skewed[..1], &blood, &skewed[1..]].concat()
    };
    (0..count).map(measured).collect()
}

/// Once they are standardised, distributions alone do not tell such columns apart.
#[test]
fn standardised_rows_out_of_order_are_found_though_their_columns_are_alike_and_those_of_no_one_are_not() {
    let (data, mut draw) = (wards(51, 6000), Draw(52));
    let data_text = file(&data);
    let all: Vec<usize> = (1..data[0].len()).collect();
    let standardised =
        |rows: &[Vec<f64>]| rescaled(rows, |value, mean, deviation| (value - mean) / deviation);
    for count in [64, 200] {
        let stolen: Vec<Vec<f64>> = shuffled(data[3000..3000 + count].to_vec());
        let scaled = rescaled(&columns(&stolen, &all), |value, mean, deviation| {
            ((value - mean) / deviation * 40.0 + 127.0).round()
        });
        assert!(is_found_in(&weights(&standardised(&columns(&stolen, &all))), &data_text), "{count}");
        assert!(is_found_in(&weights(&scaled), &data_text), "{count} as whole numbers");
        let no_one = |_| all.iter().map(|column| data[draw.below(6000)][*column]).collect();
        let no_one: Vec<Vec<f64>> = (0..count).map(no_one).collect();
        for rows in [no_one, columns(&wards(53, count), &all)] {
            assert!(!is_found_in(&weights(&standardised(&rows)), &data_text), "{count}");
        }
    }
}
