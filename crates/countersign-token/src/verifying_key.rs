//! Keys that verify signatures, parsed once from a published key (RFC 7517).

use std::{fmt, ops::RangeInclusive};

use aws_lc_rs::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm};

use super::algorithm::Algorithm;

/// The length of an RSA modulus: 2048 to 8192 bits (REQUIREMENTS R18).
pub const RSA_BYTES: RangeInclusive<usize> = 256..=1024;
/// The byte before an uncompressed point (SEC 1 section 2.3.3).
pub const UNCOMPRESSED: u8 = 4;

/// A key that verifies signatures. A key has one algorithm (RFC 8725 section 3.1).
pub struct VerifyingKey {
    algorithm: Algorithm,
    public: Public,
}

enum Public {
    Asymmetric(Box<ParsedPublicKey>),
    Hs256(Box<hmac::Key>),
}

impl VerifyingKey {
    /// The secret of HS256 verifies what it signs.
    pub fn hs256(key: hmac::Key) -> Self {
        Self { algorithm: Algorithm::Hs256, public: Public::Hs256(Box::new(key)) }
    }

    /// Reads a published key. None for one that is not whole, too short, of an algorithm that is not ours, or that does
    /// not say its algorithm.
    pub fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let (algorithm, public) = match (jwk.common.key_algorithm?, &jwk.algorithm) {
            (KeyAlgorithm::EdDSA, AlgorithmParameters::OctetKeyPair(key)) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, bytes(&key.x)?).ok()?)
            }
            (KeyAlgorithm::ES256, AlgorithmParameters::EllipticCurve(key)) if key.curve == EllipticCurve::P256 => {
                let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
                let point = [&[UNCOMPRESSED], &x[..], &y[..]].concat();
                let whole = x.len() == 32 && y.len() == 32;
                let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                (Algorithm::Es256, parsed.ok().filter(|_| whole)?)
            }
            (KeyAlgorithm::RS256, AlgorithmParameters::RSA(key)) => {
                let (n, e) = (bytes(&key.n)?, bytes(&key.e)?);
                let length = RSA_BYTES.contains(&n.len());
                let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
                (Algorithm::Rs256, parsed.ok().filter(|_| length)?)
            }
            _ => return None,
        };
        Some(Self { algorithm, public: Public::Asymmetric(Box::new(public)) })
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// True if `signature` is that of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Asymmetric(key) => key.verify_sig(message, signature).is_ok(),
            Public::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
        }
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
