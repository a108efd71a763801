//! Wire values into the types of the path, and back.

use blobs::Digest;
use lifecycle::State;
use release::statement::DenialReason;
use release::value::Name;

use crate::v1;

/// A wire value that has not its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the field {field} does not have its form")]
pub struct WireError {
    /// The field.
    pub field: &'static str,
}

impl WireError {
    /// An error about this field.
    pub const fn new(field: &'static str) -> Self {
        Self { field }
    }
}

/// 32 bytes as a digest.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, WireError> {
    bytes.try_into().map(Digest::from_bytes).map_err(|_| WireError { field })
}

/// Text as a name.
pub fn name(field: &'static str, text: &str) -> Result<Name, WireError> {
    text.parse().map_err(|_| WireError { field })
}

macro_rules! same_list {
    ($ours:ty, $wire:ty, $field:literal, $($our:ident = $other:ident),* $(,)?) => {
        impl From<$ours> for $wire {
            fn from(ours: $ours) -> Self {
                match ours { $(<$ours>::$our => <$wire>::$other,)* }
            }
        }

        impl TryFrom<$wire> for $ours {
            type Error = WireError;

            fn try_from(wire: $wire) -> Result<Self, WireError> {
                match wire {
                    $(<$wire>::$other => Ok(<$ours>::$our),)*
                    <$wire>::Unspecified => Err(WireError { field: $field }),
                }
            }
        }
    };
}

same_list!(
    State,
    v1::JobState,
    "state",
    Submitted = Submitted,
    InCodeReview = InCodeReview,
    Queued = Queued,
    Running = Running,
    InReview = InReview,
    Approved = Approved,
    Released = Released,
    Refused = Refused,
    Failed = Failed,
    Blocked = Blocked,
    Rejected = Rejected,
    Returned = Returned,
    Cancelled = Cancelled,
    Expired = Expired,
    Lost = Lost,
);

same_list!(
    DenialReason,
    v1::DenialReason,
    "denial_reasons",
    OutsidePurpose = OutsidePurpose,
    SmallCounts = SmallCounts,
    TooMuch = TooMuch,
    Identifying = Identifying,
    Unexplained = Unexplained,
    Code = Code,
    Other = Other,
);

/// Reasons of a denial as the bits of a closed list, the first reason lowest.
pub mod denial_reasons {
    use super::{DenialReason, WireError, v1};

    /// The bits of these reasons.
    pub fn to_bits(reasons: &[DenialReason]) -> u32 {
        reasons.iter().fold(0, |bits, reason| bits | bit(*reason))
    }

    /// The reasons of these bits, sorted. Bits outside the list are refused.
    pub fn from_bits(bits: u32) -> Result<Vec<DenialReason>, WireError> {
        let mut left = bits;
        let mut reasons = Vec::new();
        for number in 1..=32 {
            let Some(reason) = v1::DenialReason::try_from(number).ok().and_then(|wire| wire.try_into().ok())
            else {
                break;
            };
            if left & bit(reason) != 0 {
                left &= !bit(reason);
                reasons.push(reason);
            }
        }
        reasons.sort_unstable();
        if left == 0 { Ok(reasons) } else { Err(WireError { field: "denial_reasons" }) }
    }

    fn bit(reason: DenialReason) -> u32 {
        1 << (v1::DenialReason::from(reason) as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_keep_their_words_on_the_wire() {
        for state in State::ALL {
            let wire = v1::JobState::from(state);
            assert_eq!(wire.as_str_name(), format!("JOB_STATE_{}", state.word()));
            assert_eq!(State::try_from(wire), Ok(state));
        }
        assert!(State::try_from(v1::JobState::Unspecified).is_err());
    }

    #[test]
    fn reasons_of_a_denial_survive_as_bits_and_unknown_bits_do_not() {
        let reasons = [DenialReason::OutsidePurpose, DenialReason::Other];
        let bits = denial_reasons::to_bits(&reasons);
        assert_eq!(bits, 0b100_0001);
        assert_eq!(denial_reasons::from_bits(bits).unwrap(), reasons);
        assert_eq!(denial_reasons::from_bits(127).unwrap().len(), 7);
        assert!(denial_reasons::from_bits(128).is_err());
    }

    #[test]
    fn a_digest_is_32_bytes() {
        assert!(digest("bundle", &[0; 32]).is_ok());
        assert_eq!(digest("bundle", &[0; 31]), Err(WireError { field: "bundle" }));
    }
}
