//! Public keys in Rust alone. RS256 is left out: its library `rsa` has an open advisory (RUSTSEC-2023-0071), which
//! concerns private keys, and would be found by each audit.

use ed25519_dalek::{Signature, VerifyingKey as Ed25519Key};
use p256::{
    Sec1Point,
    ecdsa::{Signature as P256Signature, VerifyingKey as P256Key, signature::Verifier as _},
};

pub(super) enum PublicKey {
    Ed25519(Box<Ed25519Key>),
    P256(Box<P256Key>),
}

impl PublicKey {
    pub(super) fn ed25519(x: &[u8]) -> Option<Self> {
        let key = Ed25519Key::from_bytes(x.try_into().ok()?).ok()?;
        Some(Self::Ed25519(Box::new(key)))
    }

    pub(super) fn p256(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let point = Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
        Some(Self::P256(Box::new(P256Key::from_sec1_point(&point).ok()?)))
    }

    pub(super) fn rsa(_n: &[u8], _e: &[u8]) -> Option<Self> {
        None
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
            Self::P256(key) => {
                P256Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }
}
