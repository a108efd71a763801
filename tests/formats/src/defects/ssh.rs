//! Defects of signatures by keys of OpenSSH, and innocent ones beside them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use release::key::Sign as _;
use release::refusal::Refusal;
use release::signature::Signature;
use release::sshsig::{Holder, SshKey, to_armour};
use release::statement::{PublicKey, Suite};
use serde_json::Value;

use super::form::edit_json;
use super::{Defect, story};
use crate::story::{Story, key, name};

pub(super) fn all() -> Vec<Defect> {
    [innocent(), signatures(), security_keys(), forms()].into_iter().flatten().collect()
}

/// Ben's key is of this suite, and signs in these ways: what he has to sign, and his approval.
fn ben(suite: Suite, usual: &'static str, approval: &'static str) -> Story {
    story()
        .second_roles(move |roles| {
            roles.people.get_mut(&name("steward-ben")).expect("Ben").keys[0].suite = suite;
        })
        .signed_by("grant", &["steward-ana", usual])
        .signed_by("approval-1", &[approval])
}

fn innocent() -> Vec<Defect> {
    vec![
        Defect::innocent(
            "ssh-steward",
            "A steward signs with a key of OpenSSH.",
            ben(Suite::Sshsig, "steward-ben/ssh", "steward-ben/ssh"),
        ),
        Defect::innocent(
            "ssh-researcher",
            "The researcher signs with a key of OpenSSH.",
            story()
                .grant(|grant| {
                    let member = grant.members.get_mut(&name("researcher-mia")).expect("Mia");
                    member.keys[0].suite = Suite::Sshsig;
                })
                .signed_by("request", &["researcher-mia/ssh"]),
        ),
        Defect::innocent(
            "ssh-root",
            "A root person signs roles, policy and revocation with a key of OpenSSH.",
            story()
                .second_roles(|roles| {
                    let public = key("root-rolf second").public().public;
                    let new = PublicKey { suite: Suite::Sshsig, public };
                    roles.people.get_mut(&name("root-rolf")).expect("Rolf").keys = vec![new];
                })
                .signed_by("second-roles", &["root-rita", "root-rolf", "root-rolf second/ssh"])
                .signed_by("revocation", &["root-rolf second/ssh"]),
        ),
        Defect::innocent(
            "security-key",
            "A steward signs with a security key, and touched it.",
            ben(Suite::SkSshsig, "steward-ben/security-key", "steward-ben/security-key"),
        ),
        Defect::innocent(
            "security-key-with-pin-unasked",
            "A steward's security key asked for its PIN, which the roles do not demand.",
            ben(Suite::SkSshsig, "steward-ben/security-key", "steward-ben/security-key-with-pin"),
        ),
        Defect::innocent(
            "security-key-with-pin",
            "A steward's security key asked for its PIN, as the roles demand.",
            ben(Suite::SkSshsigPin, "steward-ben/security-key-with-pin", "steward-ben/security-key-with-pin"),
        ),
    ]
}

fn signatures() -> Vec<Defect> {
    let approval = |which, about, suite, way| {
        let usual = if suite == Suite::Ed25519 { "steward-ben" } else { "steward-ben/ssh" };
        Defect::new(Refusal::ApprovalSignature, which, about, ben(suite, usual, way))
    };
    vec![
        approval(
            "ssh-raw",
            "An approval signed without OpenSSH's bytes around it.",
            Suite::Sshsig,
            "steward-ben",
        ),
        approval(
            "ssh-unasked",
            "An approval signed as OpenSSH does, by a key that roles pin to ed25519.",
            Suite::Ed25519,
            "steward-ben/ssh",
        ),
        approval(
            "ssh-namespace",
            "A signature that was made for git.",
            Suite::Sshsig,
            "steward-ben/ssh-for-git",
        ),
        approval(
            "ssh-hash",
            "A signature over SHA-256 in the place of SHA-512.",
            Suite::Sshsig,
            "steward-ben/ssh-with-sha256",
        ),
        approval(
            "ssh-reserved",
            "A signature with bytes in the reserved place.",
            Suite::Sshsig,
            "steward-ben/ssh-with-reserved-bytes",
        ),
        approval(
            "ssh-twice",
            "OpenSSH's bytes around OpenSSH's bytes.",
            Suite::Sshsig,
            "steward-ben/ssh-twice",
        ),
        approval(
            "ssh-other-key",
            "An approval in Ben's name, signed by Ana with her key of OpenSSH.",
            Suite::Sshsig,
            "steward-ana/ssh",
        ),
        approval(
            "ssh-with-flags",
            "A good signature, with a security key's five bytes behind it.",
            Suite::Sshsig,
            "steward-ben/ssh-with-flags",
        ),
        approval(
            "ssh-by-security-key",
            "A security key's signature by a key that roles pin to software.",
            Suite::Sshsig,
            "steward-ben/security-key",
        ),
    ]
}

fn security_keys() -> Vec<Defect> {
    let touched = |which, about, way| {
        let story = ben(Suite::SkSshsig, "steward-ben/security-key", way);
        Defect::new(Refusal::ApprovalSignature, which, about, story)
    };
    let with_pin = |which, about, way| {
        let story = ben(Suite::SkSshsigPin, "steward-ben/security-key-with-pin", way);
        Defect::new(Refusal::ApprovalSignature, which, about, story)
    };
    vec![
        touched("security-key-untouched", "Nobody touched the key.", "steward-ben/security-key-untouched"),
        touched(
            "security-key-flags",
            "A flag that says more was signed than is shown.",
            "steward-ben/security-key-with-extensions",
        ),
        touched(
            "security-key-application",
            "The key signed for a web site.",
            "steward-ben/security-key-for-a-site",
        ),
        touched(
            "security-key-counter",
            "The counter was changed after signing.",
            "steward-ben/security-key-counting-on",
        ),
        touched(
            "security-key-without-flags",
            "The signature without what the key says beside it.",
            "steward-ben/security-key-without-flags",
        ),
        touched(
            "security-key-software",
            "A signature of software in a security key's place.",
            "steward-ben/ssh",
        ),
        with_pin(
            "security-key-no-pin",
            "The key asked for no PIN, and the roles demand one.",
            "steward-ben/security-key",
        ),
        with_pin(
            "security-key-claimed-pin",
            "The flag for the PIN was set after signing.",
            "steward-ben/security-key-claiming-a-pin",
        ),
        with_pin(
            "security-key-pin-untouched",
            "The key knew its owner, and nobody touched it.",
            "steward-ben/security-key-with-pin-untouched",
        ),
        Defect::new(
            Refusal::RolesContent,
            "security-key-room",
            "A room's key is said to be a security key.",
            story().second_roles(|roles| roles.box_keys.signer.suite = Suite::SkSshsig),
        ),
    ]
}

/// The second approval's signature is written in another form.
fn form(
    which: &'static str,
    about: &'static str,
    story: Story,
    edit: impl Fn(Vec<u8>) -> Vec<u8> + 'static,
) -> Defect {
    let story = story.bytes(move |bytes| {
        edit_json(bytes, |file| {
            let signature = &mut file["approvals"][1]["signatures"][0]["sig"];
            let bytes = STANDARD.decode(signature.as_str().expect("a signature")).expect("base64");
            *signature = Value::from(STANDARD.encode(edit(bytes)));
        });
    });
    Defect::new(Refusal::EnvelopeForm, which, about, story)
}

fn forms() -> Vec<Defect> {
    let ssh = || ben(Suite::Sshsig, "steward-ben/ssh", "steward-ben/ssh");
    let security_key = || ben(Suite::SkSshsig, "steward-ben/security-key", "steward-ben/security-key");
    let ben = SshKey { holder: Holder::Software, public: key("steward-ben").public().public.0 };
    vec![
        form("ssh-armoured", "The signature file in the place of the signature.", ssh(), move |bytes| {
            let signature = Signature::from_bytes(&bytes).expect("a signature");
            to_armour(&ben, &signature).into_bytes()
        }),
        form("ssh-blob", "The signature with OpenSSH's type before it.", ssh(), |bytes| {
            [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 64], &bytes].concat()
        }),
        form("ssh-truncated", "A signature of OpenSSH that is cut off.", ssh(), |bytes| bytes[..63].to_vec()),
        form("ssh-trailing", "A byte behind a signature of OpenSSH.", ssh(), |mut bytes| {
            bytes.push(0);
            bytes
        }),
        form("security-key-truncated", "A security key's counter is cut off.", security_key(), |bytes| {
            bytes[..68].to_vec()
        }),
        form(
            "security-key-trailing",
            "A byte behind a security key's counter.",
            security_key(),
            |mut bytes| {
                bytes.push(0);
                bytes
            },
        ),
    ]
}
