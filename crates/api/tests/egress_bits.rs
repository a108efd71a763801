//! Everything that reaches a researcher before a release is marked with the bits that a job can say through it.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(api::DESCRIPTORS).unwrap()
}

/// The mark of a field, None if it carries none.
fn egress_bits(pool: &DescriptorPool, field: &FieldDescriptor) -> Option<u64> {
    let mark = pool.get_extension_by_name("databox.v1.egress_bits").unwrap();
    let options = field.options();
    options.has_extension(&mark).then(|| u64::from(options.get_extension(&mark).as_u32().unwrap()))
}

/// Every message that one of these services answers with, and all messages in them.
fn answered(pool: &DescriptorPool, services: &[&str]) -> Vec<MessageDescriptor> {
    let mut waiting: Vec<_> = services
        .iter()
        .flat_map(|service| pool.get_service_by_name(service).unwrap().methods().collect::<Vec<_>>())
        .map(|method| method.output())
        .collect();
    let mut seen = BTreeSet::new();
    let mut messages = Vec::new();
    while let Some(message) = waiting.pop() {
        // A timestamp is marked where it is used.
        if message.full_name() == "google.protobuf.Timestamp" || !seen.insert(message.full_name().to_owned())
        {
            continue;
        }
        waiting.extend(message.fields().filter_map(|field| field.kind().as_message().cloned()));
        messages.push(message);
    }
    messages
}

const BEFORE_A_RELEASE: [&str; 3] =
    ["databox.v1.DataService", "databox.v1.BundleService", "databox.v1.JobService"];

#[test]
fn no_field_that_reaches_a_researcher_before_a_release_is_unmarked() {
    let pool = pool();
    let messages = answered(&pool, &BEFORE_A_RELEASE);
    assert!(messages.iter().any(|message| message.full_name() == "databox.v1.Outcome"));
    for field in messages.iter().flat_map(MessageDescriptor::fields) {
        assert!(egress_bits(&pool, &field).is_some(), "{} has no egress_bits", field.full_name());
        assert!(field.kind() != Kind::Double && field.kind() != Kind::Float, "{}", field.full_name());
    }
}

#[test]
fn what_a_run_is_charged_is_the_sum_over_its_outcome_and_no_other_field_says_anything() {
    let pool = pool();
    let sum = |message: &MessageDescriptor| -> u64 {
        message.fields().map(|field| egress_bits(&pool, &field).unwrap()).sum()
    };
    // Of each an answer holds one at most, so that what they say adds up.
    let charged = ["databox.v1.Outcome", "databox.v1.Failure", "databox.v1.Use"];
    let total: u64 = charged.iter().map(|name| sum(&pool.get_message_by_name(name).unwrap())).sum();
    assert_eq!(total, lifecycle::ANSWER_BITS);
    let outcome = pool.get_message_by_name(charged[0]).unwrap();
    for name in &charged[1..] {
        let holding: Vec<_> = outcome
            .fields()
            .filter(|field| field.kind().as_message().is_some_and(|held| held.full_name() == *name))
            .collect();
        assert!(holding.len() == 1 && !holding[0].is_list(), "{name}");
    }
    for message in answered(&pool, &BEFORE_A_RELEASE) {
        if !charged.contains(&message.full_name()) {
            assert_eq!(sum(&message), 0, "{}", message.full_name());
        }
    }
}

#[test]
fn each_closed_list_fits_the_bits_that_its_field_is_marked_with() {
    let pool = pool();
    let outcome = pool.get_message_by_name("databox.v1.Outcome").unwrap();
    let bits = |field: &str| egress_bits(&pool, &outcome.get_field_by_name(field).unwrap()).unwrap();
    let reasons = pool.get_enum_by_name("databox.v1.Reason").unwrap().values().len() as u64;
    assert!(reasons <= 1 << bits("reason"));
    // None of them is an answer too.
    assert!((release::rule::Rule::ALL.len() as u64) < 1 << bits("rule"));
    assert!(u64::from(api::Transition::OUTPUTS) < 1 << bits("file"));
    let bits = |message: &str, field: &str| {
        let message = pool.get_message_by_name(&format!("databox.v1.{message}")).unwrap();
        egress_bits(&pool, &message.get_field_by_name(field).unwrap()).unwrap()
    };
    let classes = pool.get_enum_by_name("databox.v1.FailureClass").unwrap().values().len() as u64;
    assert!(classes <= 1 << bits("Failure", "class"));
    assert!(u64::from(api::Failure::FILES) < 1 << bits("Failure", "file"));
    assert!(u64::from(api::Failure::LINES) < 1 << bits("Failure", "line"));
    for field in ["memory", "output"] {
        assert!(u64::from(api::Use::MOST) < 1 << bits("Use", field));
    }
}
