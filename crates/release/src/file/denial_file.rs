//! The denial file: a steward's refusal, what it refuses, and the witnessed proof that it is a leaf of the log.

use serde::{Deserialize, Serialize};

use super::{LoggedDenial, RELEASE_FILE_LIMIT};
use crate::envelope::Envelope;
use crate::json::{self, JsonError};
use crate::log::LogProof;
use crate::path::JudgedVerdict;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::value::Timestamp;

/// The media type, which the file names itself.
pub const DENIAL_MEDIA_TYPE: &str = "application/vnd.databox.denial.v1+json";

/// A denial and its evidence, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenialFile {
    /// The denial.
    pub denial: Envelope,
    /// The verdict that it refuses.
    pub verdict: Envelope,
    /// The request that the verdict is about.
    pub request: Envelope,
    /// The log proof (`c2sp.org/tlog-proof@v1`) of the denial's leaf, with cosignatures.
    pub log_proof: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireFile {
    media_type: String,
    denial: Envelope,
    request: Envelope,
    tlog_proof: String,
    verdict: Envelope,
}

impl DenialFile {
    /// The same with a log proof.
    pub fn with_proof(self, proof: &LogProof) -> Self {
        Self { log_proof: proof.to_string(), ..self }
    }

    /// Reads a denial file. Nothing is checked but its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let file: WireFile = json::from_bytes(bytes, RELEASE_FILE_LIMIT).map_err(|error| match error {
            JsonError::TooLarge { .. } => Refusal::SizeLimit,
            _ => Refusal::JsonForm,
        })?;
        if file.media_type != DENIAL_MEDIA_TYPE {
            return Err(Refusal::JsonForm);
        }
        let (denial, verdict, request) = (file.denial, file.verdict, file.request);
        Ok(Self { denial, verdict, request, log_proof: file.tlog_proof })
    }

    /// The file's one text.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(&WireFile {
            media_type: DENIAL_MEDIA_TYPE.to_owned(),
            denial: self.denial.clone(),
            request: self.request.clone(),
            tlog_proof: self.log_proof.clone(),
            verdict: self.verdict.clone(),
        })
    }

    /// Checks the denial and its place in the log against the caller's own site, for a verdict that the caller
    /// verified itself. A file about another verdict is refused.
    pub fn verify(
        &self,
        verdict: &JudgedVerdict,
        site: &Site,
        accept_on_box_witness: bool,
        now: Timestamp,
    ) -> Result<LoggedDenial, Refusal> {
        LoggedDenial::verify(&self.denial, &self.log_proof, verdict, site, accept_on_box_witness, now)
    }
}
