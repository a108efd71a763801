//! A steward's refusal that stands in the log: from then on nothing is signed for its verdict.

use super::log_check::{self, Witnessed};
use crate::envelope::Envelope;
use crate::log::{Event, Leaf};
use crate::path::{Denied, JudgedVerdict};
use crate::refusal::Refusal;
use crate::site::{CLOCK_SKEW_SECONDS, Site};
use crate::statement::Denial;
use crate::value::Timestamp;

/// A denial with the witnessed proof that it is a leaf of the log.
#[derive(Debug, Clone)]
pub struct LoggedDenial {
    denied: Denied,
    witnessed: Witnessed,
}

impl LoggedDenial {
    /// Checks a denial and its log proof against a room's own site.
    pub fn verify(
        denial: &Envelope,
        log_proof: &str,
        verdict: &JudgedVerdict,
        site: &Site,
        accept_on_box_witness: bool,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let denied = Denied::check(denial, verdict, site)?;
        let leaf = log_check::leaf(Event::Denial, denial, denied.key())?;
        let witnessed = stands_in_log(&leaf, log_proof, site, accept_on_box_witness, now)?;
        Ok(Self { denied, witnessed })
    }

    /// What the steward said.
    pub fn denial(&self) -> &Denial {
        self.denied.denial().statement()
    }

    /// Where it stands in the log.
    pub fn witnessed(&self) -> &Witnessed {
        &self.witnessed
    }
}

/// Checks against a room's own site that a leaf stands in the log and was witnessed.
pub(super) fn stands_in_log(
    leaf: &Leaf,
    log_proof: &str,
    site: &Site,
    accept_on_box_witness: bool,
    now: Timestamp,
) -> Result<Witnessed, Refusal> {
    let proof = log_check::parse(log_proof)?;
    let head = log_check::open(&proof, site.roles())?;
    log_check::included(&proof, leaf, &head)?;
    let (time, witnesses) = log_check::witnessed(&proof, site.roles(), accept_on_box_witness)?;
    if time > now.plus(CLOCK_SKEW_SECONDS) {
        return Err(Refusal::LogTime);
    }
    Ok(Witnessed { index: proof.index, head, time, witnesses })
}
