//! The account's arithmetic: what was granted, spent and reserved, in bits. It never wraps and never goes below zero.
//!
//! Answers and releases have an account each, for each dataset of each grant. An enclave charges answers *before*
//! each run and never gives them back; it reserves release bits with a PASS verdict; a release leaf spends the
//! reservation, a denial leaf or the verdict's expiry frees it.

use crate::refusal::Refusal;
use crate::statement::DatasetGrant;
use crate::value::Count;

/// Bits charged for each verdict, for what the enclave could choose in the verdict's own public bytes: run number,
/// time within its grid step, rule results, bits, the order of layers and the challenge's 256 bits among them.
pub const VERDICT_BITS: u64 = 1024;

/// A charge that the account refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// More than is left.
    #[error("{asked} bits are asked for and {left} are left")]
    Overrun {
        /// Bits asked for.
        asked: u64,
        /// Bits left.
        left: u64,
    },
    /// More is spent or freed than was reserved.
    #[error("{asked} bits are to be taken from a reservation of {reserved}")]
    NotReserved {
        /// Bits to be taken.
        asked: u64,
        /// Bits reserved.
        reserved: u64,
    },
}

/// One account: a limit, and what is gone or reserved of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    limit: u64,
    spent: u64,
    reserved: u64,
}

impl Balance {
    /// An account with this state. More spent and reserved than the limit allows is no error: a newer grant may
    /// have lowered the limit, and nothing is left then.
    pub fn new(limit: u64, spent: u64, reserved: u64) -> Self {
        Self { limit, spent, reserved }
    }

    /// Bits that may be spent in total.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bits spent for good.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Bits reserved for releases under review.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Bits that can still be charged or reserved.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.spent.saturating_add(self.reserved))
    }

    /// Spends bits at once and for good, as every run's answers do before it starts.
    pub fn charge_answer(self, bits: u64) -> Result<Self, AccountError> {
        self.has_left(bits)?;
        Ok(Self { spent: self.spent + bits, ..self })
    }

    /// Sets bits aside for a release under review.
    pub fn reserve_release(self, bits: u64) -> Result<Self, AccountError> {
        self.has_left(bits)?;
        Ok(Self { reserved: self.reserved + bits, ..self })
    }

    /// Spends a reservation: the release is in the log.
    pub fn spend(self, bits: u64) -> Result<Self, AccountError> {
        let freed = self.free(bits)?;
        // A lowered limit does not undo what was reserved under the old one, so the limit is not asked again.
        let spent = freed.spent.checked_add(bits);
        let spent = spent.ok_or(AccountError::Overrun { asked: bits, left: u64::MAX - freed.spent })?;
        Ok(Self { spent, ..freed })
    }

    /// Gives a reservation back: the release was denied, or its verdict expired.
    pub fn free(self, bits: u64) -> Result<Self, AccountError> {
        let reserved = self.reserved.checked_sub(bits);
        let reserved = reserved.ok_or(AccountError::NotReserved { asked: bits, reserved: self.reserved })?;
        Ok(Self { reserved, ..self })
    }

    fn has_left(&self, bits: u64) -> Result<(), AccountError> {
        let left = self.left();
        if bits <= left { Ok(()) } else { Err(AccountError::Overrun { asked: bits, left }) }
    }
}

/// Bits that a release spends: its files' and its verdict's.
pub fn release_bits(files: u64) -> Result<u64, Refusal> {
    files.checked_add(VERDICT_BITS).ok_or(Refusal::ManifestAccount)
}

/// Adds up what grants of one dataset allow and refuses more than the catalogue's limit for it. The signer asks this
/// over all grants of its log before it accepts one more; anyone with the log can ask again.
pub fn grants_within(
    grants: impl IntoIterator<Item = DatasetGrant>,
    limit: &DatasetGrant,
) -> Result<DatasetGrant, Refusal> {
    let mut sum = DatasetGrant { release_bits: Count(0), answer_bits: Count(0) };
    for grant in grants {
        let add =
            |left: Count, right: Count| left.0.checked_add(right.0).ok_or(Refusal::GrantContent).map(Count);
        sum.release_bits = add(sum.release_bits, grant.release_bits)?;
        sum.answer_bits = add(sum.answer_bits, grant.answer_bits)?;
    }
    let within = sum.release_bits <= limit.release_bits && sum.answer_bits <= limit.answer_bits;
    if within { Ok(sum) } else { Err(Refusal::GrantContent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_move_from_left_to_reserved_to_spent_and_back_only_from_reserved() {
        let balance = Balance::new(100, 0, 0).charge_answer(10).unwrap().reserve_release(60).unwrap();
        assert_eq!((balance.left(), balance.spent(), balance.reserved()), (30, 10, 60));
        assert_eq!(balance.reserve_release(31), Err(AccountError::Overrun { asked: 31, left: 30 }));
        assert_eq!(balance.charge_answer(31), Err(AccountError::Overrun { asked: 31, left: 30 }));
        assert_eq!(balance.spend(61), Err(AccountError::NotReserved { asked: 61, reserved: 60 }));
        assert_eq!(balance.free(61), Err(AccountError::NotReserved { asked: 61, reserved: 60 }));
        assert_eq!(balance.free(60).unwrap(), Balance::new(100, 10, 0));
        assert_eq!(balance.spend(60).unwrap(), Balance::new(100, 70, 0));
    }

    #[test]
    fn nothing_wraps_at_the_largest_numbers() {
        let full = Balance::new(u64::MAX, u64::MAX - 1, 1);
        assert_eq!(full.left(), 0);
        assert!(full.charge_answer(1).is_err());
        assert!(full.charge_answer(u64::MAX).is_err());
        assert_eq!(full.spend(1).unwrap().spent(), u64::MAX);
        let over = Balance::new(10, u64::MAX, u64::MAX);
        assert_eq!(over.left(), 0);
        assert!(over.spend(u64::MAX).is_err());
        assert_eq!(release_bits(u64::MAX), Err(Refusal::ManifestAccount));
    }

    #[test]
    fn grants_of_a_dataset_stay_within_its_limit() {
        let bits =
            |release, answer| DatasetGrant { release_bits: Count(release), answer_bits: Count(answer) };
        let limit = bits(100, 10);
        assert_eq!(grants_within([bits(60, 5), bits(40, 5)], &limit), Ok(bits(100, 10)));
        assert_eq!(grants_within([bits(60, 5), bits(41, 5)], &limit), Err(Refusal::GrantContent));
        assert_eq!(grants_within([bits(60, 5), bits(40, 6)], &limit), Err(Refusal::GrantContent));
        assert_eq!(grants_within([bits(u64::MAX, 0), bits(1, 0)], &limit), Err(Refusal::GrantContent));
    }
}
