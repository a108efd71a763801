//! What an envelope and a key are, against fixed values of the standards and of other people's tools.

use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use release::envelope::{Envelope, EnvelopeError, pre_authentication_encoding};
use release::key::{KeyError, SecretKey, Sign, enrolable, key_id, to_public_pem, verify};
use release::refusal::Refusal;
use release::statement::{Grant, Policy, PublicKey, Suite};
use release::value::Bytes;
use test_formats::story::{Story, key};

fn grant() -> Envelope {
    Story::default().decide().grant
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn signatures_are_those_of_rfc_8032() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    let key = SecretKey::from_seed(seed.try_into().unwrap());
    let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    assert_eq!(key.public().public.0.to_vec(), public);
    let signature = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    assert_eq!(key.sign(&[0x72]).to_vec(), signature);
    verify(&key.public(), &[0x72], &key.sign(&[0x72]).into()).unwrap();
    verify(&key.public(), &[0x73], &key.sign(&[0x72]).into()).unwrap_err();
}

/// An S that is not below the group's order verifies with the textbook equation and must not here.
#[test]
fn a_signature_with_a_second_s_is_refused() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let key = key("steward-ana");
    let mut signature = key.sign(b"message");
    let mut carry = 0u16;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    verify(&key.public(), b"message", &signature.into()).unwrap_err();
}

#[test]
fn keys_of_small_or_mixed_order_and_second_encodings_are_not_enrolled() {
    let public = |bytes: [u8; 32]| PublicKey { suite: Suite::Ed25519, public: Bytes(bytes) };
    enrolable(&key("steward-ana").public()).unwrap();
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(enrolable(&public(identity)), Err(KeyError::SmallOrder));
    let mut second_identity = [0xff; 32];
    (second_identity[0], second_identity[31]) = (0xee, 0x7f);
    assert_eq!(enrolable(&public(second_identity)), Err(KeyError::Encoding));
    let mut signed_zero = identity;
    signed_zero[31] = 0x80;
    assert_eq!(enrolable(&public(signed_zero)), Err(KeyError::Encoding));
    assert_eq!(enrolable(&public([0xff; 32])), Err(KeyError::Encoding));
}

#[test]
fn the_signed_bytes_are_those_of_dsse() {
    let encoded = pre_authentication_encoding(b"hello");
    assert_eq!(encoded, b"DSSEv1 28 application/vnd.in-toto+json 5 hello");
}

#[test]
fn a_private_key_is_written_and_read_in_one_form() {
    let key = key("steward-ana");
    let pem = key.to_pkcs8_pem();
    assert_eq!(*SecretKey::from_pkcs8_pem(&pem).unwrap().seed(), *key.seed());
    for wrong in
        [pem.replace("PRIVATE", "PUBLIC"), pem.replace("MC4", "MC5"), String::new(), pem[..60].to_owned()]
    {
        assert_eq!(SecretKey::from_pkcs8_pem(&wrong).unwrap_err(), KeyError::Pem);
    }
    assert_eq!(format!("{key:?}"), format!("SecretKey({})", key_id(&key.public())));
}

/// Whoever doubts our code can verify a statement with OpenSSL alone; key files go both ways.
#[test]
fn openssl_reads_our_keys_and_verifies_our_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let key = key("signer");
    let envelope = Story::default().tell().release.manifest;
    std::fs::write(path("key.pem"), key.to_pkcs8_pem().as_bytes()).unwrap();
    std::fs::write(path("public.pem"), to_public_pem(&key.public())).unwrap();
    std::fs::write(path("message"), pre_authentication_encoding(envelope.payload())).unwrap();
    std::fs::write(path("signature"), envelope.signatures()[0].signature.to_bytes()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(directory.path()).stderr(Stdio::null());
        command.output()
    };
    let verify =
        ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.pem", "-in", "message", "-sigfile"];
    let Ok(verified) = run(&[&verify[..], &["signature"]].concat()) else {
        eprintln!("not tested: this machine has no openssl");
        return;
    };
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let public = run(&["pkey", "-in", "key.pem", "-pubout"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&public.stdout), to_public_pem(&key.public()));
    let made = run(&["genpkey", "-algorithm", "ed25519"]).unwrap();
    SecretKey::from_pkcs8_pem(&String::from_utf8_lossy(&made.stdout)).unwrap();
}

#[test]
fn envelopes_of_other_tools_are_read_whatever_their_white_space_order_and_alphabet() {
    let envelope = grant();
    let text = String::from_utf8(envelope.to_bytes()).unwrap();
    assert_eq!(Envelope::parse(text.as_bytes()).unwrap(), envelope);
    let spaced = text.replace(",\"", ",\n  \"");
    assert_eq!(Envelope::parse(spaced.as_bytes()).unwrap(), envelope);
    let signature = &envelope.signatures()[0];
    let other = text.replace(
        &STANDARD.encode(signature.signature.to_bytes()),
        &URL_SAFE.encode(signature.signature.to_bytes()),
    );
    assert_eq!(Envelope::parse(other.as_bytes()).unwrap(), envelope);
    let payload = STANDARD.encode(envelope.payload());
    let reordered = format!(
        "{{\"signatures\":[],\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"{payload}\"}}"
    );
    assert_eq!(Envelope::parse(reordered.as_bytes()).unwrap().payload(), envelope.payload());
}

#[test]
fn envelopes_with_more_less_or_other_fields_are_refused() {
    let text = String::from_utf8(grant().to_bytes()).unwrap();
    let refusal = |text: String| Envelope::parse(text.as_bytes()).unwrap_err().refusal();
    for wrong in [
        text.replacen('{', r#"{"extra":"x","#, 1),
        text.replacen(r#""payloadType""#, r#""payloadType":"x","payloadType""#, 1),
        text.replacen(r#""keyid":"#, r#""keyid":"a","keyid":"#, 1),
        text.replacen(r#""sig":"#, r#""sig2":"#, 1),
        format!("{text} x"),
        format!("[{text}]"),
        text.replacen(r#""keyid":""#, r#""keyid":null,"x":""#, 1),
    ] {
        assert_eq!(refusal(wrong.clone()), Refusal::JsonForm, "{wrong}");
    }
    let list = r#"["cA==","application/vnd.in-toto+json",[]]"#;
    assert_eq!(refusal(list.to_owned()), Refusal::JsonForm);
    assert_eq!(refusal(text.replace("in-toto+json", "other+json")), Refusal::EnvelopeForm);
    assert_eq!(refusal(" ".repeat(2 << 20) + &text), Refusal::SizeLimit);
}

#[test]
fn one_key_signs_once_and_a_statement_is_read_as_its_own_kind_only() {
    let mut envelope = grant();
    let again = envelope.add_signature(&key("steward-ana"));
    assert!(matches!(again, Err(EnvelopeError::SignedAlready)));
    envelope.add_signature(&key("root-rita")).unwrap();
    assert_eq!(envelope.signatures().len(), 3);
    envelope.unverified::<Grant>().unwrap();
    assert_eq!(envelope.unverified::<Policy>().unwrap_err(), Refusal::StatementKind);
    let grant = envelope.unverified::<Grant>().unwrap();
    assert!(matches!(Envelope::sign(&grant, &[]), Err(EnvelopeError::SignatureCount)));
}
