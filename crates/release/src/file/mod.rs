//! The release file: everything that is needed to check a release, in one file, without the box and without a
//! network. `docs/formats/release-file.md` has a whole example.

mod again;
mod code_denial_file;
mod denial;
mod denial_file;
mod examination;
mod known_site;
mod log_check;
mod mirror;
mod remarks;
mod seen;
mod verify;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

pub use again::{Judge, JudgeAgain, compare};
pub use code_denial_file::{CODE_DENIAL_MEDIA_TYPE, CodeDenialFile, LoggedCodeDenial};
pub use denial::LoggedDenial;
pub use denial_file::{DENIAL_MEDIA_TYPE, DenialFile};
pub use examination::{Examination, Outcome, Row};
pub use known_site::KnownSite;
pub use log_check::{Witnessed, leaf};
pub use mirror::{AuditState, GrantTotal, Mirror, MirrorExamination, Reading};
pub use seen::{SEEN_GRACE_SECONDS, SeenHead, SeenRevocation, SeenRoles, SeenState};
pub use verify::{GivenFiles, LoggedRelease, Pinned, WITNESS_SECONDS_LIMIT};

use crate::envelope::{Envelope, Wire};
use crate::json::{self, JsonError};
use crate::log::LogProof;
use crate::path::{Approved, JudgedVerdict, ReviewedRun};
use crate::refusal::Refusal;
use crate::site::{Site, Verified};

/// Largest release file in bytes: 16 MiB.
pub const RELEASE_FILE_LIMIT: usize = 16 << 20;

/// The media type, which the file names itself.
pub const MEDIA_TYPE: &str = "application/vnd.databox.release.v1+json";

/// Most roles versions, approvals or catalogue entries in one file.
const LIST_LIMIT: usize = 1024;

/// A release and its evidence, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// The release manifest.
    pub manifest: Envelope,
    /// The verdict.
    pub verdict: Envelope,
    /// The approvals, in the order of the manifest.
    pub approvals: Vec<Envelope>,
    /// The approvals of the code before the run, sorted by steward; none if the grant demands none.
    pub code_approvals: Vec<Envelope>,
    /// The request.
    pub request: Envelope,
    /// The grant.
    pub grant: Envelope,
    /// The policy's statement.
    pub policy: Envelope,
    /// The policy's TOML file, byte for byte.
    pub policy_file: Vec<u8>,
    /// Catalogue entries: of the request's datasets in its order, then of its runtime.
    pub catalogue: Vec<Envelope>,
    /// The revocation in force at signing.
    pub revocation: Envelope,
    /// The roles, from version 1 to the one in force at signing.
    pub roles: Vec<Envelope>,
    /// The log proof (`c2sp.org/tlog-proof@v1`) of the manifest's leaf, with cosignatures.
    pub log_proof: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireFile {
    media_type: String,
    manifest: Wire,
    verdict: Wire,
    approvals: Vec<Wire>,
    code_approvals: Vec<Wire>,
    request: Wire,
    grant: Wire,
    policy: WirePolicy,
    catalogue: Vec<Wire>,
    revocation: Wire,
    roles: Vec<Wire>,
    tlog_proof: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePolicy {
    file: String,
    statement: Wire,
}

impl ReleaseFile {
    /// Gathers the evidence of a manifest. The log proof is empty until [`ReleaseFile::with_proof`].
    ///
    /// Refuses what [`crate::path`] could not have produced from this site.
    pub fn gather(
        manifest: Envelope,
        verdict: &JudgedVerdict,
        approved: &Approved,
        reviewed: &ReviewedRun,
        site: &Site,
    ) -> Result<Self, Refusal> {
        let request = verdict.request();
        let asked = request.request();
        let policy = site.policy(&request.grant().statement().policy).ok_or(Refusal::OutOfForce)?;
        let mut catalogue = Vec::new();
        for dataset in &asked.datasets {
            let entry = site.dataset(&dataset.name).ok_or(Refusal::CatalogueContent)?;
            catalogue.push(entry.envelope().clone());
        }
        let runtime = site.runtime(&asked.runtime.name).ok_or(Refusal::CatalogueContent)?;
        catalogue.push(runtime.envelope().clone());
        Ok(Self {
            manifest,
            verdict: verdict.envelope().clone(),
            approvals: approved.approvals().iter().map(Verified::envelope).cloned().collect(),
            code_approvals: reviewed.code().approvals().iter().map(Verified::envelope).cloned().collect(),
            request: request.envelope().clone(),
            grant: request.grant().envelope().clone(),
            policy: policy.statement().envelope().clone(),
            policy_file: policy.file().to_vec(),
            catalogue,
            revocation: site.verified_revocation().envelope().clone(),
            roles: site.roles_envelopes().cloned().collect(),
            log_proof: String::new(),
        })
    }

    /// The same with a log proof.
    pub fn with_proof(self, proof: &LogProof) -> Self {
        Self { log_proof: proof.to_string(), ..self }
    }

    /// Reads a release file. Nothing is checked but its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let file: WireFile = json::from_bytes(bytes, RELEASE_FILE_LIMIT).map_err(|error| match error {
            JsonError::TooLarge { .. } => Refusal::SizeLimit,
            _ => Refusal::JsonForm,
        })?;
        if file.media_type != MEDIA_TYPE {
            return Err(Refusal::JsonForm);
        }
        let lists = [file.approvals.len(), file.code_approvals.len(), file.catalogue.len(), file.roles.len()];
        if lists.into_iter().any(|length| length > LIST_LIMIT) {
            return Err(Refusal::SizeLimit);
        }
        Ok(Self {
            manifest: envelope(file.manifest)?,
            verdict: envelope(file.verdict)?,
            approvals: envelopes(file.approvals)?,
            code_approvals: envelopes(file.code_approvals)?,
            request: envelope(file.request)?,
            grant: envelope(file.grant)?,
            policy: envelope(file.policy.statement)?,
            policy_file: STANDARD.decode(file.policy.file).map_err(|_| Refusal::PolicyFile)?,
            catalogue: envelopes(file.catalogue)?,
            revocation: envelope(file.revocation)?,
            roles: envelopes(file.roles)?,
            log_proof: file.tlog_proof,
        })
    }

    /// The file's one text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wires = |envelopes: &[Envelope]| envelopes.iter().cloned().map(Wire::from).collect();
        json::to_bytes(&WireFile {
            media_type: MEDIA_TYPE.to_owned(),
            manifest: self.manifest.clone().into(),
            verdict: self.verdict.clone().into(),
            approvals: wires(&self.approvals),
            code_approvals: wires(&self.code_approvals),
            request: self.request.clone().into(),
            grant: self.grant.clone().into(),
            policy: WirePolicy {
                file: STANDARD.encode(&self.policy_file),
                statement: self.policy.clone().into(),
            },
            catalogue: wires(&self.catalogue),
            revocation: self.revocation.clone().into(),
            roles: wires(&self.roles),
            tlog_proof: self.log_proof.clone(),
        })
    }
}

fn envelope(wire: Wire) -> Result<Envelope, Refusal> {
    Envelope::to_be_read(wire).map_err(|error| error.refusal())
}

fn envelopes(wires: Vec<Wire>) -> Result<Vec<Envelope>, Refusal> {
    wires.into_iter().map(envelope).collect()
}
