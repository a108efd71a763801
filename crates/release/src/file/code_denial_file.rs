//! The code denial file: a steward's refusal of code before its run, the request that it is about, and the witnessed
//! proof that it is a leaf of the log. There is no verdict, since nothing ran.

use serde::{Deserialize, Serialize};

use super::RELEASE_FILE_LIMIT;
use super::denial::stands_in_log;
use super::log_check::{self, Witnessed};
use crate::envelope::Envelope;
use crate::json::{self, JsonError};
use crate::log::{Event, LogProof};
use crate::path::{CodeDenied, SignedRequest};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::statement::CodeDenial;
use crate::value::Timestamp;

/// The media type, which the file names itself.
pub const CODE_DENIAL_MEDIA_TYPE: &str = "application/vnd.databox.code-denial.v1+json";

/// A refusal of code and its evidence, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeDenialFile {
    /// The refusal.
    pub denial: Envelope,
    /// The request whose code it refuses.
    pub request: Envelope,
    /// The log proof (`c2sp.org/tlog-proof@v1`) of the refusal's leaf, with cosignatures.
    pub log_proof: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireFile {
    denial: Envelope,
    media_type: String,
    request: Envelope,
    tlog_proof: String,
}

impl CodeDenialFile {
    /// The same with a log proof.
    pub fn with_proof(self, proof: &LogProof) -> Self {
        Self { log_proof: proof.to_string(), ..self }
    }

    /// Reads a code denial file. Nothing is checked but its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let file: WireFile = json::from_bytes(bytes, RELEASE_FILE_LIMIT).map_err(|error| match error {
            JsonError::TooLarge { .. } => Refusal::SizeLimit,
            _ => Refusal::JsonForm,
        })?;
        if file.media_type != CODE_DENIAL_MEDIA_TYPE {
            return Err(Refusal::JsonForm);
        }
        Ok(Self { denial: file.denial, request: file.request, log_proof: file.tlog_proof })
    }

    /// The file's one text.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(&WireFile {
            denial: self.denial.clone(),
            media_type: CODE_DENIAL_MEDIA_TYPE.to_owned(),
            request: self.request.clone(),
            tlog_proof: self.log_proof.clone(),
        })
    }

    /// Checks the refusal and its place in the log against the caller's own site, for a request that the caller
    /// verified itself. A file about another request is refused.
    pub fn verify(
        &self,
        request: &SignedRequest,
        site: &Site,
        accept_on_box_witness: bool,
        now: Timestamp,
    ) -> Result<LoggedCodeDenial, Refusal> {
        let denied = CodeDenied::check(&self.denial, request, site)?;
        let leaf = log_check::leaf(Event::CodeDenial, &self.denial, denied.key())?;
        let witnessed = stands_in_log(&leaf, &self.log_proof, site, accept_on_box_witness, now)?;
        Ok(LoggedCodeDenial { denied, witnessed })
    }
}

/// A refusal of code with the witnessed proof that it is a leaf of the log.
#[derive(Debug, Clone)]
pub struct LoggedCodeDenial {
    denied: CodeDenied,
    witnessed: Witnessed,
}

impl LoggedCodeDenial {
    /// What the steward said.
    pub fn denial(&self) -> &CodeDenial {
        self.denied.denial().statement()
    }

    /// Where it stands in the log.
    pub fn witnessed(&self) -> &Witnessed {
        &self.witnessed
    }
}
