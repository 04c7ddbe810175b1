//! A key that signs, for the tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use serde_json::json;

use crate::verifying_key::VerifyingKey;

/// Signs by EdDSA.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    /// A new key.
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().expect("a key"))
    }

    /// The signature of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// The public part under this name.
    pub(crate) fn jwk(&self, kid: &str) -> Jwk {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x});
        serde_json::from_value(jwk).expect("a JWK")
    }

    /// The key that verifies its signatures.
    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_jwk(&self.jwk("")).expect("sound")
    }

    /// A token with this header and these claims.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
