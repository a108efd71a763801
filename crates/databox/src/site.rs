//! `databox site new|sign|install|ls`: how a site decides. Everything it decides is a signed statement in one
//! directory that the operator writes and every room only reads.
//!
//! `site new KIND --from FILE.toml` turns a few lines of TOML into the exact payload that is signed: numbers become
//! decimal strings, `public = "ana.public.json"` takes a person's public keys from that file, version and times are
//! filled in. Nothing is signed before its signer has seen it: `site sign` prints the payload first.

mod install;

use std::fs;
use std::path::{Path, PathBuf};

use release::envelope::Envelope;
use release::key::SignStatement;
use release::site::{Site, read_files};
use release::statement::{
    Catalogue, Grant, Kind, PAYLOAD_LIMIT, Policy, Predicate, Revocation, Roles, kind_of, parse_payload,
    payload,
};
use release::value::{Name, Timestamp};
use serde_json::{Map, Value, json};

use crate::failure::{Exit, Failure, file_failure, whole};
use crate::key;
use crate::profile::Profile;

pub use install::{InstallArguments, install};

/// How long a revocation holds: it is signed anew at least weekly.
const REVOCATION_DAYS: i64 = release::site::REVOCATION_SECONDS / (24 * 3600);

/// The kinds of statement that a site makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SiteKind {
    /// Who may do what.
    Roles,
    /// An egress policy.
    Policy,
    /// What a project may use.
    Grant,
    /// What may be known of a dataset or runtime.
    Catalogue,
    /// What is no longer valid.
    Revocation,
}

/// What `site new` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArguments {
    /// What to make.
    pub kind: SiteKind,
    /// A TOML file with the statement's fields.
    #[arg(long)]
    pub from: PathBuf,
    /// The draft to write; it must not be there yet.
    #[arg(long)]
    pub out: PathBuf,
    /// The site directory: the version becomes one more than the highest there.
    #[arg(long)]
    pub site_directory: PathBuf,
    /// How long it is valid.
    #[arg(long, default_value_t = 365)]
    pub days: i64,
}

/// The moment now.
pub fn now() -> Timestamp {
    Timestamp::from_seconds(daemon::now_seconds())
        .unwrap_or(Timestamp::from_seconds(0).expect("1970 is a moment"))
}

/// Makes a draft: the payload that is to be signed.
pub fn new(arguments: &NewArguments) -> Result<(), Failure> {
    let text = fs::read_to_string(&arguments.from).map_err(file_failure(&arguments.from))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        Failure::new("NOT_TOML", format!("{}: {}", arguments.from.display(), whole(&error)))
            .hint("docs/formats/site-directory.md shows the TOML of each kind of statement")
            .exit(Exit::Usage)
    })?;
    let beside = arguments.from.parent().unwrap_or(Path::new("."));
    let mut fields = object(plain(toml::Value::Table(table)));
    take_public_keys(&mut fields, beside)?;
    let bytes = draft(arguments.kind, fields, arguments)?;
    blobs::write_new_file_durably(&arguments.out, &bytes, 0o644).map_err(file_failure(&arguments.out))
}

/// Makes the draft of the next revocation: everything that the newest revokes, and one certificate more.
pub fn revoke_certificate(serial: &str, site_directory: &Path, out: &Path) -> Result<(), Failure> {
    let (site_directory, from) = (site_directory.to_owned(), site_directory.to_owned());
    let kind = SiteKind::Revocation;
    let arguments = NewArguments { kind, from, out: out.to_owned(), site_directory, days: REVOCATION_DAYS };
    let bytes = draft(kind, object(json!({ "certificates": [serial] })), &arguments)?;
    blobs::write_new_file_durably(out, &bytes, 0o644).map_err(file_failure(out))
}

fn draft(
    kind: SiteKind,
    mut fields: Map<String, Value>,
    arguments: &NewArguments,
) -> Result<Vec<u8>, Failure> {
    let now = now();
    let expires = now.plus(arguments.days * 24 * 3600);
    fields.entry("issuedAt").or_insert_with(|| json!(now));
    match kind {
        SiteKind::Roles => {
            take_box_keys(&mut fields, arguments.from.parent().unwrap_or(Path::new(".")))?;
            finish::<Roles>(fields, arguments, "roles", Some(expires))
        }
        SiteKind::Policy => {
            let file = arguments.from.with_file_name(text_field(&fields, "file")?);
            let toml = fs::read(&file).map_err(file_failure(&file))?;
            egress::Policy::parse(&String::from_utf8_lossy(&toml)).map_err(file_failure(&file))?;
            fields.insert("file".into(), json!({ "sha256": blobs::Digest::of(&toml) }));
            let below = format!("policies/{}", text_field(&fields, "name")?);
            finish::<Policy>(fields, arguments, &below, Some(expires))
        }
        SiteKind::Grant => {
            let below = format!("grants/{}", text_field(&fields, "id")?);
            finish::<Grant>(fields, arguments, &below, Some(expires))
        }
        SiteKind::Catalogue => {
            let kind = fields.get("entry").and_then(|entry| entry.get("kind")).and_then(Value::as_str);
            let folder = if kind == Some("dataset") { "datasets" } else { "runtimes" };
            let below = format!("catalogue/{folder}/{}", text_field(&fields, "name")?);
            finish::<Catalogue>(fields, arguments, &below, None)
        }
        SiteKind::Revocation => {
            carry_over(&mut fields, &arguments.site_directory)?;
            // Signed anew at least weekly, so that a stopped operator stops the box.
            let expires = now.plus(REVOCATION_DAYS * 24 * 3600);
            finish::<Revocation>(fields, arguments, "revocations", Some(expires))
        }
    }
}

/// The lists of a revocation.
const REVOKED: [&str; 6] = ["people", "keys", "certificates", "grants", "releases", "interests"];

/// Adds everything that the newest revocation revokes, since nothing of it may be missing from the next.
fn carry_over(fields: &mut Map<String, Value>, site_directory: &Path) -> Result<(), Failure> {
    let newest = highest_version(&site_directory.join("revocations"));
    let path = site_directory.join(format!("revocations/{newest}.json"));
    let mut before = Map::new();
    if newest > 0 {
        let bytes = fs::read(&path).map_err(file_failure(&path))?;
        let envelope = Envelope::parse(&bytes).map_err(file_failure(&path))?;
        let statement: Revocation = envelope.unverified().map_err(file_failure(&path))?;
        before = object(json!(statement));
    }
    fields.entry("site").or_insert_with(|| before.get("site").cloned().unwrap_or_default());
    for list in REVOKED {
        let mut all = before.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let added = fields.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        all.extend(added.into_iter().filter(|one| !all.contains(one)).collect::<Vec<_>>());
        fields.insert(list.to_owned(), Value::Array(all));
    }
    Ok(())
}

fn finish<P: Predicate>(
    mut fields: Map<String, Value>,
    arguments: &NewArguments,
    below: &str,
    expires: Option<Timestamp>,
) -> Result<Vec<u8>, Failure> {
    let version = highest_version(&arguments.site_directory.join(below)) + 1;
    fields.entry("version").or_insert_with(|| json!(version.to_string()));
    if let Some(expires) = expires {
        fields.entry("expires").or_insert_with(|| json!(expires));
    }
    let predicate: P = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let (path, words) = (error.path().to_string(), error.inner().to_string());
        // A field that is missing or unknown stands in the words already; of others only the place is known.
        let text = if path == "." || words.contains(" field `") {
            words
        } else {
            format!("the field `{path}`: {words}")
        };
        field_failure(&arguments.from, P::KIND, &text)
    })?;
    Ok(payload(&predicate))
}

/// The highest version among files `<version>.json` in a directory of the site; 0 if there is none.
fn highest_version(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let versions =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok());
    versions.max().unwrap_or(0)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn field_failure(from: &Path, kind: Kind, text: &str) -> Failure {
    Failure::new("STATEMENT_FIELD", format!("{}: {text}", from.display()))
        .hint(format!("the fields of a {} are listed in docs/formats/statements.md", kind.word()))
        .exit(Exit::Usage)
}

fn text_field(fields: &Map<String, Value>, name: &str) -> Result<String, Failure> {
    let missing = || {
        Failure::new("STATEMENT_FIELD", format!("the field `{name}` is missing, or is no text"))
            .hint("docs/formats/site-directory.md shows the TOML of each kind of statement")
            .exit(Exit::Usage)
    };
    fields.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(missing)
}

/// TOML as the JSON of statements: numbers and moments become text.
fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Integer(number) => Value::String(number.to_string()),
        toml::Value::Float(number) => Value::String(number.to_string()),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        toml::Value::Table(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
    }
}

/// In `people` and `members`, `public = "FILE"` stands for the fields of that file.
fn take_public_keys(fields: &mut Map<String, Value>, beside: &Path) -> Result<(), Failure> {
    for group in ["people", "members"] {
        let Some(Value::Object(people)) = fields.get_mut(group) else { continue };
        for (id, person) in people.iter_mut() {
            let Some(file) = person.get("public").and_then(Value::as_str) else { continue };
            let public = key::read_public(&beside.join(file))?;
            if public.id.as_str() != id {
                return Err(Failure::new(
                    "STATEMENT",
                    format!("{file} holds the keys of {}, not of {id}", public.id),
                )
                .hint("the name of the entry and the id in the file must be the same person's"));
            }
            let mut taken = json!({ "organisation": public.organisation, "keys": public.keys });
            if group == "people" {
                taken["reviewKey"] = json!(public.review_key);
            }
            *person = taken;
        }
    }
    Ok(())
}

/// In roles, `box = "FILE"` stands for the keys of the box and its log, which `init` wrote.
fn take_box_keys(fields: &mut Map<String, Value>, beside: &Path) -> Result<(), Failure> {
    let Some(file) = fields.get("box").and_then(Value::as_str) else { return Ok(()) };
    let public = crate::init::public_keys(&beside.join(file))?;
    fields.insert("box".into(), json!(public.box_keys));
    fields.insert("log".into(), json!(public.log));
    fields.entry("site").or_insert_with(|| json!(public.site));
    Ok(())
}

/// What `site sign` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct SignArguments {
    /// A draft, or a statement that others have signed already. It is replaced.
    pub file: PathBuf,
    /// Your id. Without it id, keys and passphrase file are those of your profile.
    #[arg(long = "as")]
    pub id: Option<Name>,
    /// Where your key files are; without it here, or with the profile's id where that says.
    #[arg(long)]
    pub keys: Option<PathBuf>,
    /// A file whose first line is the passphrase; without it you are asked, or your profile names one.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

impl SignArguments {
    /// Whose keys sign: those that were typed, or the profile's. Who types an id may have no profile here, or another one.
    fn signer(&self, profile: &str) -> Result<(key::KeyFiles, Option<PathBuf>), Failure> {
        let (id, keys, passphrase_file) = match &self.id {
            Some(id) => (id.clone(), PathBuf::from("."), None),
            None => {
                let profile = Profile::load(profile)
                    .map_err(|failure| failure.hint("or say who signs: --as ID and --keys DIR"))?;
                (profile.id, profile.keys, profile.passphrase_file)
            }
        };
        let keys = self.keys.as_ref().unwrap_or(&keys);
        Ok((key::KeyFiles::new(keys, &id), self.passphrase_file.clone().or(passphrase_file)))
    }
}

/// Signs a draft, or adds a signature. The payload is shown as text for people before the key is unlocked. Returns a
/// line that says what was signed.
pub fn sign(arguments: &SignArguments, profile: &str, show: impl FnOnce(&str)) -> Result<String, Failure> {
    let (files, passphrase_file) = arguments.signer(profile)?;
    let bytes = fs::read(&arguments.file).map_err(file_failure(&arguments.file))?;
    show(&words(draft_or_envelope(&bytes)?.payload())?);
    let ask = || key::passphrase(passphrase_file.as_deref(), "Passphrase: ");
    let signer = key::PersonSigner::unlock(&files, ask)?;
    sign_with(&arguments.file, &signer)?;
    let bytes = fs::read(&arguments.file).map_err(file_failure(&arguments.file))?;
    let signed = Envelope::parse(&bytes).map_err(file_failure(&arguments.file))?;
    Ok(format!(
        "{}  payload {}  {} signature(s)",
        arguments.file.display(),
        signed.payload_digest(),
        signed.signatures().len()
    ))
}

/// Signs a draft with a key at hand, or adds a signature.
pub fn sign_with<S: SignStatement>(file: &Path, key: &S) -> Result<(), Failure> {
    let bytes = fs::read(file).map_err(file_failure(file))?;
    let mut envelope = draft_or_envelope(&bytes)?;
    envelope.add_signature(key).map_err(file_failure(file))?;
    replace(file, &envelope.to_bytes())
}

fn draft_or_envelope(bytes: &[u8]) -> Result<Envelope, Failure> {
    match Envelope::parse(bytes) {
        Ok(envelope) => Ok(envelope),
        Err(_) => from_draft(bytes),
    }
}

/// An envelope without signatures around a draft, which must be of one of the kinds that a site makes.
fn from_draft(draft: &[u8]) -> Result<Envelope, Failure> {
    fn unsigned<P: Predicate>(draft: &[u8]) -> Result<Envelope, Failure> {
        let refused = |error: &dyn std::error::Error| Failure::new("STATEMENT", whole(error));
        let statement = parse_payload::<P>(draft).map_err(|error| refused(&error))?;
        Envelope::unsigned(&statement).map_err(|error| refused(&error))
    }
    let kind = kind_of(draft).map_err(|error| Failure::new("STATEMENT", whole(&error)))?;
    match Kind::ALL.into_iter().find(|known| known.predicate_type() == kind) {
        Some(Kind::Roles) => unsigned::<Roles>(draft),
        Some(Kind::Policy) => unsigned::<Policy>(draft),
        Some(Kind::Grant) => unsigned::<Grant>(draft),
        Some(Kind::Catalogue) => unsigned::<Catalogue>(draft),
        Some(Kind::Revocation) => unsigned::<Revocation>(draft),
        _ => Err(Failure::new("STATEMENT", "the file is not a statement of a site").exit(Exit::Usage)),
    }
}

/// A payload as text for people: every field, indented.
fn words(payload: &[u8]) -> Result<String, Failure> {
    let value: Value = release::json::from_bytes(payload, PAYLOAD_LIMIT)
        .map_err(|error| Failure::new("STATEMENT", whole(&error)))?;
    let kind = value.get("predicateType").and_then(Value::as_str).unwrap_or_default().to_owned();
    let predicate = value.get("predicate").cloned().unwrap_or_default();
    Ok(format!("{kind}\n{}", serde_json::to_string_pretty(&predicate).unwrap_or_default()))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory).map_err(file_failure(path))?;
    fs::write(file.path(), bytes).map_err(file_failure(path))?;
    file.as_file().sync_all().map_err(file_failure(path))?;
    file.persist(path).map_err(|error| Failure::new("FILE", whole(&error.error)))?;
    blobs::sync_directory(directory).map_err(file_failure(directory))
}

/// What stands in a site directory: a line for each statement, and whether the whole verifies from the pin.
pub fn list(directory: &Path, pin: Option<&blobs::Digest>) -> Result<Vec<String>, Failure> {
    let files = read_files(directory).map_err(file_failure(directory))?;
    let mut lines = Vec::new();
    for (path, bytes) in files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "json")) {
        let envelope = Envelope::parse(bytes).map_err(file_failure(path))?;
        lines.push(format!(
            "{:<44} {}  {} signature(s)",
            path.display(),
            envelope.payload_digest(),
            envelope.signatures().len()
        ));
    }
    if let Some(pin) = pin {
        Site::from_files(files, pin, now())
            .map_err(|error| {
                Failure::new("SITE_REFUSED", whole(&error))
                    .hint("--pin names the payload digest of the first roles; the statement that is named must be made anew")
                    .exit(Exit::Denied)
            })?;
        lines.push(format!("verifies from the pin {pin}"));
    }
    Ok(lines)
}
