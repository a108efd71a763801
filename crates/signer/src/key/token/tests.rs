//! Tokens of SoftHSM (Debian's `softhsm2`), which reads where they are from its environment. So each of these tests runs in
//! a process of its own, with a token that its parent made.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::*;

/// Where Debian has it.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const CONFIGURATION: &str = "SOFTHSM2_CONF";
const LABEL: &str = "databox";
const PIN: &str = "482913";
/// DER of the object identifier of Ed25519 (RFC 8410, section 3).
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

/// A directory with tokens.
pub(crate) struct SoftTokens(tempfile::TempDir);

impl SoftTokens {
    /// One token without keys.
    pub(crate) fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(made.path("tokens")).unwrap();
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", made.path("tokens").display());
        std::fs::write(made.path("conf"), text).unwrap();
        std::fs::write(made.path("pin"), format!("{PIN}\n")).unwrap();
        std::fs::set_permissions(made.path("pin"), fs::Permissions::from_mode(0o400)).unwrap();
        made.tool(&["--init-token", "--free", "--so-pin", "271828"]);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Brings a key in under a label, with an id, as `openssl genpkey` writes it.
    pub(crate) fn import(&self, label: &str, id: &str, pem: &str) {
        let file = self.path("key.pem");
        std::fs::write(&file, pem).unwrap();
        let file = file.display().to_string();

        self.run(&["--import", &file, "--token", LABEL, "--label", label, "--id", id]);
    }

    fn tool(&self, arguments: &[&str]) {
        self.run(&[arguments, &["--label", LABEL]].concat());
    }

    fn run(&self, arguments: &[&str]) {
        let mut tool = Command::new("softhsm2-util");
        tool.args(arguments).args(["--pin", PIN]).env(CONFIGURATION, self.path("conf"));
        let output = tool.output().expect("softhsm2-util is installed; .ci/run names the packages");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs an ignored test of this program, alone in a process that finds these tokens.
    pub(crate) fn run_test(&self, test: &str) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "--nocapture", test]);
        let output = command.env(CONFIGURATION, self.path("conf")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    }
}

/// The directory of the tokens that the parent made.
pub(crate) fn beside() -> PathBuf {
    let configuration = std::env::var_os(CONFIGURATION).expect("a parent that made tokens");
    Path::new(&configuration).parent().unwrap().to_owned()
}

/// What a configuration says of the parent's token.
pub(crate) fn configuration() -> TokenConfiguration {
    TokenConfiguration {
        module: MODULE.into(),
        label: LABEL.to_owned(),
        pin_file: beside().join("pin"),
        release_key: Some("release".to_owned()),
        log_key: Some("log".to_owned()),
    }
}

/// Makes a key pair in the token, whose private key can or cannot be read out.
fn make_pair(token: &Token, private_label: &str, public_label: &str, readable: bool) {
    let session = token.module.open_rw_session(token.slot().unwrap()).unwrap();
    let named = |label: &str| Attribute::Label(label.as_bytes().to_vec());
    let public = [
        Attribute::Token(true),
        Attribute::Verify(true),
        Attribute::EcParams(ED25519.to_vec()),
        named(public_label),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sign(true),
        Attribute::Sensitive(!readable),
        Attribute::Extractable(readable),
        named(private_label),
    ];
    session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private).unwrap();
}

#[test]
fn the_file_with_the_pin_is_the_owners_alone_or_lies_as_systemd_lays_it_down() {
    let of = |mode, of_root| Access { mode, of_root };
    let credentials = of(0o550, true);
    for private in [of(0o400, false), of(0o600, false), of(0o400, true)] {
        assert!(private.is_private(of(0o755, false)), "{private:?}");
    }
    assert!(of(0o440, true).is_private(credentials) && of(0o440, true).is_private(of(0o500, true)));
    // Each of the three once not as systemd has it.
    assert!(!of(0o440, false).is_private(credentials));
    assert!(!of(0o440, true).is_private(of(0o550, false)));
    for above in [0o750, 0o555, 0o551, 0o770, 0o755] {
        assert!(!of(0o440, true).is_private(of(above, true)), "{above:o}");
    }
    for mode in [0o444, 0o640, 0o460, 0o441, 0o404, 0o604] {
        assert!(!of(mode, true).is_private(credentials), "{mode:o}");
    }
}

#[test]
fn a_key_in_a_token_is_taken_only_if_it_is_the_one_pair_of_its_label_and_stays_there() {
    SoftTokens::new().run_test("key::token::tests::keys_in_a_token");
}

#[test]
#[ignore = "needs the environment that its parent gives it"]
fn keys_in_a_token() {
    let token = Token::load(&configuration()).unwrap();
    let open = |token: &Token, label: &str| TokenKey::open(token, label).map(|key| key.public());
    let with_pin = |file: &str, pin: &str, mode: u32| {
        let pin_file = beside().join(file);
        std::fs::write(&pin_file, pin).unwrap();
        std::fs::set_permissions(&pin_file, fs::Permissions::from_mode(mode)).unwrap();
        Token { pin_file, ..token.clone() }
    };
    // Before anyone is let in: who is in, is in for the whole process.
    let wrong = Token { refused: Arc::default(), ..with_pin("wrong", "000000", 0o400) };
    assert!(matches!(open(&wrong, "good"), Err(TokenError::PinRefused)));
    // Once refused, the token is not asked again, not even with the right one.
    with_pin("wrong", PIN, 0o600);
    assert!(matches!(open(&wrong, "good"), Err(TokenError::PinRefused)));
    assert!(Token { refused: Arc::default(), ..wrong }.session().is_ok());
    assert!(matches!(open(&with_pin("open", PIN, 0o440), "good"), Err(TokenError::PinMode(_))));
    let nowhere = Token { pin_file: beside().join("nowhere"), ..token.clone() };
    assert!(matches!(open(&nowhere, "good"), Err(TokenError::PinFile { .. })));
    let other = Token { label: "other".to_owned(), ..token.clone() };
    assert!(matches!(open(&other, "good"), Err(TokenError::Tokens { found: 0, .. })));

    let held = token.session().unwrap();
    make_pair(&token, "good", "good", false);
    make_pair(&token, "readable", "readable", true);
    for _ in 0..2 {
        make_pair(&token, "twice", "twice", false);
    }
    make_pair(&token, "mixed", "one-half", false);
    make_pair(&token, "other-half", "mixed", false);
    let good = TokenKey::open(&token, "good").unwrap();
    let signature = Signature::from(good.sign(b"a message").unwrap());
    assert_eq!(key::verify(&good.public(), b"a message", &signature), Ok(()));
    assert!(key::verify(&good.public(), b"another", &signature).is_err());
    assert!(matches!(open(&token, "readable"), Err(TokenError::Readable(_))));
    assert!(matches!(open(&token, "twice"), Err(TokenError::Keys { found: 2, .. })));
    assert!(matches!(open(&token, "nothing"), Err(TokenError::Keys { found: 0, .. })));
    assert!(matches!(open(&token, "mixed"), Err(TokenError::Pair(_))));
    drop(held);

    let module = TokenConfiguration { module: "/nowhere/module.so".into(), ..configuration() };
    assert!(matches!(Token::load(&module), Err(TokenError::Module { .. })));
}
