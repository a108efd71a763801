//! Numbers of people and outputs that hold some, and a shorter way to search them.

use scan::numeric::{Block, Element, NumericReport, PASS_VALUES, SearchedNumbers, search};

/// A generator that needs no crate (Steele and others, SplitMix64, 2014).
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.uniform() * limit as f64) as usize
    }

    /// Standard normal (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform().max(1e-300), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// People in the shape of a health record: a number, a group, a flag, and measurements that depend on each other.
pub fn people(count: usize) -> Vec<Vec<f64>> {
    people_drawn(1, count)
}

/// Other people of the same kind.
pub fn people_drawn(seed: u64, count: usize) -> Vec<Vec<f64>> {
    let mut draw = Draw(seed);
    let digits = |value: f64, digits: i32| (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    let person = |_| {
        let systolic = (128.0 + 17.0 * draw.normal()).round();
        let income = digits((9.0 + 0.8 * draw.normal()).exp(), 2);
        vec![
            (10_000_000 + draw.below(89_999_999)) as f64,
            draw.below(6) as f64,
            f64::from(draw.uniform() < 0.3),
            systolic,
            (systolic * (0.5 + 0.25 * draw.uniform())).round(),
            digits(6.1 + 1.1 * draw.normal(), 1),
            digits(77.0 + 15.0 * draw.normal(), 1),
            digits(84.0 + 19.0 * draw.normal(), 1),
            income,
            digits(income.ln(), 5),
        ]
    };
    (0..count).map(person).collect()
}

pub fn csv(rows: &[Vec<f64>], separator: &str) -> Vec<u8> {
    let mut text = ["person", "group", "flag", "a", "b", "c", "d", "e", "f", "g"].join(separator) + "\n";
    for row in rows {
        let cells: Vec<String> = row.iter().map(f64::to_string).collect();
        text += &(cells.join(separator) + "\n");
    }
    text.into_bytes()
}

/// Weights as they leave: rounded to bfloat16.
pub fn weights(rows: &[Vec<f64>]) -> Vec<u8> {
    let (count, columns) = (rows.len() as u64, rows[0].len() as u64);
    let mut bytes = Vec::new();
    Block { rows: count, columns, element: Element::Bf16 }.write(&mut bytes).unwrap();
    for value in rows.iter().flatten() {
        let bits = (*value as f32).to_bits();
        bytes.extend((((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes());
    }
    bytes
}

/// A table as it leaves, each value with so many significant digits.
pub fn table(rows: &[Vec<f64>], digits: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    Block { rows: rows.len() as u64, columns: rows[0].len() as u64, element: Element::F64 }
        .write(&mut bytes)
        .unwrap();
    for value in rows.iter().flatten() {
        let rounded: f64 = format!("{value:.*e}", digits - 1).parse().unwrap();
        bytes.extend(rounded.to_le_bytes());
    }
    bytes
}

pub fn searched(output: &[u8], data: &[Vec<u8>]) -> NumericReport {
    search(vec![SearchedNumbers { output: 0, blocks: Box::new(output) }], data, PASS_VALUES).unwrap()
}

pub fn is_found(output: &[u8]) -> bool {
    let report = searched(output, &[csv(&people(6000), ",")]);
    assert_eq!(report.runs > 0, !report.places.is_empty());
    report.runs > 0
}

pub fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).collect()).collect()
}

/// Each column changed by a function of its mean and deviation.
pub fn rescaled(rows: &[Vec<f64>], change: impl Fn(f64, f64, f64) -> f64) -> Vec<Vec<f64>> {
    let columns = transposed(rows);
    let changed = columns.iter().map(|column| {
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let square = column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / column.len() as f64;
        column.iter().map(|value| change(*value, mean, square.sqrt().max(1e-9))).collect()
    });
    transposed(&changed.collect::<Vec<Vec<f64>>>())
}

pub fn measurements(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row[3..9].to_vec()).collect()
}

pub fn shuffled<T>(mut list: Vec<T>) -> Vec<T> {
    let mut draw = Draw(7);
    for at in (1..list.len()).rev() {
        list.swap(at, draw.below(at + 1));
    }
    list
}
