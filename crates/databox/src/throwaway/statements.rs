//! What the site of a throw-away box says: roles, revocation, policy and grant, each signed by its people.

use std::fs;
use std::path::{Path, PathBuf};

use blobs::Digest;

use super::{ANSWER_BITS, POLICY, RELEASE_BITS, Throwaway};
use crate::failure::{Failure, file_failure, whole};
use crate::init;
use crate::site::{self, InstallArguments, NewArguments, SiteKind};

impl Throwaway {
    pub(super) fn make_roles(&mut self) -> Result<(), Failure> {
        let witness = self.directory.join("witness/witness.public.json");
        let witness = fs::read_to_string(&witness).map_err(file_failure(&witness))?;
        let witness: serde_json::Value =
            serde_json::from_str(&witness).map_err(|error| Failure::new("WITNESS", whole(&error)))?;
        let text = ROLES
            .replace("BOX", &self.home.public_keys().display().to_string())
            .replace("WITNESS_NAME", witness["name"].as_str().unwrap_or_default())
            .replace("WITNESS_KEY", witness["public"].as_str().unwrap_or_default());
        let roles = self.state_as(SiteKind::Roles, "roles", &text, &["ana", "ben"], None)?;
        self.pin = roles;
        init::pin(&self.home, &roles)?;
        self.state_as(
            SiteKind::Revocation,
            "revocation",
            "site = \"demo.databox.example\"\n",
            &["ana"],
            None,
        )?;
        let policy = self.directory.join("statements/demo.toml");
        blobs::write_new_file_durably(&policy, POLICY.as_bytes(), 0o644).map_err(file_failure(&policy))?;
        self.state_as(SiteKind::Policy, "policy", POLICY_STATEMENT, &["ana", "ben"], Some(policy))?;
        Ok(())
    }

    /// Makes a statement from TOML, has these people sign it, installs it, and returns its payload digest.
    pub fn state_as(
        &self,
        kind: SiteKind,
        file: &str,
        text: &str,
        signers: &[&str],
        policy_file: Option<PathBuf>,
    ) -> Result<Digest, Failure> {
        let statements = self.directory.join("statements");
        fs::create_dir_all(&statements).map_err(file_failure(&statements))?;
        let from = statements.join(format!("{file}.from.toml"));
        let text = text.replace("PEOPLE/", &format!("{}/", self.people().display()));
        fs::write(&from, text).map_err(file_failure(&from))?;
        let out = statements.join(format!("{file}.json"));
        let _ = fs::remove_file(&out);
        site::new(&NewArguments {
            kind,
            from,
            out: out.clone(),
            site_directory: self.home.site(),
            days: 30,
        })?;
        self.sign_and_install(&out, signers, policy_file)
    }

    /// Has these people sign a draft, and installs it.
    pub fn sign_and_install(
        &self,
        draft: &Path,
        signers: &[&str],
        policy_file: Option<PathBuf>,
    ) -> Result<Digest, Failure> {
        for signer in signers {
            site::sign_with(draft, &self.keys[signer].signing)?;
        }
        let bytes = fs::read(draft).map_err(file_failure(draft))?;
        let envelope = release::envelope::Envelope::parse(&bytes).map_err(file_failure(draft))?;
        let digest = envelope.payload_digest();
        let pin = (self.pin != Digest::of(b"")).then_some(self.pin);
        let site_directory = self.home.site();
        site::install(&InstallArguments { file: draft.to_owned(), site_directory, policy_file, pin })?;
        Ok(digest)
    }

    /// Grants the project `hie` what it needs.
    pub fn add_grant(&self) -> Result<Digest, Failure> {
        let policy = Digest::of(POLICY.as_bytes());
        let text = GRANT
            .replace("POLICY", &policy.to_string())
            .replace("RELEASE_BITS", &RELEASE_BITS.to_string())
            .replace("ANSWER_BITS", &ANSWER_BITS.to_string());
        self.state_as(SiteKind::Grant, "grant", &text, &["ana", "ben"], None)
    }
}

const ROLES: &str = r#"box = "BOX"
witnessQuorum = 1

[people]
ana = { public = "PEOPLE/ana.public.json" }
ben = { public = "PEOPLE/ben.public.json" }

[root]
people = ["ana", "ben"]
threshold = 2

[policy]
people = ["ana", "ben"]
threshold = 2

[runtime]
people = ["ana", "ben"]
threshold = 1

[revocation]
people = ["ana", "ben"]
threshold = 1

[datasets.hie]
stewards = ["ana", "ben"]
grantThreshold = 2
catalogueThreshold = 2
approvalThreshold = 2

[[witnesses]]
name = "WITNESS_NAME"
public = "WITNESS_KEY"
onBoxMachine = true
"#;

const POLICY_STATEMENT: &str = r#"site = "demo.databox.example"
name = "demo"
file = "demo.toml"
"#;

const GRANT: &str = r#"site = "demo.databox.example"
id = "grant-1"
project = "hie"
leastWall = "native"
codeReview = "none"
policy = { name = "demo", version = 1, file = { sha256 = "POLICY" } }
approvals = { threshold = 2, organisations = 2, supervisors = [] }

[members]
kim = { public = "PEOPLE/kim.public.json" }
lee = { public = "PEOPLE/lee.public.json" }

[datasets.hie]
releaseBits = RELEASE_BITS
answerBits = ANSWER_BITS
"#;
