//! Second signatures that a key's holder, or anyone, makes of a good one, and that lax verifiers take.

use curve25519_dalek::scalar::Scalar;
use release::key::{SecretKey, Sign};
use sha2::{Digest as _, Sha512};

/// The order of the group, the lowest byte first (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The same signature with the order of the group added to S. Anyone can make it; the equation holds for it too.
pub fn with_second_s(signature: [u8; 64]) -> [u8; 64] {
    let mut second = signature;
    let mut carry = 0;
    for (byte, order) in second[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    second
}

/// A signature whose R is the neutral element: the equation holds for it, and strict verifiers refuse R for its order.
/// Only the key's holder can make it, and gives the key away by it.
pub fn with_neutral_commitment(key: &SecretKey, message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[0] = 1;
    let mut secret = [0; 32];
    secret.copy_from_slice(&Sha512::digest(*key.seed())[..32]);
    // RFC 8032, section 5.1.5.
    secret[0] &= 248;
    secret[31] = secret[31] & 127 | 64;
    let hash = Sha512::digest([&signature[..32], &Sign::public(key).public.0, message].concat());
    let answer = Scalar::from_bytes_mod_order_wide(&hash.into()) * Scalar::from_bytes_mod_order(secret);
    signature[32..].copy_from_slice(answer.as_bytes());
    signature
}
