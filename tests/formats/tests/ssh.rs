//! Keys in OpenSSH's suite: what `ssh-keygen` and an ssh-agent make is taken, and `ssh-keygen` takes what is ours.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use release::file::{GivenFiles, Pinned};
use release::key::{SecretKey, Sign as _, verify};
use release::refusal::Refusal;
use release::signature::{Presence, Signature};
use release::sshsig::{Holder, NAMESPACE, SshError, SshKey, from_armour, signed_bytes, to_armour};
use release::statement::{PublicKey, Suite};
use release::value::Bytes;
use test_formats::ssh_story::security_key;
use test_formats::story::{Story, name, verified_at};

const MESSAGE: &[u8] = b"DSSEv1 28 application/vnd.in-toto+json 7 payload";

fn ssh_keygen(directory: &Path, words: &[&str]) -> std::process::Output {
    let mut command = Command::new("ssh-keygen");
    command.args(words).current_dir(directory).stdin(Stdio::null());
    command.output().expect("ssh-keygen is installed")
}

fn done(output: std::process::Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A key that OpenSSH made, and the signature that it made with it for some use.
fn signed_by_openssh(directory: &Path, namespace: &str) -> ([u8; 32], String) {
    let _ = fs::remove_file(directory.join("message.sig"));
    if !directory.join("key").exists() {
        done(ssh_keygen(directory, &["-q", "-t", "ed25519", "-N", "", "-C", "ana", "-f", "key"]));
    }
    fs::write(directory.join("message"), MESSAGE).expect("a message");
    done(ssh_keygen(directory, &["-q", "-Y", "sign", "-n", namespace, "-f", "key", "message"]));
    let line = fs::read_to_string(directory.join("key.pub")).expect("a public key");
    let armour = fs::read_to_string(directory.join("message.sig")).expect("a signature");
    (SshKey::from_public_line(&line).expect("an Ed25519 key").public, armour)
}

fn key(suite: Suite, public: [u8; 32]) -> PublicKey {
    PublicKey { suite, public: Bytes(public) }
}

#[test]
fn what_ssh_keygen_signs_for_us_verifies_and_what_it_signs_for_another_use_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (public, armour) = signed_by_openssh(directory.path(), NAMESPACE);
    let (named, signature) = from_armour(&armour).expect("a signature");
    assert_eq!(named, SshKey { holder: Holder::Software, public });
    verify(&key(Suite::Sshsig, public), MESSAGE, &signature).expect("it verifies");
    verify(&key(Suite::Sshsig, public), b"another message", &signature).expect_err("another message");
    // The suite is pinned with the key: one signature never counts in the other suite.
    verify(&key(Suite::Ed25519, public), MESSAGE, &signature).expect_err("another suite");
    let (_, other) = signed_by_openssh(directory.path(), "git");
    assert_eq!(from_armour(&other), Err(SshError::Namespace));
}

#[test]
fn a_raw_signature_does_not_count_for_a_key_of_openssh() {
    let secret = SecretKey::from_seed([4; 32]);
    let public = secret.public().public.0;
    verify(&key(Suite::Sshsig, public), MESSAGE, &secret.sign(MESSAGE).into()).expect_err("raw");
    verify(&key(Suite::Sshsig, public), MESSAGE, &secret.sign(&signed_bytes(MESSAGE)).into())
        .expect("as it must be");
}

/// What `ssh-keygen` says of a signature by this key on the message.
fn ssh_keygen_verifies(key: &SshKey, signature: &Signature) -> bool {
    use base64::Engine as _;
    let directory = tempfile::tempdir().expect("a directory");
    let key_type = match key.holder {
        Holder::Software => "ssh-ed25519",
        Holder::SecurityKey => "sk-ssh-ed25519@openssh.com",
    };
    let blob = base64::engine::general_purpose::STANDARD.encode(key.to_blob());
    let allowed = format!("ana namespaces=\"{NAMESPACE}\" {key_type} {blob}\n");
    fs::write(directory.path().join("allowed"), allowed).expect("a file");
    fs::write(directory.path().join("message"), MESSAGE).expect("a file");
    fs::write(directory.path().join("signature"), to_armour(key, signature)).expect("a file");
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "verify", "-f", "allowed", "-I", "ana", "-n", NAMESPACE, "-s", "signature"]);
    command.current_dir(directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
    command.stdin(fs::File::open(directory.path().join("message")).expect("a message"));
    command.status().expect("ssh-keygen is installed").success()
}

#[test]
fn ssh_keygen_verifies_what_is_ours_and_refuses_it_with_one_bit_changed() {
    let secret = SecretKey::from_seed([4; 32]);
    let key = SshKey { holder: Holder::Software, public: secret.public().public.0 };
    let mut signature = secret.sign(&signed_bytes(MESSAGE));
    assert!(ssh_keygen_verifies(&key, &signature.into()));
    signature[40] ^= 1;
    assert!(!ssh_keygen_verifies(&key, &signature.into()));
}

/// No hardware takes part: software signs what a security key would.
#[test]
fn ssh_keygen_verifies_what_a_security_key_signs_for_us_and_takes_no_other_counter() {
    let secret = SecretKey::from_seed([4; 32]);
    let ssh = SshKey { holder: Holder::SecurityKey, public: secret.public().public.0 };
    let presence = Presence { flags: Presence::TOUCHED | Presence::VERIFIED, counter: 7 };
    let signature = security_key(&secret, presence, "ssh:", MESSAGE);
    assert!(ssh_keygen_verifies(&ssh, &signature));
    for suite in [Suite::SkSshsig, Suite::SkSshsigPin] {
        verify(&key(suite, ssh.public), MESSAGE, &signature).expect("it verifies");
    }
    let later = Signature::of_security_key(*signature.ed25519(), Presence { counter: 8, ..presence });
    assert!(!ssh_keygen_verifies(&ssh, &later));
    verify(&key(Suite::SkSshsig, ssh.public), MESSAGE, &later).expect_err("another counter");
}

#[test]
fn people_may_sign_through_an_agent_and_rooms_may_not() {
    let verified = |story: Story| {
        let told = story.tell();
        told.release.verify(&Pinned::new(told.pin), verified_at(), GivenFiles::NotGiven).map(drop)
    };
    let person = Story::default().second_roles(|roles| {
        roles.people.get_mut(&name("supervisor-sue")).expect("sue").keys[0].suite = Suite::Sshsig;
    });
    assert_eq!(verified(person), Ok(()));
    let room = Story::default().second_roles(|roles| roles.box_keys.signer.suite = Suite::Sshsig);
    assert_eq!(verified(room), Err(Refusal::RolesContent));
    // A steward whom the roles pin to an agent's key does not approve with the raw key.
    let steward = Story::default().second_roles(|roles| {
        roles.people.get_mut(&name("steward-ben")).expect("ben").keys[0].suite = Suite::Sshsig;
    });
    assert!(verified(steward).is_err());
}
