//! Keys that verify signatures, parsed once from a published key (RFC 7517). Each back end has a `PublicKey` of its own.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(all(feature = "pure", not(feature = "aws-lc")))]
mod pure;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm};

#[cfg(feature = "aws-lc")]
use self::aws_lc::PublicKey;
#[cfg(all(feature = "pure", not(feature = "aws-lc")))]
use self::pure::PublicKey;
use super::algorithm::Algorithm;

/// A key that verifies signatures. A key has one algorithm (RFC 8725 section 3.1).
pub struct VerifyingKey {
    algorithm: Algorithm,
    public: PublicKey,
}

impl VerifyingKey {
    /// The secret of HS256 verifies what it signs.
    #[cfg(feature = "aws-lc")]
    pub fn hs256(key: aws_lc_rs::hmac::Key) -> Self {
        Self { algorithm: Algorithm::Hs256, public: PublicKey::Hs256(Box::new(key)) }
    }

    /// Reads a published key. None for one that is not whole, too short, of an algorithm that is not ours, or that does
    /// not say its algorithm.
    pub fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let (algorithm, public) = match (jwk.common.key_algorithm?, &jwk.algorithm) {
            (KeyAlgorithm::EdDSA, AlgorithmParameters::OctetKeyPair(key)) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDsa, PublicKey::ed25519(&bytes(&key.x)?)?)
            }
            (KeyAlgorithm::ES256, AlgorithmParameters::EllipticCurve(key)) if key.curve == EllipticCurve::P256 => {
                let coordinate = |text| <[u8; 32]>::try_from(bytes(text)?).ok();
                (Algorithm::Es256, PublicKey::p256(&coordinate(&key.x)?, &coordinate(&key.y)?)?)
            }
            (KeyAlgorithm::RS256, AlgorithmParameters::RSA(key)) => {
                (Algorithm::Rs256, PublicKey::rsa(&bytes(&key.n)?, &bytes(&key.e)?)?)
            }
            _ => return None,
        };
        Some(Self { algorithm, public })
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// True if `signature` is that of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify(message, signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?}, ..)", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Signer;

    #[test]
    fn r10_a_published_key_that_does_not_say_an_algorithm_of_its_kind_is_not_used() {
        let jwk = Signer::new().jwk("k");
        assert!(VerifyingKey::from_jwk(&jwk).is_some());
        for bad in [None, Some(KeyAlgorithm::ES256), Some(KeyAlgorithm::HS256), Some(KeyAlgorithm::RS256)] {
            let mut jwk = jwk.clone();
            jwk.common.key_algorithm = bad;
            assert!(VerifyingKey::from_jwk(&jwk).is_none(), "{bad:?}");
        }
    }
}
