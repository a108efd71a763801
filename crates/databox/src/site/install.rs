//! `databox site install`: the one way into the site directory. What the rooms would not take is refused here.

use std::fs;
use std::path::{Path, PathBuf};

use release::envelope::{Envelope, EnvelopeError};
use release::refusal::Refusal;
use release::site::{Site, SiteError, read_files};
use release::statement::{Grant, Kind};

use super::{from_draft, now, replace};
use crate::failure::{Exit, Failure, file_failure, whole};

/// What `site install` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct InstallArguments {
    /// A signed statement; for a policy its TOML file must lie beside the draft's source and be given too.
    pub file: PathBuf,
    /// The site directory.
    #[arg(long)]
    pub site_directory: PathBuf,
    /// For a policy: its TOML file.
    #[arg(long)]
    pub policy_file: Option<PathBuf>,
    /// Payload digest of the first roles; not needed for those roles themselves.
    #[arg(long)]
    pub pin: Option<blobs::Digest>,
}

/// Puts a signed statement where rooms find it. A site that would not verify with it is left as it was. If the same
/// statement is there already, the new signatures are added to it: so people who come sign what stands before those
/// who go are dropped from the roles.
pub fn install(arguments: &InstallArguments) -> Result<PathBuf, Failure> {
    let bytes = fs::read(&arguments.file).map_err(file_failure(&arguments.file))?;
    if from_draft(&bytes).is_ok() {
        return Err(Failure::new("UNSIGNED", format!("{} is a draft", arguments.file.display()))
            .hint("`databox site sign` signs it")
            .exit(Exit::Usage));
    }
    let unusable = |refusal: Refusal| {
        Failure::new("STATEMENT", format!("{}: {refusal}", arguments.file.display()))
            .hint("`databox site install` takes what `site new` drafted and `site sign` signed, or a steward's denial")
            .exit(Exit::Usage)
    };
    let envelope = Envelope::parse(&bytes).map_err(|error| unusable(error.refusal()))?;
    let name = release::site::file_name(&envelope).map_err(unusable)?;
    let pin = pin(arguments, &envelope, &name)?;
    let mut files = read_files(&arguments.site_directory).map_err(file_failure(&arguments.site_directory))?;
    if let Some((_, there)) = files.iter_mut().find(|(path, _)| *path == name) {
        let both = merged(there, &envelope)?;
        there.clone_from(&both);
        check_with(files, &pin, &name)?;
        let target = arguments.site_directory.join(&name);
        return replace(&target, &both).map(|()| target);
    }
    let mut added = vec![(name.clone(), bytes)];
    if let Some(policy) = &arguments.policy_file {
        if envelope.kind() != Kind::Policy {
            return Err(Failure::new("POLICY_FILE", format!("{} is no policy", arguments.file.display()))
                .hint("--policy-file goes with the signed statement of a policy; nothing was installed")
                .exit(Exit::Usage));
        }
        let toml = fs::read(policy).map_err(file_failure(policy))?;
        added.insert(0, (name.with_extension("toml"), toml));
    }
    if let Some((taken, _)) = files.iter().find(|(path, _)| added.iter().any(|(new, _)| new == path)) {
        return Err(Failure::new("ALREADY_INSTALLED", format!("{} is there already", taken.display()))
            .hint("a new version gets a new number; `site new` counts on by itself")
            .exit(Exit::Conflict));
    }
    files.extend(added.clone());
    check_with(files, &pin, &name)?;
    for (path, bytes) in &added {
        let target = arguments.site_directory.join(path);
        let parent = target.parent().unwrap_or(&arguments.site_directory);
        fs::create_dir_all(parent).map_err(file_failure(parent))?;
        blobs::write_new_file_durably(&target, bytes, 0o644).map_err(file_failure(&target))?;
    }
    Ok(arguments.site_directory.join(name))
}

/// The digest from which the site is verified: of the first roles themselves, or as `--pin` names it.
fn pin(arguments: &InstallArguments, envelope: &Envelope, name: &Path) -> Result<blobs::Digest, Failure> {
    let own = || (name == Path::new("roles/1.json")).then(|| envelope.payload_digest());
    arguments.pin.or_else(own).ok_or_else(|| {
        let first = arguments.site_directory.join("roles/1.json");
        let digest = fs::read(first).ok().and_then(|bytes| Envelope::parse(&bytes).ok());
        let there = digest.map_or(String::new(), |roles| {
            format!("; the roles that lie there now have {}, if you trust them", roles.payload_digest())
        });
        Failure::new("PIN_MISSING", "only the first roles are installed without --pin")
            .hint(format!(
                "--pin DIGEST names the payload digest of the first roles, which `databox site sign` printed and every \
                 party keeps{there}"
            ))
            .exit(Exit::Usage)
    })
}

/// The statement that stands there with the signatures of both, if it is the same and the other has a new one.
fn merged(there: &[u8], new: &Envelope) -> Result<Vec<u8>, Failure> {
    let taken = |why: &str| {
        Failure::new("ALREADY_INSTALLED", format!("there is a statement of this version already{why}"))
            .hint("a new version gets a new number; `site new` counts on by itself")
            .exit(Exit::Conflict)
    };
    let failure = |error: EnvelopeError| Failure::new("STATEMENT", whole(&error));
    let mut standing = Envelope::parse(there).map_err(failure)?;
    if standing.payload() != new.payload() {
        return Err(taken(", which says something else"));
    }
    match standing.add_signatures_of(new).map_err(failure)? {
        0 => Err(taken(", with these signatures")),
        _ => Ok(standing.to_bytes()),
    }
}

/// Refuses a statement that the rooms would not accept among those that are there.
fn check_with(files: Vec<(PathBuf, Vec<u8>)>, pin: &blobs::Digest, name: &Path) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new("SITE_REFUSED", format!("the site does not verify with {}: {why}", name.display()))
            .hint(
                "nothing was changed; `databox site sign` adds a missing signature, --pin names the first roles, \
                 --policy-file a policy's TOML file",
            )
            .exit(Exit::Denied)
    };
    match Site::from_files(files, pin, now()) {
        // The first roles come alone; until a revocation stands beside them no room does anything.
        Err(SiteError::Missing("revocation")) if name.starts_with("roles") => Ok(()),
        Err(error) => Err(refused(whole(&error))),
        Ok(site) => match site.set_aside().iter().find(|aside| aside.path == name) {
            Some(aside) => Err(refused(aside.refusal.to_string())),
            None => grant_can_be_met(&site, name),
        },
    }
}

/// Refuses a grant under which nothing could ever be released: its jobs would run, cost bits, and wait for ever.
fn grant_can_be_met(site: &Site, name: &Path) -> Result<(), Failure> {
    let newest = |grant: &&release::site::Verified<Grant>| {
        release::site::file_name(grant.envelope()).is_ok_and(|file| file == name)
    };
    let Some(grant) = site.grants().find(newest).map(|grant| grant.statement()) else { return Ok(()) };
    match crate::grant::unmet(site, grant) {
        None => Ok(()),
        Some(why) => {
            let text = format!("nothing could be released under grant {}: {why}", grant.id);
            Err(Failure::new("GRANT_UNMET", text)
                .hint("nothing was changed; correct `approvals` or `policy` and sign it anew, or install newer roles or the policy first")
                .exit(Exit::Denied))
        }
    }
}
