//! Each part of a release file dropped, doubled, and swapped with that of another true release: none is accepted.

use release::file::{Examination, GivenFiles, Pinned};
use serde_json::Value;
use test_formats::story::{Story, verified_at};

/// What is done to one part.
#[derive(Debug, Clone, Copy)]
enum Mutation {
    Dropped,
    Doubled,
    Swapped,
}

/// Where a part is: keys and indices from the root.
type Place = Vec<String>;

/// Every part below this one: fields of objects and entries of lists.
fn places(value: &Value, at: &Place, found: &mut Vec<Place>) {
    let mut below = |name: String, part: &Value| {
        let place: Place = at.iter().cloned().chain([name]).collect();
        found.push(place.clone());
        places(part, &place, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, part)| below(name.clone(), part)),
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(index, part)| below(index.to_string(), part))
        }
        _ => {}
    }
}

fn part<'a>(value: &'a Value, place: &[String]) -> Option<&'a Value> {
    place.iter().try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(entries) => entries.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The text of a value in which the part at this place was dropped, doubled or swapped. Keys may come twice.
fn text(value: &Value, at: &Place, target: &Place, mutation: Mutation, other: Option<&Value>) -> String {
    let mut parts = Vec::new();
    let mut add = |name: String, key: String, part: &Value| {
        let place: Place = at.iter().cloned().chain([name]).collect();
        let own = format!("{key}{}", text(part, &place, target, mutation, other));
        match (place == *target, mutation) {
            (true, Mutation::Dropped) => {}
            (true, Mutation::Doubled) => parts.extend([own.clone(), own]),
            (true, Mutation::Swapped) => parts.push(format!("{key}{}", other.expect("another part"))),
            (false, _) => parts.push(own),
        }
    };
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, part)| add(name.clone(), format!("{}:", Value::from(name.as_str())), part));
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(index, part)| add(index.to_string(), String::new(), part));
            format!("[{}]", parts.join(","))
        }
        _ => value.to_string(),
    }
}

fn accepted(text: &str, pin: blobs::Digest) -> bool {
    Examination::of(text.as_bytes(), &Pinned::new(pin), verified_at(), GivenFiles::NotGiven).result.is_ok()
}

#[test]
fn no_part_of_a_release_file_can_be_dropped_doubled_or_swapped_with_another_release() {
    let told = Story::default().tell();
    let pin = told.release.roles[0].payload_digest();
    let one: Value = serde_json::from_slice(&told.release.to_bytes()).unwrap();
    let other = Story::default().request(|request| request.job = "another".parse().unwrap()).tell();
    let other: Value = serde_json::from_slice(&other.release.to_bytes()).unwrap();
    assert!(accepted(&one.to_string(), pin) && accepted(&other.to_string(), pin), "both are true releases");

    let mut found = Vec::new();
    places(&one, &Vec::new(), &mut found);
    let mut tried = [0; 3];
    for place in &found {
        for mutation in [Mutation::Dropped, Mutation::Doubled, Mutation::Swapped] {
            let theirs = part(&other, place);
            if matches!(mutation, Mutation::Swapped)
                && theirs.is_none_or(|theirs| Some(theirs) == part(&one, place))
            {
                continue;
            }
            let mutated = text(&one, &Vec::new(), place, mutation, theirs);
            assert!(!accepted(&mutated, pin), "{mutation:?}: {}", place.join("."));
            tried[mutation as usize] += 1;
        }
    }
    println!("dropped, doubled, swapped: {tried:?} parts, none accepted");
    assert!(tried.iter().all(|tried| *tried >= 20), "{tried:?}");
}
