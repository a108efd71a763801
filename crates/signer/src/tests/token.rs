//! The signer with both of its keys in a token.

use super::*;
use crate::key::KeyPlaces;
use crate::key::token::tests::{SoftTokens, beside, configuration};

#[test]
fn with_its_keys_in_a_token_the_signer_signs_the_same_bytes_and_without_the_token_nothing() {
    let tokens = SoftTokens::new();
    tokens.import("release", "01", &key("signer").to_pkcs8_pem());
    tokens.import("log", "02", &key("log").to_pkcs8_pem());
    tokens.run_test("tests::token::releases_with_both_keys_in_a_token");
}

#[test]
#[ignore = "needs the environment that its parent gives it"]
fn releases_with_both_keys_in_a_token() {
    let told: Vec<_> = (1..=2).map(together::run).collect();
    let places = KeyPlaces { release_key_file: None, log_key_file: None, token: Some(configuration()) };
    let (release_key, log_key) = places.open().unwrap();
    let site = Site::of(&told[0]);
    let settings = Settings { release_key, log_key, ..site.settings() };
    let mut signer = site.open_with(settings, FaultyDisk::new(None), now()).unwrap();
    let begin = signer.size();
    let in_token = release(&mut signer, &told[0]);
    let in_files = release(&mut Site::of(&told[0]).open(), &told[0]);
    assert_eq!(in_token, in_files);

    fs::rename(beside().join("tokens"), beside().join("taken-out")).unwrap();
    let unavailable = SignerRefusal::KeyUnavailable;
    assert_eq!(refused(ask(&mut signer, &submit(&told[1], approvals(&told[1])))), unavailable);
    assert_eq!(signer.size(), begin + 1);
    // Nothing of it stays behind: whoever has the keys goes on.
    release(&mut site.open(), &told[1]);
    assert_eq!(site.open_size(), begin + 2);
}

#[test]
fn a_pin_that_is_refused_while_the_signer_runs_is_not_tried_again() {
    let tokens = SoftTokens::new();
    tokens.import("release", "01", &key("signer").to_pkcs8_pem());
    tokens.import("log", "02", &key("log").to_pkcs8_pem());
    tokens.run_test("tests::token::a_pin_that_became_wrong");
}

#[test]
#[ignore = "needs the environment that its parent gives it"]
fn a_pin_that_became_wrong() {
    use std::os::unix::fs::PermissionsExt as _;
    let places = KeyPlaces { release_key_file: None, log_key_file: None, token: Some(configuration()) };
    let (release_key, log_key) = places.open().unwrap();
    let (pin, right) = (beside().join("pin"), fs::read(beside().join("pin")).unwrap());
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&pin, "000000").unwrap();
    // The token forgets who was let in, as one does that was taken out.
    for key in [&release_key, &log_key] {
        let crate::key::BoxKey::Token(key) = key else { panic!("a key in the token") };
        key.close();
    }
    assert!(release_key.sign(b"a message").is_err());
    fs::write(&pin, right).unwrap();
    assert!(release_key.sign(b"a message").is_err() && log_key.sign(b"a message").is_err());
    drop((release_key, log_key));
}
