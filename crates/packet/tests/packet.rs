//! What a packet promises: stewards read it, nobody else does, and nobody changes it unseen.

use blobs::Digest;
use packet::key::ReviewSecret;
use packet::{
    Content, DETAILS_LIMIT, PURPOSE_LIMIT, PacketError, RECIPIENT_LIMIT, Recipient, open, recipients, seal,
    sealed_size,
};
use release::report::{DETAIL_LIMIT, OUTPUT_LIMIT, PLACE_LIMIT, Place};
use release::value::Name;

/// Where the count of recipients stands: after magic, binding and commitment.
const COUNT_AT: usize = 8 + 32 + 32;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn binding() -> Digest {
    Digest::of(b"request")
}

fn content() -> Content {
    Content {
        purpose: "Logistic model of any visit on nine attributes — with an ü".into(),
        salt: [7; 32],
        bundle: Digest::of(b"bundle"),
        canonical: vec![
            (name("model.safetensors"), b"weights of one job".repeat(40)),
            (name("empty.csv"), Vec::new()),
        ],
        details: vec![(name("judge"), b"{\"smallest\":3}".to_vec())],
        places: vec![Place { output: 1, view: 3, offset: 70_000, length: 31 }],
    }
}

fn steward(id: &str, secret: &ReviewSecret) -> Recipient {
    Recipient { steward: name(id), key: secret.public() }
}

fn two() -> (ReviewSecret, ReviewSecret) {
    (ReviewSecret::from_bytes([1; 32]), ReviewSecret::from_bytes([2; 32]))
}

fn sealed() -> (Vec<u8>, ReviewSecret, ReviewSecret) {
    let (ada, eve) = two();
    let packet = seal(&[steward("ada", &ada), steward("eve", &eve)], &content(), &binding()).unwrap();
    (packet, ada, eve)
}

#[test]
fn each_steward_reads_the_same_content() {
    let (packet, ada, eve) = sealed();
    assert_eq!(open(&packet, &name("ada"), &ada, &binding()), Ok(content()));
    assert_eq!(open(&packet, &name("eve"), &eve, &binding()), Ok(content()));
    assert_eq!(recipients(&packet), Ok(vec![name("ada"), name("eve")]));
}

#[test]
fn nobody_else_reads_it() {
    let (packet, ada, eve) = sealed();
    assert_eq!(open(&packet, &name("ada"), &eve, &binding()), Err(PacketError::WrongKey));
    assert_eq!(
        open(&packet, &name("bob"), &ada, &binding()),
        Err(PacketError::NotForSteward { steward: name("bob") })
    );
    let clear = |needle: &[u8]| packet.windows(needle.len()).any(|window| window == needle);
    assert!(!clear(b"weights of") && !clear(b"Logistic") && !clear(b"model.safetensors") && !clear(&[7; 8]));
}

#[test]
fn a_packet_of_another_request_is_refused() {
    let (packet, ada, _) = sealed();
    let other = Digest::of(b"another request");
    assert_eq!(open(&packet, &name("ada"), &ada, &other), Err(PacketError::OtherRequest));
    // Rewriting the request in the packet does not help: the wrapping is bound to it.
    let mut rewritten = packet;
    rewritten[8..40].copy_from_slice(other.as_bytes());
    assert_eq!(open(&rewritten, &name("ada"), &ada, &other), Err(PacketError::WrongKey));
}

#[test]
fn a_change_of_any_bit_is_noticed() {
    let (packet, ada, _) = sealed();
    let sealed_at = COUNT_AT + 1 + 2 * (4 + 32 + 48);
    let positions =
        (0..sealed_at + 64).chain((sealed_at + 64..packet.len()).step_by(997)).chain([packet.len() - 1]);
    for position in positions {
        for bit in 0..8 {
            let mut changed = packet.clone();
            changed[position] ^= 1 << bit;
            assert!(open(&changed, &name("ada"), &ada, &binding()).is_err(), "bit {bit} of byte {position}");
        }
    }
}

#[test]
fn each_change_has_its_name() {
    let (packet, ada, _) = sealed();
    let open = |packet: &[u8]| open(packet, &name("ada"), &ada, &binding());
    let flipped = |position: usize| {
        let mut changed = packet.clone();
        changed[position] ^= 1;
        changed
    };
    assert_eq!(open(b""), Err(PacketError::NotAPacket));
    assert_eq!(open(&flipped(7)), Err(PacketError::NotAPacket));
    assert_eq!(open(&flipped(50)), Err(PacketError::WrongKey));
    assert_eq!(open(&flipped(COUNT_AT + 1 + 4 + 5)), Err(PacketError::WrongKey));
    assert_eq!(open(&flipped(packet.len() - 1)), Err(PacketError::ContentChanged));
    assert_eq!(open(&packet[..packet.len() - 1]), Err(PacketError::ContentChanged));
    assert_eq!(open(&packet[..100]), Err(PacketError::Form { part: "encapsulated key" }));
    assert_eq!(open(&[&packet[..], b"x"].concat()), Err(PacketError::ContentChanged));
    // Renaming a recipient: the other one's wrapping is bound to their name, the content to the whole header.
    let mut renamed = packet.clone();
    let eve_at = COUNT_AT + 1 + 4 + 80 + 1;
    assert_eq!(&renamed[eve_at..eve_at + 3], b"eve");
    renamed[eve_at..eve_at + 3].copy_from_slice(b"bob");
    assert_eq!(open(&renamed), Err(PacketError::ContentChanged));
    renamed[eve_at..eve_at + 3].copy_from_slice(b"ada");
    assert_eq!(open(&renamed), Err(PacketError::RecipientTwice { steward: name("ada") }));
}

#[test]
fn the_size_tells_the_canonical_size_and_nothing_else() {
    let (ada, _) = two();
    let seal = |content: &Content| seal(&[steward("ada", &ada)], content, &binding()).unwrap().len() as u64;
    let long = content();
    let mut short = content();
    short.details.clear();
    short.places.clear();
    short.purpose = "p".into();
    assert_eq!(seal(&long), sealed_size(long.canonical_bytes()));
    assert_eq!(seal(&short), seal(&long));
    assert_eq!(sealed_size(0), 64 * 1024);
}

#[test]
fn the_largest_content_fits_and_one_more_of_anything_is_refused_by_name() {
    let long_name = |index: usize| name(&format!("{index:0>128}"));
    let secret = ReviewSecret::from_bytes([1; 32]);
    let stewards: Vec<_> = (0..RECIPIENT_LIMIT)
        .map(|index| Recipient { steward: long_name(index), key: secret.public() })
        .collect();
    let largest = Content {
        purpose: "p".repeat(PURPOSE_LIMIT),
        salt: [0; 32],
        bundle: Digest::of(b""),
        canonical: (0..OUTPUT_LIMIT).map(|index| (long_name(index), vec![1; 100])).collect(),
        details: (0..DETAILS_LIMIT)
            .map(|index| (long_name(index), vec![2; if index < 3 { DETAIL_LIMIT } else { 0 }]))
            .collect(),
        places: vec![Place { output: 0, view: 0, offset: 0, length: 1 }; PLACE_LIMIT],
    };
    let packet = seal(&stewards, &largest, &binding()).unwrap();
    assert_eq!(open(&packet, &long_name(3), &secret, &binding()), Ok(largest.clone()));

    let refused = |change: fn(&mut Content)| {
        let mut content = largest.clone();
        change(&mut content);
        seal(&stewards, &content, &binding()).unwrap_err()
    };
    let too_large = |part| PacketError::ContentTooLarge { part };
    assert_eq!(refused(|content| content.purpose.push('p')), too_large("purpose"));
    assert_eq!(refused(|content| content.details[3].1.push(0)), too_large("details"));
    assert_eq!(refused(|content| content.places.push(Place::default())), too_large("places"));
    assert_eq!(refused(|content| content.canonical.push((name("x"), vec![]))), too_large("canonical files"));
    assert_eq!(
        refused(|content| content.canonical[0].0 = content.canonical[1].0.clone()),
        PacketError::NameTwice { name: long_name(1) }
    );
}

#[test]
fn recipients_are_one_to_sixteen_people_with_usable_keys() {
    let (ada, _) = two();
    let seal = |recipients: &[Recipient]| seal(recipients, &content(), &binding());
    assert_eq!(seal(&[]), Err(PacketError::Recipients { limit: RECIPIENT_LIMIT }));
    let many: Vec<_> = (0..=RECIPIENT_LIMIT).map(|index| steward(&format!("s{index}"), &ada)).collect();
    assert_eq!(seal(&many), Err(PacketError::Recipients { limit: RECIPIENT_LIMIT }));
    assert!(seal(&many[1..]).is_ok());
    assert_eq!(
        seal(&[steward("ada", &ada), steward("ada", &ada)]),
        Err(PacketError::RecipientTwice { steward: name("ada") })
    );
    // To the point 0 everyone knows the shared secret.
    assert_eq!(
        seal(&[Recipient { steward: name("eve"), key: [0; 32] }]),
        Err(PacketError::ReviewKey { steward: name("eve") })
    );
}

#[test]
fn a_debug_print_shows_no_content() {
    let printed = format!("{:?} {:?}", content(), ReviewSecret::from_bytes([9; 32]));
    assert!(!printed.contains("weights of") && !printed.contains("Logistic") && !printed.contains("9, 9"));
}
