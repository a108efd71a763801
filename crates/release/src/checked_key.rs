//! Ed25519 public keys that were looked at once, and verifying with them.
//!
//! Whether a key has a part of small order takes about as long to find out as a signature takes to verify, and it is a
//! fact about 32 bytes. So a process asks it once a key, and keeps the key's point too, which each signature would have
//! to compute from the bytes again.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

use crate::key::{KeyError, SignatureError};

/// Most keys that a process keeps; past it, it begins anew.
const KEPT_LIMIT: usize = 4096;

/// Keys that hold what [`CheckedKey`] promises. Nothing else ever stands here: a key that is refused is looked at again
/// each time, and whoever could put one in without its check could have a key of mixed order counted.
static KEPT: RwLock<Option<HashMap<[u8; 32], CheckedKey>>> = RwLock::new(None);

/// Encoding of the neutral element.
const NEUTRAL: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

/// A public key in its one encoding whose point is of prime order: neither of small order nor with a part of it.
#[derive(Clone, Copy)]
pub(crate) struct CheckedKey(VerifyingKey);

impl CheckedKey {
    /// Looks at a key, or finds it among those that were looked at.
    pub(crate) fn of(public: &[u8; 32]) -> Result<Self, KeyError> {
        let kept = KEPT.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = kept.as_ref().and_then(|kept| kept.get(public)) {
            return Ok(*key);
        }
        drop(kept);
        let key = Self::look(public)?;
        let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_with(HashMap::new);
        if kept.len() >= KEPT_LIMIT {
            kept.clear();
        }
        kept.insert(*public, key);
        Ok(key)
    }

    /// Looks at a key, as if it had never been seen.
    pub(crate) fn look(public: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(public).map_err(|_| KeyError::Encoding)?;
        let point = key.to_edwards();
        // Another encoding of the same point would be a second key of the same holder.
        if point.compress().as_bytes() != public {
            return Err(KeyError::Encoding);
        }
        // For a key of small order anyone finds a signature that many messages share.
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        // With a part of small order the holder finds signatures that verifiers disagree about: those that multiply by
        // eight accept what others refuse.
        if is_torsion_free(&point) { Ok(Self(key)) } else { Err(KeyError::MixedOrder) }
    }

    /// Verifies strictly, as `VerifyingKey::verify_strict`: S below the group's order, R in its one encoding and not of
    /// small order.
    ///
    /// For a key of prime order that function's other checks follow from its equation. R is compared as bytes with the
    /// encoding of `[S]B - [k]A`, which is a point of the prime-order group: so it is canonical, and of small order only
    /// as the neutral element. Without the look at the key this would be wrong, and R with a part of small order could
    /// pass here and not elsewhere; without the first line R could be the neutral element, which strict verifiers refuse.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        if signature[..32] == NEUTRAL {
            return Err(SignatureError);
        }
        self.0.verify(message, &Signature::from_bytes(signature)).map_err(|_| SignatureError)
    }
}

/// True if the order of the group times the point is the neutral element, asked as `[order - 1]P = -P`, since the order
/// itself is no scalar. Nothing here is secret, so it need not take the same time for each point.
fn is_torsion_free(point: &EdwardsPoint) -> bool {
    EdwardsPoint::vartime_double_scalar_mul_basepoint(&-Scalar::ONE, point, &Scalar::ZERO) == -point
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};

    #[test]
    fn a_point_is_torsion_free_exactly_if_the_library_says_so() {
        for number in 0..32u64 {
            let point = ED25519_BASEPOINT_POINT * Scalar::from(number);
            for torsion in EIGHT_TORSION {
                let sum = point + torsion;
                assert_eq!(is_torsion_free(&sum), sum.is_torsion_free());
            }
        }
    }

    #[test]
    fn a_refused_key_stays_refused_however_often_it_is_asked_and_a_good_one_good() {
        let good = ED25519_BASEPOINT_POINT * Scalar::from(7u64);
        let mixed = good + EIGHT_TORSION[1];
        for _ in 0..3 {
            assert!(CheckedKey::of(good.compress().as_bytes()).is_ok());
            assert_eq!(CheckedKey::of(mixed.compress().as_bytes()).err(), Some(KeyError::MixedOrder));
            assert_eq!(CheckedKey::of(&NEUTRAL).err(), Some(KeyError::SmallOrder));
        }
    }

    #[test]
    fn r_is_not_the_neutral_element_even_where_the_equation_holds() {
        use sha2::Digest as _;
        let secret = Scalar::from(7u64);
        let public = (ED25519_BASEPOINT_POINT * secret).compress().to_bytes();
        let signature_with = |nonce: Scalar| {
            let commitment = (ED25519_BASEPOINT_POINT * nonce).compress().to_bytes();
            let hash: [u8; 64] = sha2::Sha512::digest([&commitment[..], &public, b"message"].concat()).into();
            let answer = nonce + Scalar::from_bytes_mod_order_wide(&hash) * secret;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&commitment);
            signature[32..].copy_from_slice(answer.as_bytes());
            signature
        };
        let key = CheckedKey::of(&public).unwrap();
        assert_eq!(key.verify(b"message", &signature_with(Scalar::from(5u64))), Ok(()));
        let neutral = signature_with(Scalar::ZERO);
        assert_eq!(neutral[..32], NEUTRAL);
        assert!(key.0.verify(b"message", &Signature::from_bytes(&neutral)).is_ok());
        assert_eq!(key.verify(b"message", &neutral), Err(SignatureError));
    }
}
