//! What the enclave reports to the gateway, checked against the bounds in the proto.

use blobs::Digest;
use lifecycle::State;
use release::rule::Rule;
use release::statement::DenialReason;

use crate::convert::{WireError, denial_reasons, digest};
use crate::told::{Failure, Use};
use crate::{internal, v1};

/// The enclave's answer to a submit. It is itself the move from SUBMITTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Payload digest of the request.
    pub request: Digest,
    /// What became of it.
    pub admission: Admission,
}

/// What the enclave makes of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may run: QUEUED.
    Queued,
    /// Stewards must let its code run first: IN_CODE_REVIEW.
    InCodeReview,
    /// It is not admitted: REFUSED.
    Refused(v1::Reason),
}

impl Admission {
    /// The state that the job comes into.
    pub fn state(self) -> State {
        match self {
            Self::Queued => State::Queued,
            Self::InCodeReview => State::InCodeReview,
            Self::Refused(_) => State::Refused,
        }
    }

    /// Why it is refused, or `Unspecified`.
    pub fn reason(self) -> v1::Reason {
        match self {
            Self::Queued | Self::InCodeReview => v1::Reason::Unspecified,
            Self::Refused(reason) => reason,
        }
    }
}

impl TryFrom<internal::SubmitAnswer> for Answer {
    type Error = WireError;

    fn try_from(wire: internal::SubmitAnswer) -> Result<Self, WireError> {
        let reason = reason(wire.reason)?;
        let admission = match internal::Admission::try_from(wire.admission) {
            Ok(internal::Admission::Accepted) => Admission::Queued,
            Ok(internal::Admission::InCodeReview) => Admission::InCodeReview,
            Ok(internal::Admission::Refused) => Admission::Refused(reason),
            Ok(internal::Admission::Unspecified) | Err(_) => return Err(WireError::new("admission")),
        };
        Ok(Self { request: digest("request_sha256", &wire.request_sha256)?, admission })
    }
}

impl From<Answer> for internal::SubmitAnswer {
    fn from(answer: Answer) -> Self {
        let admission = match answer.admission {
            Admission::Queued => internal::Admission::Accepted,
            Admission::InCodeReview => internal::Admission::InCodeReview,
            Admission::Refused(_) => internal::Admission::Refused,
        };
        Self {
            request_sha256: answer.request.as_bytes().to_vec().into(),
            admission: admission.into(),
            reason: answer.admission.reason().into(),
        }
    }
}

/// A move of a job that the enclave reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Payload digest of the request.
    pub request: Digest,
    /// From 1, without gaps, for each job. The answer to the submit has no number.
    pub number: u32,
    /// Which run this is about, from 1; 0 before the first.
    pub run: u32,
    /// The state reached.
    pub state: State,
    /// Why, or `Unspecified` where nothing is to be said.
    pub reason: v1::Reason,
    /// The first rule that forbade the release.
    pub rule: Option<Rule>,
    /// The first declared output that it was about, by its place in the request.
    pub output: Option<u32>,
    /// Step of the policy's time grid: seconds since 1970 divided by the grid, rounded down.
    pub grid_step: u64,
    /// Why a steward refused.
    pub denial_reasons: Vec<DenialReason>,
    /// Where a Python program failed.
    pub failure: Option<Failure>,
    /// What the run used.
    pub used: Use,
}

impl Transition {
    /// Most declared outputs of a job.
    pub const OUTPUTS: u32 = 32;
    /// Most runs of a job: the first and two more.
    pub const RUNS: u32 = 3;
    /// Most transitions of a job that are reported.
    pub const NUMBERS: u32 = 64;
    /// The last step of a grid of one second: 9999-12-31T23:59:59Z, the last moment that can be written.
    pub const GRID_STEPS: u64 = 253_402_300_799;
}

impl TryFrom<internal::JobTransition> for Transition {
    type Error = WireError;

    fn try_from(wire: internal::JobTransition) -> Result<Self, WireError> {
        let state = v1::JobState::try_from(wire.state).map_err(|_| WireError::new("state"))?;
        let rule = match wire.rule {
            0 => None,
            place => Some(*Rule::ALL.get(place as usize - 1).ok_or(WireError::new("rule"))?),
        };
        Ok(Self {
            request: digest("request_sha256", &wire.request_sha256)?,
            number: within("number", wire.number, 1, Self::NUMBERS)?,
            run: within("run", wire.run, 0, Self::RUNS)?,
            state: state.try_into()?,
            reason: reason(wire.reason)?,
            rule,
            output: within("output", wire.output, 0, Self::OUTPUTS)?.checked_sub(1),
            grid_step: within("grid_step", wire.grid_step, 0, Self::GRID_STEPS)?,
            denial_reasons: denial_reasons::from_bits(wire.denial_reasons)?,
            failure: wire.failure.map(Failure::try_from).transpose()?,
            used: wire.used.unwrap_or_default().try_into()?,
        })
    }
}

impl From<Transition> for internal::JobTransition {
    fn from(transition: Transition) -> Self {
        Self {
            request_sha256: transition.request.as_bytes().to_vec().into(),
            number: transition.number,
            run: transition.run,
            state: v1::JobState::from(transition.state).into(),
            reason: transition.reason.into(),
            rule: transition.rule.map_or(0, |rule| rule.index() as u32 + 1),
            output: transition.output.map_or(0, |output| output + 1),
            grid_step: transition.grid_step,
            denial_reasons: denial_reasons::to_bits(&transition.denial_reasons),
            failure: transition.failure.map(Into::into),
            used: Some(transition.used.into()),
        }
    }
}

fn reason(wire: i32) -> Result<v1::Reason, WireError> {
    v1::Reason::try_from(wire).map_err(|_| WireError::new("reason"))
}

fn within<N: PartialOrd>(field: &'static str, value: N, least: N, most: N) -> Result<N, WireError> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(WireError { field }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> Transition {
        Transition {
            request: Digest::of(b"request"),
            number: 2,
            run: 1,
            state: State::Blocked,
            reason: v1::Reason::Policy,
            rule: Some(Rule::CopyExact),
            output: Some(0),
            grid_step: 7,
            denial_reasons: vec![],
            failure: Some(Failure::new(v1::FailureClass::KeyError, 3, 41).unwrap()),
            used: Use::new(2, 7).unwrap(),
        }
    }

    #[test]
    fn what_is_reported_arrives_as_it_was() {
        let wire = internal::JobTransition::from(blocked());
        assert_eq!(Transition::try_from(wire).unwrap(), blocked());
        for admission in [Admission::Queued, Admission::InCodeReview, Admission::Refused(v1::Reason::Account)]
        {
            let answer = Answer { request: Digest::of(b"request"), admission };
            assert_eq!(Answer::try_from(internal::SubmitAnswer::from(answer)).unwrap(), answer);
        }
    }

    #[test]
    fn numbers_past_their_bound_are_refused() {
        let good = internal::JobTransition::from(blocked());
        type Spoil = fn(&mut internal::JobTransition);
        let spoil: [(&str, Spoil); 14] = [
            ("number", |wire| wire.number = 0),
            ("number", |wire| wire.number = Transition::NUMBERS + 1),
            ("run", |wire| wire.run = Transition::RUNS + 1),
            ("state", |wire| wire.state = 99),
            ("reason", |wire| wire.reason = 99),
            ("rule", |wire| wire.rule = Rule::ALL.len() as u32 + 1),
            ("output", |wire| wire.output = Transition::OUTPUTS + 1),
            ("denial_reasons", |wire| wire.denial_reasons = 128),
            ("failure.class", |wire| wire.failure.as_mut().unwrap().class = 99),
            ("failure.class", |wire| wire.failure.as_mut().unwrap().class = 0),
            ("failure.file", |wire| wire.failure.as_mut().unwrap().file = Failure::FILES + 1),
            ("failure.line", |wire| wire.failure.as_mut().unwrap().line = Failure::LINES + 1),
            ("used.memory", |wire| wire.used.as_mut().unwrap().memory = Use::MOST + 1),
            ("used.output", |wire| wire.used.as_mut().unwrap().output = Use::MOST + 1),
        ];
        for (field, spoil) in spoil {
            let mut wire = good.clone();
            spoil(&mut wire);
            assert_eq!(Transition::try_from(wire), Err(WireError { field }));
        }
    }
}
