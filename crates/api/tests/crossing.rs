//! What may cross from the enclave, read off each socket's proto: a taken-over enclave holds the data.

use std::collections::BTreeSet;

use api::{Transition, internal};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(api::DESCRIPTORS).unwrap()
}

fn at_most(pool: &DescriptorPool, field: &FieldDescriptor) -> Option<u64> {
    let mark = pool.get_extension_by_name("databox.internal.v1.at_most").unwrap();
    let options = field.options();
    options.has_extension(&mark).then(|| options.get_extension(&mark).as_u64().unwrap())
}

fn is_signed(pool: &DescriptorPool, field: &FieldDescriptor) -> bool {
    let mark = pool.get_extension_by_name("databox.internal.v1.signed_envelope").unwrap();
    field.options().get_extension(&mark).as_bool().unwrap()
}

/// Every field of every message that the enclave can send on its streams.
fn fields_from_the_enclave(pool: &DescriptorPool) -> Vec<FieldDescriptor> {
    let services: Vec<_> = pool
        .services()
        .filter(|service| service.parent_file().package_name() == "databox.internal.v1")
        .collect();
    let names: BTreeSet<_> = services.iter().map(|service| service.name().to_owned()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["ConsoleEnclaveService".to_owned(), "GatewayEnclaveService".to_owned()]),
        "a new socket: say what crosses on it"
    );
    let mut waiting: Vec<MessageDescriptor> = services
        .iter()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|m| m.input())
        .collect();
    let mut seen = BTreeSet::new();
    let mut fields = Vec::new();
    while let Some(message) = waiting.pop() {
        if seen.insert(message.full_name().to_owned()) {
            waiting.extend(message.fields().filter_map(|field| field.kind().as_message().cloned()));
            fields.extend(message.fields());
        }
    }
    fields
}

#[test]
fn from_the_enclave_come_closed_enums_digests_bounded_numbers_and_two_signed_envelopes() {
    let pool = pool();
    let mut envelopes = BTreeSet::new();
    for field in fields_from_the_enclave(&pool) {
        let name = field.full_name().to_owned();
        assert!(!field.is_list() && !field.is_map(), "{name} has no bounded length");
        match field.kind() {
            Kind::Message(_) | Kind::Enum(_) => {}
            Kind::Uint32 | Kind::Uint64 => assert!(at_most(&pool, &field).is_some(), "{name} has no at_most"),
            Kind::Bytes if field.name().ends_with("_sha256") => {}
            Kind::Bytes if is_signed(&pool, &field) => {
                envelopes.insert(name);
            }
            other => panic!("{name}: {other:?} may not cross"),
        }
    }
    let expected = ["CodeReviewReady.request", "VerdictReady.request", "VerdictReady.verdict"]
        .map(|name| format!("databox.internal.v1.{name}"));
    assert_eq!(envelopes, BTreeSet::from(expected));
}

type Set = fn(&mut internal::JobTransition, u64);

#[test]
fn the_bounds_in_the_proto_are_those_that_the_receiver_checks() {
    let pool = pool();
    let message = |name: &str| pool.get_message_by_name(&format!("databox.internal.v1.{name}")).unwrap();
    let good = internal::JobTransition {
        request_sha256: vec![0; 32].into(),
        number: 1,
        state: api::v1::JobState::Running.into(),
        failure: Some(internal::Failure { class: api::v1::FailureClass::Other.into(), ..Default::default() }),
        used: Some(internal::Use::default()),
        ..Default::default()
    };
    let set: [(&str, &str, Set); 10] = [
        ("JobTransition", "number", |wire, value| wire.number = value as u32),
        ("JobTransition", "run", |wire, value| wire.run = value as u32),
        ("JobTransition", "rule", |wire, value| wire.rule = value as u32),
        ("JobTransition", "output", |wire, value| wire.output = value as u32),
        ("JobTransition", "grid_step", |wire, value| wire.grid_step = value),
        ("JobTransition", "denial_reasons", |wire, value| wire.denial_reasons = value as u32),
        ("Failure", "file", |wire, value| wire.failure.as_mut().unwrap().file = value as u32),
        ("Failure", "line", |wire, value| wire.failure.as_mut().unwrap().line = value as u32),
        ("Use", "memory", |wire, value| wire.used.as_mut().unwrap().memory = value as u32),
        ("Use", "output", |wire, value| wire.used.as_mut().unwrap().output = value as u32),
    ];
    let numbers = ["JobTransition", "Failure", "Use"]
        .iter()
        .flat_map(|name| message(name).fields().collect::<Vec<_>>())
        .filter(|field| matches!(field.kind(), Kind::Uint32 | Kind::Uint64))
        .count();
    assert_eq!(numbers, set.len());
    for (of, name, set) in set {
        let bound = at_most(&pool, &message(of).get_field_by_name(name).unwrap()).unwrap();
        for (value, accepted) in [(bound, true), (bound + 1, false)] {
            let mut wire = good.clone();
            set(&mut wire, value);
            assert_eq!(Transition::try_from(wire).is_ok(), accepted, "{of}.{name} = {value}");
        }
    }
}
