//! Public keys by aws-lc-rs, the back end that is the default.

use aws_lc_rs::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};

use crate::algorithm::{RSA_BYTES, UNCOMPRESSED};

pub(super) enum PublicKey {
    Asymmetric(Box<ParsedPublicKey>),
    Hs256(Box<hmac::Key>),
}

impl PublicKey {
    pub(super) fn ed25519(x: &[u8]) -> Option<Self> {
        ParsedPublicKey::new(&ED25519, x).ok().map(Self::parsed)
    }

    pub(super) fn p256(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let point = [&[UNCOMPRESSED], &x[..], &y[..]].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok().map(Self::parsed)
    }

    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let components = RsaPublicKeyComponents { n, e };
        let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        // Of a longer exponent the library says so with each signature, as if that were wrong.
        let short = e.iter().fold(0_u128, |value, byte| value.saturating_mul(256) | u128::from(*byte)) < 1 << 33;
        parsed.ok().filter(|_| short && RSA_BYTES.contains(&n.len())).map(Self::parsed)
    }

    fn parsed(key: ParsedPublicKey) -> Self {
        Self::Asymmetric(Box::new(key))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Asymmetric(key) => key.verify_sig(message, signature).is_ok(),
            Self::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}
