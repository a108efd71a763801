//! Defects of form: of the file, the envelopes and the payloads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use release::envelope::pre_authentication_encoding;
use release::file::RELEASE_FILE_LIMIT;
use release::key::{Sign, key_id};
use release::refusal::Refusal;
use serde_json::{Value, json};

use super::{Defect, story};
use crate::story::{Story, key};

/// The file as a JSON value.
pub(super) fn as_json(bytes: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(bytes).expect("JSON");
    value.sort_all_objects();
    value
}

/// Changes the file as a JSON value and writes it in the one form.
pub(super) fn edit_json(bytes: &mut Vec<u8>, edit: impl Fn(&mut Value)) {
    let mut value = as_json(bytes);
    edit(&mut value);
    value.sort_all_objects();
    *bytes = value.to_string().into_bytes();
}

fn edited(edit: impl Fn(&mut Value) + 'static) -> Story {
    story().bytes(move |bytes| edit_json(bytes, &edit))
}

fn replaced(from: &'static str, to: &'static str) -> Story {
    story().bytes(move |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        assert!(text.contains(from), "{from} is not in the file");
        *bytes = text.replacen(from, to, 1).into_bytes();
    })
}

/// Gives the verdict another payload, signed by the enclave as if it were a statement.
fn payload_edited(edit: impl Fn(String) -> String + 'static) -> Story {
    edited(move |file| sign_again(&mut file["verdict"], &["enclave"], &edit))
}

/// Puts something in front of what a map of a statement holds, signed by those who sign that statement.
fn in_front_of_map(
    pointer: &'static str,
    by: &'static [&'static str],
    map: &'static str,
    first: &'static str,
) -> Story {
    edited(move |file| {
        sign_again(file.pointer_mut(pointer).expect("a statement"), by, |text| {
            let begin = format!(r#""{map}":{{"#);
            assert_eq!(text.matches(&begin).count(), 1, "{text}");
            text.replacen(&begin, &format!("{begin}{first},"), 1)
        });
    })
}

/// Changes a payload and has it signed as if it were a statement.
fn sign_again(statement: &mut Value, by: &[&str], edit: impl Fn(String) -> String) {
    let payload = STANDARD.decode(statement["payload"].as_str().expect("a payload")).expect("base64");
    let payload = edit(String::from_utf8(payload).expect("UTF-8")).into_bytes();
    let signature = |by: &&str| {
        let key = key(by);
        let signature = key.sign(&pre_authentication_encoding(&payload));
        json!({ "keyid": key_id(&key.public()).to_string(), "sig": STANDARD.encode(signature) })
    };
    *statement = json!({
        "payload": STANDARD.encode(&payload),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": by.iter().map(signature).collect::<Vec<_>>(),
    });
}

/// Writes a payload in another base64; what it decodes to is for whoever forgives that the same.
fn payload_base64(edit: impl Fn(&str) -> String + 'static) -> Story {
    edited(move |file| {
        let ends = |name: &&str| file[*name]["payload"].as_str().is_some_and(|text| text.ends_with('='));
        let name = ["verdict", "request", "manifest", "grant"].into_iter().find(ends).expect("padding");
        let text = file[name]["payload"].as_str().expect("a payload");
        file[name]["payload"] = json!(edit(text));
    })
}

/// The last character before the padding holds fewer bits than others; the next letter sets one that decodes to nothing.
fn with_surplus_bits(text: &str) -> String {
    let begin = text.trim_end_matches('=');
    let (last, padding) = (begin.len() - 1, &text[begin.len()..]);
    let other = char::from(begin.as_bytes()[last] + 1);
    format!("{}{other}{padding}", &begin[..last])
}

/// Levels of nesting at which a reader that calls itself for each has no stack left.
const DEEP: usize = 20_000;

fn deep() -> String {
    "[".repeat(DEEP) + &"]".repeat(DEEP)
}

fn first_signature(file: &mut Value, statement: &str) -> (String, Vec<u8>) {
    let text = file[statement]["signatures"][0]["sig"].as_str().expect("a signature").to_owned();
    let bytes = STANDARD.decode(&text).expect("base64");
    (text, bytes)
}

pub(super) fn all() -> Vec<Defect> {
    [file(), envelopes(), payload_texts(), payloads(), maps(), kinds(), counts()]
        .into_iter()
        .flatten()
        .collect()
}

fn file() -> Vec<Defect> {
    let form = |which, about, story| Defect::new(Refusal::JsonForm, which, about, story);
    vec![
        Defect::new(Refusal::SizeLimit, "file", "The file is larger than any release file may be.", story())
            .padded(RELEASE_FILE_LIMIT),
        form("trailing-newline", "A byte follows the end.", story().bytes(|bytes| bytes.push(b'\n'))),
        form(
            "byte-order-mark",
            "A byte order mark stands before the beginning.",
            story().bytes(|bytes| {
                bytes.splice(0..0, *b"\xef\xbb\xbf");
            }),
        ),
        form("white-space", "White space between fields.", replaced(r#","mediaType""#, r#", "mediaType""#)),
        form(
            "key-twice",
            "One key twice; readers would differ on which counts.",
            replaced(r#""mediaType":"#, r#""mediaType":"x","mediaType":"#),
        ),
        form(
            "unknown-field",
            "A field that no version has.",
            edited(|file| file["note"] = json!("trust me")),
        ),
        form(
            "missing-field",
            "A field is missing.",
            edited(|file| {
                file.as_object_mut().expect("an object").remove("revocation");
            }),
        ),
        form("null", "A null in the place of an envelope.", edited(|file| file["grant"] = Value::Null)),
        form(
            "number",
            "A number in the place of a text.",
            edited(|file| file["tlogProof"] = json!(9_007_199_254_740_993u64)),
        ),
        form(
            "list-for-object",
            "A list in the place of an object.",
            edited(|file| {
                let policy = &file["policy"];
                file["policy"] = json!([policy["file"], policy["statement"]]);
            }),
        ),
        form(
            "media-type",
            "Another media type.",
            edited(|file| {
                file["mediaType"] = json!("application/vnd.databox.release.v2+json");
            }),
        ),
        form("cut-off", "The file ends early.", story().bytes(|bytes| bytes.truncate(bytes.len() / 2))),
        form(
            "deep",
            "A list twenty thousand levels deep, in which a reader that calls itself for each would have no stack left.",
            story().bytes(|bytes| *bytes = deep().into_bytes()),
        ),
        form("empty", "An empty file.", story().bytes(Vec::clear)),
        form(
            "escape",
            "A letter written as an escape.",
            replaced(r#""mediaType":"a"#, r#""mediaType":"\u0061"#),
        ),
        form(
            "zero-byte",
            "A byte follows that ends a text for some readers.",
            story().bytes(|bytes| bytes.push(0)),
        ),
    ]
}

fn envelopes() -> Vec<Defect> {
    let form = |which, about, story| Defect::new(Refusal::EnvelopeForm, which, about, story);
    vec![
        form(
            "payload-type",
            "Another payload type, which the signature covers too.",
            edited(|file| {
                file["verdict"]["payloadType"] = json!("application/json");
            }),
        ),
        form(
            "no-padding",
            "Base64 without its padding.",
            edited(|file| {
                let (text, _) = first_signature(file, "manifest");
                file["manifest"]["signatures"][0]["sig"] = json!(text.trim_end_matches('='));
            }),
        ),
        form(
            "surplus-bits",
            "Base64 whose last character has bits that decode to nothing.",
            edited(|file| {
                let (text, _) = first_signature(file, "manifest");
                file["manifest"]["signatures"][0]["sig"] = json!(with_surplus_bits(&text));
            }),
        ),
        form(
            "mixed-alphabets",
            "One text in both alphabets of base64.",
            edited(|file| {
                let text = format!("+_{}", "A".repeat(84) + "==");
                file["manifest"]["signatures"][0]["sig"] = json!(text);
            }),
        ),
        form(
            "signature-length",
            "A signature of 63 bytes.",
            edited(|file| {
                let (_, bytes) = first_signature(file, "manifest");
                file["manifest"]["signatures"][0]["sig"] = json!(STANDARD.encode(&bytes[1..]));
            }),
        ),
    ]
}

/// The payload is what is signed: two texts of it would be two envelopes of one statement, and digests of files differ.
fn payload_texts() -> Vec<Defect> {
    let form = |which, about, story| Defect::new(Refusal::EnvelopeForm, which, about, story);
    vec![
        form(
            "payload-no-padding",
            "A payload in base64 without its padding.",
            payload_base64(|text| text.trim_end_matches('=').to_owned()),
        ),
        form(
            "payload-too-much-padding",
            "A payload in base64 with a group of padding more.",
            payload_base64(|text| format!("{text}====")),
        ),
        form(
            "payload-surplus-bits",
            "A payload in base64 whose last character has bits that decode to nothing.",
            payload_base64(with_surplus_bits),
        ),
        form(
            "payload-mixed-alphabets",
            "A payload in both alphabets of base64.",
            payload_base64(|text| format!("+_{}", &text[2..])),
        ),
        form(
            "payload-space",
            "A payload in base64 with a space in it, which many readers pass over.",
            payload_base64(|text| format!("{} {}", &text[..64], &text[64..])),
        ),
        form(
            "payload-other-letter",
            "A payload in base64 with a letter that is none, which many readers pass over.",
            payload_base64(|text| format!("{}*{}", &text[..64], &text[64..])),
        ),
    ]
}

/// One name twice in a map: readers keep the first or the last, and each is sure of what was signed.
fn maps() -> Vec<Defect> {
    let form = |which, about, story| Defect::new(Refusal::StatementForm, which, about, story);
    vec![
        form(
            "member-twice",
            "A grant with one member twice, each time with other keys.",
            in_front_of_map(
                "/grant",
                &["steward-ana", "steward-ben"],
                "members",
                r#""researcher-mia":{"keys":[],"organisation":"university"}"#,
            ),
        ),
        form(
            "dataset-twice",
            "A grant with two limits for one dataset.",
            in_front_of_map(
                "/grant",
                &["steward-ana", "steward-ben"],
                "datasets",
                r#""hie":{"answerBits":"1","releaseBits":"1"}"#,
            ),
        ),
        form(
            "person-twice",
            "Roles with one person twice, each time with other keys.",
            in_front_of_map(
                "/roles/1",
                &["root-rita", "root-rolf"],
                "people",
                r#""root-rita":{"keys":[],"organisation":"hospital"}"#,
            ),
        ),
    ]
}

fn payloads() -> Vec<Defect> {
    let form = |which, about, story| Defect::new(Refusal::StatementForm, which, about, story);
    vec![
        form(
            "white-space",
            "A signed payload with white space.",
            payload_edited(|text| text.replacen(',', ", ", 1)),
        ),
        form(
            "unknown-field",
            "A signed payload with a field that no version has.",
            payload_edited(|text| text.replacen(r#""run":"#, r#""rum":"1","run":"#, 1)),
        ),
        form(
            "key-twice",
            "A signed payload with one key twice.",
            payload_edited(|text| text.replacen(r#""run":"1""#, r#""run":"2","run":"1""#, 1)),
        ),
        form(
            "number",
            "A signed payload with a number.",
            payload_edited(|text| text.replacen(r#""run":"1""#, r#""run":1"#, 1)),
        ),
        form(
            "leading-zero",
            "A count with a leading zero.",
            payload_edited(|text| text.replacen(r#""run":"1""#, r#""run":"01""#, 1)),
        ),
        form(
            "upper-case-digest",
            "A digest in upper case.",
            payload_edited(|text| {
                let at = text.find(r#""packet":{"sha256":""#).expect("a packet") + 20;
                format!("{}{}{}", &text[..at], text[at..at + 64].to_uppercase(), &text[at + 64..])
            }),
        ),
        form(
            "other-digest",
            "Another digest algorithm beside SHA-256.",
            payload_edited(|text| text.replacen(r#""packet":{"#, r#""packet":{"md5":"00","#, 1)),
        ),
        form(
            "subject",
            "A subject that does not follow from what the statement says.",
            payload_edited(|text| text.replacen(r#""name":"request""#, r#""name":"bundle""#, 1)),
        ),
        form(
            "no-subject",
            "A statement without subject.",
            payload_edited(|text| {
                let at = text.find(r#""subject":["#).expect("a subject");
                format!("{}\"subject\":[]}}", &text[..at])
            }),
        ),
        form(
            "version",
            "A version of the statement that nobody specified.",
            payload_edited(|text| {
                text.replacen("urn:databox:egress-verdict:v1", "urn:databox:egress-verdict:v2", 1)
            }),
        ),
        form("trailing-byte", "A byte follows the signed statement.", payload_edited(|text| text + "\n")),
        form(
            "escape",
            "A letter written as an escape.",
            payload_edited(|text| text.replacen("egress", r"\u0065gress", 1)),
        ),
        form(
            "byte-order-mark",
            "A byte order mark stands before the signed statement.",
            payload_edited(|text| format!("\u{feff}{text}")),
        ),
        form(
            "null",
            "A signed payload with a null.",
            payload_edited(|text| text.replacen(r#""run":"1""#, r#""run":null"#, 1)),
        ),
        form(
            "list-for-object",
            "A list in the place of an object, which some readers take for one.",
            payload_edited(|text| {
                let mut value = as_json(text.as_bytes());
                let build = &mut value["predicate"]["build"];
                *build = json!([build["checker"], build["version"]]);
                value.to_string()
            }),
        ),
        form(
            "deep",
            "A list twenty thousand levels deep in the place of a name.",
            payload_edited(|text| {
                text.replacen(r#""site":"example-hospital""#, &format!(r#""site":{}"#, deep()), 1)
            }),
        ),
        form(
            "name-with-path",
            "A file's name that leads to another directory.",
            payload_edited(|text| text.replace("by_plan.csv", "../by_plan.csv")),
        ),
        form(
            "name-of-nothing",
            "A file without a name.",
            payload_edited(|text| text.replace(r#""by_plan.csv""#, r#""""#)),
        ),
        form(
            "hidden-name",
            "A file whose name begins with a dot, so that nobody sees it among the others.",
            payload_edited(|text| text.replace("by_plan.csv", ".by_plan.csv")),
        ),
        form(
            "two-subjects",
            "A subject more than the statement has.",
            payload_edited(|text| {
                text.replacen(r#""subject":["#, r#""subject":[{"digest":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000"},"name":"a"},"#, 1)
            }),
        ),
        form(
            "not-in-toto",
            "A statement of another type than in-toto's.",
            payload_edited(|text| {
                text.replacen("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1", 1)
            }),
        ),
    ]
}

fn kinds() -> Vec<Defect> {
    let kind = |which, about, story| Defect::new(Refusal::StatementKind, which, about, story);
    vec![
        kind(
            "verdict-as-approval",
            "A verdict stands where an approval is expected.",
            story().release(|release| {
                release.approvals[0] = release.verdict.clone();
            }),
        ),
        kind(
            "approval-as-manifest",
            "An approval stands where the manifest is expected.",
            story().release(|release| {
                release.manifest = release.approvals[0].clone();
            }),
        ),
        kind(
            "policy-as-grant",
            "A policy stands where the grant is expected.",
            story().release(|release| {
                release.grant = release.policy.clone();
            }),
        ),
        kind(
            "grant-as-roles",
            "A grant stands among the roles.",
            story().release(|release| {
                release.roles[1] = release.grant.clone();
            }),
        ),
        kind(
            "predicate-type",
            "A verdict signed under the predicate type of an approval.",
            payload_edited(|text| {
                text.replacen("urn:databox:egress-verdict:v1", "urn:databox:steward-approval:v1", 1)
            }),
        ),
    ]
}

fn counts() -> Vec<Defect> {
    let count = |which, about, story| Defect::new(Refusal::SignatureCount, which, about, story);
    vec![
        count(
            "two-on-manifest",
            "A manifest with two signatures, one of them good.",
            story().signed_by("manifest", &["signer", "stranger"]).log(|log| log.leaf = b"any\n".to_vec()),
        ),
        count(
            "none-on-approval",
            "An approval without a signature.",
            edited(|file| {
                file["approvals"][0]["signatures"] = json!([]);
            }),
        ),
        count(
            "copied-on-approval",
            "An approval with the same signature twice.",
            edited(|file| {
                let one = file["approvals"][0]["signatures"][0].clone();
                file["approvals"][0]["signatures"] = json!([one, one]);
            }),
        ),
        count(
            "under-two-key-ids",
            "One root's signature twice, under two key ids.",
            edited(|file| {
                let mut again = file["roles"][1]["signatures"][0].clone();
                again["keyid"] = json!("another-id");
                file["roles"][1]["signatures"][1] = again;
            }),
        ),
        count(
            "too-many",
            "More signatures than a statement may carry.",
            edited(|file| {
                let one = file["grant"]["signatures"][0].clone();
                file["grant"]["signatures"] = Value::from(vec![one; 65]);
            }),
        ),
        count(
            "two-on-request",
            "A request signed by two members.",
            story().signed_by("request", &["researcher-mia", "stranger"]),
        ),
        count(
            "two-on-verdict",
            "A verdict signed twice.",
            story().signed_by("verdict", &["enclave", "stranger"]),
        ),
    ]
}
