//! `databox key new`: a person's own keys, made on the person's own machine.

use std::path::{Path, PathBuf};

use packet::key::PersonKeys;
use release::envelope::{Envelope, EnvelopeError};
use release::key::{SecretKey, Sign, SignError, SignStatement};
use release::signature::Signature;
use release::sshsig::Holder;
use release::statement::{Predicate, PublicKey, Suite};
use release::value::{Bytes, Name};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::certificate;
use crate::failure::{Exit, Failure, file_failure, key_failure, whole};
use crate::ssh_agent::{self, AgentKey};

/// What `key new` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct KeyArguments {
    /// The id by which roles or a grant will name you.
    pub id: Name,
    /// Where the files go.
    #[arg(long = "out", default_value = ".")]
    pub directory: PathBuf,
    /// The organisation you answer to.
    #[arg(long)]
    pub organisation: Name,
    /// A file whose first line is the passphrase; without it you are asked.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// An OpenSSH public key file (`ssh-ed25519`, or `sk-ssh-ed25519@openssh.com` of a security key): you sign with this
    /// key, through your ssh-agent, and no signing key is made.
    #[arg(long)]
    pub ssh_key: Option<PathBuf>,
    /// Your security key's signatures count only if it asked for its PIN, or for your finger. Make it with
    /// `ssh-keygen -t ed25519-sk -O verify-required`.
    #[arg(long, requires = "ssh_key")]
    pub require_pin: bool,
}

/// The public half of a person's keys: what they hand to whoever writes roles or a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonPublicKeys {
    /// Their id.
    pub id: Name,
    /// The organisation they answer to.
    pub organisation: Name,
    /// Keys they sign with.
    pub keys: Vec<PublicKey>,
    /// The key that review packets are sealed to.
    pub review_key: Bytes<32>,
}

/// Names of the files that hold one person's keys.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    directory: PathBuf,
    id: String,
}

impl KeyFiles {
    /// The files of this person in this directory.
    pub fn new(directory: &Path, id: &Name) -> Self {
        Self { directory: directory.to_owned(), id: id.to_string() }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.id))
    }

    /// The encrypted signing key.
    pub fn signing(&self) -> PathBuf {
        self.file("signing.pem")
    }

    /// The OpenSSH public key of who signs through an agent.
    pub fn ssh(&self) -> PathBuf {
        self.file("ssh.pub")
    }

    /// The encrypted review key.
    pub fn review(&self) -> PathBuf {
        self.file("review.pem")
    }

    /// The public keys.
    pub fn public(&self) -> PathBuf {
        self.file("public.json")
    }

    /// The private key of the transport certificate.
    pub fn tls_key(&self) -> PathBuf {
        self.file("tls.key")
    }

    /// The request for a transport certificate.
    pub fn tls_request(&self) -> PathBuf {
        self.file("tls.csr")
    }

    /// The transport certificate.
    pub fn tls_certificate(&self) -> PathBuf {
        self.file("tls.pem")
    }
}

/// Whoever signs for a person at this machine.
pub enum PersonSigner {
    /// The key of an encrypted file.
    File(SecretKey),
    /// A key in the person's ssh-agent.
    Agent(AgentKey),
}

impl PersonSigner {
    /// The key that these files name: one in the ssh-agent if there is a public key of it, else the encrypted one, for
    /// which the passphrase is asked.
    pub fn unlock(
        files: &KeyFiles,
        passphrase: impl FnOnce() -> Result<Zeroizing<String>, Failure>,
    ) -> Result<Self, Failure> {
        if files.ssh().exists() {
            // The suite, and with it whether a PIN is demanded, is the one that roles or a grant were given.
            let line = ssh_agent::read_public(&files.ssh())?;
            let keys = read_public(&files.public())?.keys;
            let key = keys.into_iter().find(|key| key.public.0 == line.public);
            let key = key.ok_or_else(|| {
                Failure::new("SSH_KEY", format!("{} names another key", files.public().display()))
                    .hint("make the files of this key with `databox key new --ssh-key`")
            })?;
            return AgentKey::find(key).map(Self::Agent);
        }
        let path = files.signing();
        packet::key::read_signing(&path, &passphrase()?).map(Self::File).map_err(key_failure)
    }

    /// Signs a statement.
    pub fn sign<P: Predicate>(&self, statement: &P) -> Result<Envelope, EnvelopeError> {
        let mut envelope = Envelope::unsigned(statement)?;
        envelope.add_signature(self)?;
        Ok(envelope)
    }
}

impl SignStatement for PersonSigner {
    fn public(&self) -> PublicKey {
        match self {
            Self::File(key) => Sign::public(key),
            Self::Agent(key) => key.public(),
        }
    }

    fn sign_statement(&self, message: &[u8]) -> Result<Signature, SignError> {
        match self {
            Self::File(key) => key.sign_statement(message),
            Self::Agent(key) => key.sign_statement(message),
        }
    }
}

/// Makes the keys of someone who signs through an ssh-agent, and returns the paths made.
pub fn new_for_agent(arguments: &KeyArguments, ssh_key: &Path) -> Result<Vec<PathBuf>, Failure> {
    let files = KeyFiles::new(&arguments.directory, &arguments.id);
    let line = ssh_agent::read_public(ssh_key)?;
    let suite = match (line.holder, arguments.require_pin) {
        (Holder::Software, false) => Suite::Sshsig,
        (Holder::SecurityKey, false) => Suite::SkSshsig,
        (Holder::SecurityKey, true) => Suite::SkSshsigPin,
        (Holder::Software, true) => {
            return Err(Failure::new("SSH_KEY", "--require-pin is for a security key, and this is none")
                .hint("leave it out, or make a key with `ssh-keygen -t ed25519-sk -O verify-required`")
                .exit(Exit::Usage));
        }
    };
    let key = PublicKey { suite, public: Bytes(line.public) };
    release::key::enrolable(&key).map_err(|error| Failure::new("SSH_KEY", whole(&error)))?;
    std::fs::create_dir_all(&arguments.directory).map_err(file_failure(&arguments.directory))?;
    let passphrase =
        passphrase(arguments.passphrase_file.as_deref(), &format!("New passphrase for {}: ", arguments.id))?;
    let review =
        packet::key::ReviewSecret::generate().map_err(|error| Failure::new("RANDOM", whole(&error)))?;
    packet::key::write_review(&files.review(), &review, &passphrase).map_err(key_failure)?;
    let line = std::fs::read(ssh_key).map_err(file_failure(ssh_key))?;
    blobs::write_new_file_durably(&files.ssh(), &line, 0o644).map_err(file_failure(&files.ssh()))?;
    write_public(&files, arguments, key, review.public())?;
    certificate::make_request(&files.tls_key(), &files.tls_request(), &arguments.id)?;
    Ok(vec![files.ssh(), files.review(), files.public(), files.tls_key(), files.tls_request()])
}

fn write_public(
    files: &KeyFiles,
    arguments: &KeyArguments,
    key: PublicKey,
    review: [u8; 32],
) -> Result<(), Failure> {
    let public = PersonPublicKeys {
        id: arguments.id.clone(),
        organisation: arguments.organisation.clone(),
        keys: vec![key],
        review_key: Bytes(review),
    };
    let path = files.public();
    blobs::write_new_file_durably(&path, &release::json::to_bytes(&public), 0o644)
        .map_err(file_failure(&path))
}

/// Makes a person's keys and returns the paths made, and the keys.
pub fn new(arguments: &KeyArguments) -> Result<(KeyFiles, PersonKeys), Failure> {
    let files = KeyFiles::new(&arguments.directory, &arguments.id);
    std::fs::create_dir_all(&arguments.directory).map_err(file_failure(&arguments.directory))?;
    let passphrase =
        passphrase(arguments.passphrase_file.as_deref(), &format!("New passphrase for {}: ", arguments.id))?;
    let keys = PersonKeys::generate().map_err(|error| Failure::new("RANDOM", whole(&error)))?;
    packet::key::write_signing(&files.signing(), &keys.signing, &passphrase).map_err(key_failure)?;
    packet::key::write_review(&files.review(), &keys.review, &passphrase).map_err(key_failure)?;
    write_public(&files, arguments, Sign::public(&keys.signing), keys.review.public())?;
    certificate::make_request(&files.tls_key(), &files.tls_request(), &arguments.id)?;
    Ok((files, keys))
}

/// Reads a person's public keys.
pub fn read_public(path: &Path) -> Result<PersonPublicKeys, Failure> {
    let bytes = std::fs::read(path).map_err(file_failure(path))?;
    release::json::from_bytes(&bytes, 64 * 1024).map_err(file_failure(path))
}

/// The passphrase from a file's first line, or asked for at the terminal.
pub fn passphrase(file: Option<&Path>, question: &str) -> Result<Zeroizing<String>, Failure> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(file_failure(path))?,
        None => rpassword::prompt_password(question).map_err(|_| {
            Failure::new("PASSPHRASE", "there is no terminal to ask for the passphrase at")
                .hint("a profile names its file as `passphrase_file`; other commands take --passphrase-file FILE")
                .exit(Exit::Usage)
        })?,
    };
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if line.is_empty() {
        return Err(Failure::new("PASSPHRASE", "the passphrase is empty")
            .hint("choose one")
            .exit(Exit::Usage));
    }
    Ok(line)
}
