//! The site directory: everything a site decides, as signed statements that each room verifies for itself.
//!
//! The operator writes the directory and rooms only read it, so nothing in it is believed. Version 1 of the roles
//! must be the pinned one; each further version must be signed by the root thresholds of both; everything else must
//! be signed by whom the newest roles name. The newest version of a grant or policy counts; earlier ones stay for the
//! reviews that began under them (`docs/decisions/mid-review.md`). A grant, policy or catalogue entry that fails is set aside by name and
//! is as if it were not there. Roles or a revocation that fail refuse the whole site: without them no room can know
//! what it must not do.
//!
//! ```text
//! roles/<version>.json
//! revocations/<version>.json
//! policies/<name>/<version>.json     and <version>.toml
//! grants/<id>/<version>.json
//! catalogue/datasets/<name>/<version>.json
//! catalogue/runtimes/<name>/<version>.json
//! denials/<payload digest of the verdict, or of the request whose code is refused>.<steward>.json
//! ```

mod directory;
mod roles;
mod seen;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use blobs::Digest;

pub use directory::{denials_of, file_name, read_files};
pub(crate) use roles::next as next_roles;
pub use seen::{RevokedThings, SeenStatement, SeenVersions};
pub(crate) use statements::check_revocation;

use crate::envelope::{Envelope, SignaturesMade};
use crate::refusal::Refusal;
use crate::statement::{
    Catalogue, CatalogueEntry, CodeDenial, Denial, Grant, GrantId, Policy, PolicyId, PrivacyBudget,
    PublicKey, Revocation, Roles, RolesId, Snapshot,
};
use crate::value::{KeyId, Name, Timestamp};

/// How far two honest clocks may differ, in seconds.
pub const CLOCK_SKEW_SECONDS: i64 = 300;

/// Longest time for which a revocation is good, in seconds: 7 days. Its people sign anew at least weekly.
pub const REVOCATION_SECONDS: i64 = 7 * 24 * 3600;

/// A statement whose signatures were checked. Only the checks of this crate make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<P> {
    statement: P,
    envelope: Envelope,
    payload_digest: Digest,
}

impl<P> Verified<P> {
    pub(crate) fn new(statement: P, envelope: Envelope) -> Self {
        let payload_digest = envelope.payload_digest();
        Self { statement, envelope, payload_digest }
    }

    /// What it says.
    pub fn statement(&self) -> &P {
        &self.statement
    }

    /// The envelope that it came in.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The digest of the signed bytes.
    pub fn payload_digest(&self) -> Digest {
        self.payload_digest
    }
}

/// A site that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A file or directory cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file stands where a site directory has none.
    #[error("{0} is not a file of a site directory")]
    Stray(PathBuf),
    /// A statement is refused.
    #[error("{path}: {refusal}")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// A statement that must be there is not.
    #[error("the site has no {0}")]
    Missing(&'static str),
}

impl SiteError {
    /// The rule that was broken, if it was one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            Self::Io { .. } | Self::Stray(_) | Self::Missing(_) => None,
        }
    }
}

/// A statement that is not accepted and therefore as if it were not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its place below the site directory.
    pub path: PathBuf,
    /// Why.
    pub refusal: Refusal,
}

/// A policy statement and the TOML file that it names.
#[derive(Debug, Clone)]
pub struct VerifiedPolicy {
    statement: Verified<Policy>,
    file: Vec<u8>,
}

impl VerifiedPolicy {
    /// The statement.
    pub fn statement(&self) -> &Verified<Policy> {
        &self.statement
    }

    /// The TOML file, byte for byte.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// Its name, version and file digest, as other statements name it.
    pub fn id(&self) -> PolicyId {
        let policy = self.statement.statement();
        PolicyId { name: policy.name.clone(), version: policy.version, file: policy.file }
    }
}

/// A dataset or runtime of the catalogue, checked.
pub type VerifiedCatalogue = Verified<Catalogue>;

/// What a site decides, verified.
#[derive(Debug, Clone)]
pub struct Site {
    roles: Vec<Verified<Roles>>,
    revocation: Verified<Revocation>,
    policies: BTreeMap<Name, VerifiedPolicy>,
    grants: BTreeMap<Name, Verified<Grant>>,
    datasets: BTreeMap<Name, VerifiedCatalogue>,
    runtimes: BTreeMap<Name, VerifiedCatalogue>,
    /// Versions of grants and policies before the newest.
    earlier_grants: Vec<Verified<Grant>>,
    earlier_policies: Vec<VerifiedPolicy>,
    denials: Vec<Verified<Denial>>,
    code_denials: Vec<Verified<CodeDenial>>,
    set_aside: Vec<SetAside>,
}

impl Site {
    /// Reads and verifies a site directory. Expiry is not looked at here ([`Site::fresh`], [`Site::grant_in_force`]),
    /// so that an expired site can still be shown and renewed; statements from the future are refused.
    ///
    /// `pin` is the payload digest of version 1 of the roles.
    pub fn load(directory: &Path, pin: &Digest, now: Timestamp) -> Result<Self, SiteError> {
        Self::from_files(directory::read_files(directory)?, pin, now)
    }

    /// The same from memory: pairs of path below the site directory, and content.
    pub fn from_files(
        files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>,
        pin: &Digest,
        now: Timestamp,
    ) -> Result<Self, SiteError> {
        let files = directory::sort(files)?;
        let roles = roles::chain(&files.roles, pin, now)?;
        let newest = &roles[roles.len() - 1];
        let revocation = statements::revocation(&files.revocations, newest.statement(), now)?;
        let mut site = Self { set_aside: files.set_aside, ..Self::bare(roles, revocation) };
        site.add_policies(&files.policies, now);
        site.add_catalogue(&files.datasets, &files.runtimes, now);
        site.add_grants(&files.grants, now);
        site.add_denials(&files.denials);
        site.add_code_denials(&files.code_denials);
        Ok(site)
    }

    /// The newest roles.
    pub fn roles(&self) -> &Roles {
        self.verified_roles().statement()
    }

    /// The newest roles, by version and payload digest.
    pub fn roles_id(&self) -> RolesId {
        let roles = self.verified_roles();
        RolesId { version: roles.statement().version, payload: roles.payload_digest().into() }
    }

    /// Every version of the roles, the first first.
    pub fn roles_chain(&self) -> &[Verified<Roles>] {
        &self.roles
    }

    /// The envelopes of every version of the roles, the first first.
    pub fn roles_envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.roles.iter().map(Verified::envelope)
    }

    /// The version of the roles that a statement names, if it is in the chain.
    pub fn roles_version(&self, id: &RolesId) -> Option<&Roles> {
        self.roles
            .iter()
            .find(|roles| {
                roles.statement().version == id.version && roles.payload_digest() == id.payload.sha256
            })
            .map(Verified::statement)
    }

    /// The site's name.
    pub fn name(&self) -> &Name {
        &self.roles().site
    }

    /// The newest version of a grant, in force or not.
    pub fn grant(&self, id: &Name) -> Option<&Verified<Grant>> {
        self.grants.get(id)
    }

    /// Every grant.
    pub fn grants(&self) -> impl Iterator<Item = &Verified<Grant>> {
        self.grants.values()
    }

    /// Every version of a grant before the newest.
    pub fn earlier_grants(&self) -> impl Iterator<Item = &Verified<Grant>> {
        self.earlier_grants.iter()
    }

    /// The version of a grant that a statement names, the newest or not, if the grant is not revoked. A review goes on
    /// under the version with which it began.
    pub fn grant_unrevoked(&self, id: &GrantId) -> Result<&Verified<Grant>, Refusal> {
        let mut versions = self.grants.values().chain(&self.earlier_grants);
        let grant = versions.find(|grant| grant_id(grant) == *id).ok_or(Refusal::RequestGrant)?;
        if self.revocation().grants.contains(&id.id) { Err(Refusal::Revoked) } else { Ok(grant) }
    }

    /// The same, if that version has not expired.
    pub fn grant_unexpired(&self, id: &GrantId, now: Timestamp) -> Result<&Verified<Grant>, Refusal> {
        let grant = self.grant_unrevoked(id)?;
        in_force(grant.statement().issued_at, grant.statement().expires, now)?;
        Ok(grant)
    }

    /// The grant that a statement names, if it is the newest version and in force: nothing begins under another.
    pub fn grant_in_force(&self, id: &GrantId, now: Timestamp) -> Result<&Verified<Grant>, Refusal> {
        let newest = self.grant(&id.id).is_some_and(|grant| grant_id(grant) == *id);
        if newest { self.grant_unexpired(id, now) } else { Err(Refusal::RequestGrant) }
    }

    /// The version of a policy that a statement names, the newest or not.
    pub fn policy(&self, id: &PolicyId) -> Option<&VerifiedPolicy> {
        self.policies.values().chain(&self.earlier_policies).find(|policy| policy.id() == *id)
    }

    /// The same, if that version has not expired.
    pub fn policy_unexpired(&self, id: &PolicyId, now: Timestamp) -> Result<&VerifiedPolicy, Refusal> {
        let policy = self.policy(id).ok_or(Refusal::OutOfForce)?;
        let statement = policy.statement().statement();
        in_force(statement.issued_at, statement.expires, now)?;
        Ok(policy)
    }

    /// The policy that a statement names, if it is the newest version and in force: nothing begins under another.
    pub fn policy_in_force(&self, id: &PolicyId, now: Timestamp) -> Result<&VerifiedPolicy, Refusal> {
        let newest = self.policies.get(&id.name).is_some_and(|policy| policy.id() == *id);
        if newest { self.policy_unexpired(id, now) } else { Err(Refusal::OutOfForce) }
    }

    /// Every version of a policy before the newest.
    pub fn earlier_policies(&self) -> impl Iterator<Item = &VerifiedPolicy> {
        self.earlier_policies.iter()
    }

    /// Every policy, the newest version of each.
    pub fn policies(&self) -> impl Iterator<Item = &VerifiedPolicy> {
        self.policies.values()
    }

    /// The catalogue entry of a dataset.
    pub fn dataset(&self, name: &Name) -> Option<&VerifiedCatalogue> {
        self.datasets.get(name)
    }

    /// What may be spent of the privacy of a dataset's units; none if nothing is answered with noise.
    pub fn privacy_budget(&self, name: &Name) -> Option<&PrivacyBudget> {
        match &self.dataset(name)?.statement().entry {
            CatalogueEntry::Dataset { privacy, .. } => privacy.as_ref(),
            CatalogueEntry::Runtime { .. } => None,
        }
    }

    /// The catalogue entries of all datasets.
    pub fn datasets(&self) -> impl Iterator<Item = &VerifiedCatalogue> {
        self.datasets.values()
    }

    /// A snapshot of a dataset, if the catalogue has it.
    pub fn snapshot(&self, dataset: &Name, tree: &Digest) -> Option<&Snapshot> {
        match &self.dataset(dataset)?.statement().entry {
            CatalogueEntry::Dataset { snapshots, .. } => {
                snapshots.iter().find(|snapshot| snapshot.tree.sha256 == *tree)
            }
            CatalogueEntry::Runtime { .. } => None,
        }
    }

    /// The catalogue entry of a runtime.
    pub fn runtime(&self, name: &Name) -> Option<&VerifiedCatalogue> {
        self.runtimes.get(name)
    }

    /// The catalogue entries of all runtimes.
    pub fn runtimes(&self) -> impl Iterator<Item = &VerifiedCatalogue> {
        self.runtimes.values()
    }

    /// The runtime whose program compares answers to questions: of those that answer them the one that was described last, and
    /// of two of one moment the last by name. Were it the one that answered, whoever asks would choose by what program they
    /// are compared.
    pub fn comparing_runtime(&self) -> Option<&VerifiedCatalogue> {
        let answers = |entry: &&VerifiedCatalogue| {
            matches!(entry.statement().entry, CatalogueEntry::Runtime { answers_queries: true, .. })
        };
        let order = |entry: &&VerifiedCatalogue| {
            let entry = entry.statement();
            (entry.issued_at, entry.name.clone())
        };
        self.runtimes.values().filter(answers).max_by_key(order)
    }

    /// What is revoked.
    pub fn revocation(&self) -> &Revocation {
        self.revocation.statement()
    }

    /// The revocation with its envelope.
    pub fn verified_revocation(&self) -> &Verified<Revocation> {
        &self.revocation
    }

    /// Denials that stewards laid into the directory themselves.
    pub fn denials(&self) -> &[Verified<Denial>] {
        &self.denials
    }

    /// Refusals of code that stewards laid into the directory themselves.
    pub fn code_denials(&self) -> &[Verified<CodeDenial>] {
        &self.code_denials
    }

    /// Statements that were set aside, and why.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }

    /// Refuses a site whose roles or revocation are not in force: no room admits, approves or signs then. A revocation is
    /// good for [`REVOCATION_SECONDS`] at most, whatever it says: whoever withholds a newer one gains no more time.
    pub fn fresh(&self, now: Timestamp) -> Result<(), Refusal> {
        in_force(self.roles().issued_at, self.roles().expires, now)?;
        let revocation = self.revocation();
        let most = revocation.issued_at.plus(REVOCATION_SECONDS);
        in_force(revocation.issued_at, revocation.expires.min(most), now)
    }

    /// True if this person or this key of theirs may do nothing any more.
    pub fn is_revoked(&self, person: &Name, key: &KeyId) -> bool {
        is_revoked(self.revocation(), person, key)
    }

    /// True if this person is marked as having an interest in this project.
    pub fn has_interest(&self, person: &Name, project: &Name) -> bool {
        let marked = &self.revocation().interests;
        marked.iter().any(|interest| interest.person == *person && interest.project == *project)
    }

    /// The keys of someone who holds a role, without revoked ones.
    pub fn keys_of(&self, person: &Name) -> Vec<&PublicKey> {
        keys_of(self.roles(), Some(self.revocation()), person)
    }

    /// The payload digest and version of everything here, to be kept and compared with later.
    pub fn seen(&self) -> SeenVersions {
        SeenVersions::of(self)
    }

    /// Refuses a site in which something is older than, or differs from, what was seen before.
    pub fn not_older_than(&self, seen: &SeenVersions) -> Result<(), Refusal> {
        seen.refuse_older(self)
    }

    fn verified_roles(&self) -> &Verified<Roles> {
        // A chain has at least the pinned version.
        &self.roles[self.roles.len() - 1]
    }
}

/// How other statements name a grant.
pub fn grant_id(grant: &Verified<Grant>) -> GrantId {
    GrantId {
        id: grant.statement().id.clone(),
        version: grant.statement().version,
        payload: grant.payload_digest().into(),
    }
}

/// Refuses a moment outside a statement's own window.
pub(crate) fn in_force(issued_at: Timestamp, expires: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if issued_at <= now.plus(CLOCK_SKEW_SECONDS) && now < expires { Ok(()) } else { Err(Refusal::OutOfForce) }
}

pub(crate) fn is_revoked(revocation: &Revocation, person: &Name, key: &KeyId) -> bool {
    revocation.people.contains(person) || revocation.keys.contains(key)
}

pub(crate) fn keys_of<'a>(
    roles: &'a Roles,
    revocation: Option<&Revocation>,
    person: &Name,
) -> Vec<&'a PublicKey> {
    let keys = roles.people.get(person).map(|person| &person.keys[..]).unwrap_or_default();
    let counts = |key: &&PublicKey| {
        revocation.is_none_or(|revocation| !is_revoked(revocation, person, &crate::key::key_id(key)))
    };
    keys.iter().filter(counts).collect()
}

/// Checks that enough different people of a role have signed; revoked people and keys do not count.
pub(crate) fn signed_by_threshold(
    envelope: &Envelope,
    roles: &Roles,
    revocation: Option<&Revocation>,
    people: &[Name],
    threshold: u64,
    made: &mut SignaturesMade,
    refusal: Refusal,
) -> Result<(), Refusal> {
    let keys = people
        .iter()
        .flat_map(|person| keys_of(roles, revocation, person).into_iter().map(move |key| (person, key)));
    let signed: BTreeSet<Name> = envelope.signed_by(keys, made, refusal)?;
    if threshold > 0 && signed.len() as u64 >= threshold { Ok(()) } else { Err(refusal) }
}
