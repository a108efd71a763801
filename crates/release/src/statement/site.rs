//! What a site decides: roles, policies, grants, the catalogue and revocations.

use std::collections::BTreeMap;

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::{Kind, PolicyId, Predicate, PrivacyBudget, Request, Subject};
use crate::value::{Bytes, Count, DigestSet, Name, Timestamp};

fn site_subject(site: &Name) -> Vec<Subject> {
    vec![Subject::new(format!("site/{site}"), Digest::of(site.as_str().as_bytes()))]
}

/// Who may do what at a site. Like TUF's root: version N+1 carries signatures by the thresholds of the root role
/// of version N *and* of its own. The payload digest of version 1 is the pin that every party keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Roles {
    /// The site's name.
    pub site: Name,
    /// 1, then one more each time.
    pub version: Count,
    /// When it was made.
    pub issued_at: Timestamp,
    /// After this moment no room admits, approves or signs.
    pub expires: Timestamp,
    /// Everyone who holds a role, and their keys.
    pub people: BTreeMap<Name, Person>,
    /// Who may change the roles.
    pub root: Role,
    /// Who signs policies.
    pub policy: Role,
    /// Who signs the catalogue entries of runtimes.
    pub runtime: Role,
    /// Who signs revocations.
    pub revocation: Role,
    /// For each dataset, who answers for it.
    pub datasets: BTreeMap<Name, DatasetRole>,
    /// The keys of the box itself.
    #[serde(rename = "box")]
    pub box_keys: BoxKeys,
    /// The log's name and key.
    pub log: LogKey,
    /// Who watches the log.
    pub witnesses: Vec<Witness>,
    /// How many of them must have cosigned a checkpoint before a release is valid.
    pub witness_quorum: Count,
}

/// Someone who holds a role. People appear in public as such ids, never by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// The organisation they answer to.
    pub organisation: Name,
    /// Keys they sign with. Approvals count people, not keys.
    pub keys: Vec<PublicKey>,
    /// X25519 public key that review packets are sealed to (RFC 9180); stewards have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review_key: Option<Bytes<32>>,
}

/// A public key and the one suite in which it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKey {
    /// The suite, pinned here and never read from a signature.
    pub suite: Suite,
    /// The raw public key.
    pub public: Bytes<32>,
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Suite {
    /// Ed25519 (RFC 8032) over the DSSE pre-authentication encoding.
    Ed25519,
    /// An OpenSSH key of type `ssh-ed25519`: Ed25519 over [`crate::sshsig::signed_bytes`] of that encoding.
    Sshsig,
    /// An OpenSSH key of type `sk-ssh-ed25519@openssh.com`, which a security key holds: Ed25519 over
    /// [`crate::sshsig::security_key_bytes`] of that encoding. Somebody must have touched it.
    SkSshsig,
    /// The same, and the security key must have asked for its PIN or its owner's finger.
    SkSshsigPin,
}

/// A set of people and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// Who.
    pub people: Vec<Name>,
    /// How many different people must sign; at least 1.
    pub threshold: Count,
}

/// Who answers for a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetRole {
    /// Its stewards.
    pub stewards: Vec<Name>,
    /// How many of them must sign a grant.
    pub grant_threshold: Count,
    /// How many of them must sign the catalogue entry.
    pub catalogue_threshold: Count,
    /// How many of them must approve a release, at the least; a grant may demand more.
    pub approval_threshold: Count,
}

/// The keys that the box itself holds, one a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BoxKeys {
    /// Signs verdicts.
    pub enclave: PublicKey,
    /// Signs release manifests.
    pub signer: PublicKey,
}

/// A log: its origin line and the Ed25519 key of its checkpoints (C2SP signed-note, type 0x01).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogKey {
    /// The origin, such as `hospital.example/databox/log`. Also the name of the key.
    pub origin: String,
    /// The public key.
    pub public: Bytes<32>,
}

/// A witness of the log (C2SP tlog-witness, cosignature type 0x04).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Witness {
    /// The name of its key.
    pub name: String,
    /// The public key.
    pub public: Bytes<32>,
    /// True if it runs on the box's own machine, where it proves little. A verifier accepts such a witness only
    /// under a policy that says so.
    pub on_box_machine: bool,
}

impl Predicate for Roles {
    const KIND: Kind = Kind::Roles;

    fn subject(&self) -> Vec<Subject> {
        site_subject(&self.site)
    }
}

/// An egress policy: a TOML file and its standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The site's name.
    pub site: Name,
    /// The policy's name.
    pub name: Name,
    /// 1, then one more each time.
    pub version: Count,
    /// The TOML file, byte for byte.
    pub file: DigestSet,
    /// When it was made.
    pub issued_at: Timestamp,
    /// After this moment nothing is released under it.
    pub expires: Timestamp,
}

impl Predicate for Policy {
    const KIND: Kind = Kind::Policy;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new(format!("policies/{}.toml", self.name), self.file.sha256)]
    }
}

/// What a project may use. Signed by the grant threshold of each dataset that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The site's name.
    pub site: Name,
    /// The grant's id.
    pub id: Name,
    /// 1, then one more each time.
    pub version: Count,
    /// The project.
    pub project: Name,
    /// Who may submit jobs, and their keys.
    pub members: BTreeMap<Name, Member>,
    /// The datasets, and how many bits may leave of each.
    pub datasets: BTreeMap<Name, DatasetGrant>,
    /// The egress policy that every job of the project is judged by.
    pub policy: PolicyId,
    /// The weakest wall in which a job may run.
    pub least_wall: WallName,
    /// Approvals beyond those that roles demand.
    pub approvals: GrantApprovals,
    /// Whether stewards review code before it runs.
    pub code_review: CodeReview,
    /// When it was made.
    pub issued_at: Timestamp,
    /// After this moment no job is admitted and nothing is released under it.
    pub expires: Timestamp,
    /// Devices that a job may hold at the most, by their kind; not there if none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<Name, Count>,
}

/// Someone who may submit jobs. The transport certificate must name the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// The organisation they answer to.
    pub organisation: Name,
    /// Keys they sign requests with.
    pub keys: Vec<PublicKey>,
}

/// How many bits may leave of one dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetGrant {
    /// Bits that released files may carry, in total.
    pub release_bits: Count,
    /// Bits that answers to the researcher before any release may carry, in total: log2 of all answers that a run
    /// can get, for every run.
    pub answer_bits: Count,
}

/// Approvals that a grant demands beyond roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantApprovals {
    /// How many stewards must approve; the larger of this and the dataset's own threshold counts.
    pub threshold: Count,
    /// How many different organisations they must belong to.
    pub organisations: Count,
    /// People who must be among those who approve, such as supervisors.
    pub supervisors: Vec<Name>,
}

/// Whether people read code before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeReview {
    /// Nobody does.
    None,
    /// A steward must have approved the bundle.
    BeforeRun,
}

/// The walls around a job, from the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WallName {
    /// Namespaces, a system call filter and no capabilities, on the shared kernel.
    Native,
    /// The same, and within it a container of an OCI runtime that the site trusts, on the shared kernel.
    Oci,
    /// One micro-VM a job that is emulated, behind the native wall. For tests: the emulator's makers promise nothing of it.
    VmEmulated,
    /// As `oci`, with a runtime that answers the job's system calls itself: a kernel of its own in user space, gVisor's.
    OciGvisor,
    /// One micro-VM a job, on the processor's own virtualisation.
    Vm,
}

impl Predicate for Grant {
    const KIND: Kind = Kind::Grant;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new(format!("policies/{}.toml", self.policy.name), self.policy.file.sha256)]
    }
}

/// What may be known of one dataset or runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Catalogue {
    /// The site's name.
    pub site: Name,
    /// The name of the dataset or runtime.
    pub name: Name,
    /// 1, then one more each time.
    pub version: Count,
    /// What it is.
    pub entry: CatalogueEntry,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// A dataset or a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum CatalogueEntry {
    /// Private data. Signed by the dataset's stewards.
    Dataset {
        /// Every snapshot that jobs may use, the newest last.
        snapshots: Vec<Snapshot>,
        /// The column that names the unit that the data is about, such as the person; thresholds count units.
        unit_column: Name,
        /// The files that a job sees, and their columns.
        tables: Vec<Table>,
        /// Bits that all grants together may release, and answer.
        limits: DatasetGrant,
        /// Licence or terms, in words.
        licence: String,
        /// Where it comes from, in words.
        source: String,
        /// What answers with noise may spend of its units' privacy in all; not there if nothing is answered so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        privacy: Option<PrivacyBudget>,
        /// Files that anybody may read, such as licences, manuals and base models, sorted by name. What of the data stands in
        /// one of them is no copy of the data, whoever writes it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        public: Vec<PublicFile>,
    },
    /// A read-only tree of programs and libraries. Signed by the runtime role.
    Runtime {
        /// The tree digest.
        tree: DigestSet,
        /// What it is, in words.
        description: String,
        /// True if it is the box's own program that answers questions ([`super::Query`]): whoever signs this says that it
        /// counts, and that nobody need take a job's word for it.
        #[serde(default, skip_serializing_if = "is_false")]
        answers_queries: bool,
    },
}

/// Most public files of a dataset. Each is shown to the search by itself.
pub const PUBLIC_FILES_LIMIT: usize = 64;

/// Most bytes of a dataset's public files together. Once an output has anything in common with the data they are read through
/// each reading of the data.
pub const PUBLIC_BYTES_LIMIT: u64 = 64 << 20;

/// A file that anybody may read. Whoever knows it by its digest can look it up elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicFile {
    /// What it is called.
    pub name: Name,
    /// The digest of its bytes.
    pub file: DigestSet,
    /// How many bytes it has.
    pub bytes: Count,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Catalogue {
    /// The files that anybody may read, of a dataset.
    pub fn public(&self) -> &[PublicFile] {
        match &self.entry {
            CatalogueEntry::Dataset { public, .. } => public,
            CatalogueEntry::Runtime { .. } => &[],
        }
    }

    /// How many units that snapshot of the dataset has about which a request asks; none if it asks about none that is here.
    pub fn units_asked(&self, request: &Request) -> Option<u64> {
        let CatalogueEntry::Dataset { snapshots, .. } = &self.entry else { return None };
        let asked = request.datasets.iter().find(|dataset| dataset.name == self.name)?;
        let snapshot = snapshots.iter().find(|snapshot| snapshot.tree == asked.tree)?;
        Some(snapshot.units.0)
    }
}

/// A dataset at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// The tree digest of the snapshot's files.
    pub tree: DigestSet,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Size of all files, in bytes.
    pub bytes: Count,
    /// How many different units it has.
    pub units: Count,
}

/// One CSV file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Table {
    /// The file's name.
    pub file: Name,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// A column of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Column {
    /// Its name in the header.
    pub name: Name,
    /// What it holds.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// For a category: its values, each held by at least the policy's smallest count of units; sorted. Empty for
    /// other types.
    pub categories: Vec<String>,
}

/// What a column of a dataset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueType {
    /// Whole numbers.
    Integer,
    /// Numbers.
    Decimal,
    /// A few values that are public.
    Category,
    /// Text.
    Text,
}

impl Predicate for Catalogue {
    const KIND: Kind = Kind::Catalogue;

    fn subject(&self) -> Vec<Subject> {
        match &self.entry {
            CatalogueEntry::Runtime { tree, .. } => {
                vec![Subject::new(format!("runtimes/{}", self.name), tree.sha256)]
            }
            CatalogueEntry::Dataset { snapshots, .. } => snapshots
                .iter()
                .map(|snapshot| Subject::new(format!("datasets/{}", self.name), snapshot.tree.sha256))
                .collect(),
        }
    }
}

/// What is no longer valid: one statement, signed anew at least weekly. Past its expiry every room stops admitting,
/// approving and signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revocation {
    /// The site's name.
    pub site: Name,
    /// 1, then one more each time. Nothing that a lower version revoked may be missing.
    pub version: Count,
    /// When it was made.
    pub issued_at: Timestamp,
    /// After this moment every room stops.
    pub expires: Timestamp,
    /// People who may do nothing any more.
    pub people: Vec<Name>,
    /// Keys that count no more.
    pub keys: Vec<Digest>,
    /// Serial numbers of certificates, in hexadecimal.
    pub certificates: Vec<String>,
    /// Grants that allow nothing any more.
    pub grants: Vec<Name>,
    /// Payload digests of release manifests that are recalled.
    pub releases: Vec<Digest>,
    /// Who may not approve for which project.
    pub interests: Vec<Interest>,
}

/// Someone who gains by a project's releases, and so may not approve them. They may refuse them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interest {
    /// Who.
    pub person: Name,
    /// The project, as grants name it.
    pub project: Name,
}

impl Predicate for Revocation {
    const KIND: Kind = Kind::Revocation;

    fn subject(&self) -> Vec<Subject> {
        site_subject(&self.site)
    }
}
