//! The keys of a running server, opened and parsed once: one that signs access tokens, those that verify them, and the
//! one that makes refresh tokens. Also what a new key consists of.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, OctetKeyPairParameters,
    OctetKeyPairType, PublicKeyUse, ThumbprintHash,
};
use zeroize::Zeroizing;

use super::{
    access_token::{SigningKey, VerifyingKey, VerifyingKeys},
    random,
    refresh_token::{KEY_BYTES, RefreshTokenKey},
};
use crate::error::Error;

/// The keys of a running server.
#[derive(Debug)]
pub struct Keyring {
    /// Signs access tokens.
    pub signing: SigningKey,
    /// Verify access tokens.
    pub verifying: VerifyingKeys,
    /// Makes and checks refresh tokens.
    pub refresh: RefreshTokenKey,
    /// The public keys as a JSON Web Key Set (RFC 7517 section 5).
    pub jwks: String,
}

/// Key material before it is sealed or after it was opened.
pub struct KeyMaterial {
    /// The name of the key: an RFC 7638 thumbprint, or the number of a MAC key.
    pub kid: String,
    /// Its public part; empty for a MAC key.
    pub public: Vec<u8>,
    /// Its private part: a PKCS#8 document, or the secret of a MAC key.
    pub private: Zeroizing<Vec<u8>>,
}

/// The algorithm name under which Ed25519 keys are stored.
pub const EDDSA: &str = "EdDSA";
/// The algorithm name under which keys of refresh tokens are stored.
pub const HMAC_SHA256: &str = "HMAC-SHA256";

impl Keyring {
    /// Parses opened keys and proves that the signing key is sound (REQUIREMENTS R18).
    ///
    /// # Errors
    /// [`Error::Internal`] when a key is damaged.
    pub fn new(access: KeyMaterial, refresh: &KeyMaterial, number: u16) -> Result<Self, Error> {
        let pair =
            Ed25519KeyPair::from_pkcs8(&access.private).map_err(|_| Error::internal("the signing key is damaged"))?;
        let jwk = ed25519_jwk(pair.public_key().as_ref())?;
        if jwk.common.key_id.as_deref() != Some(&access.kid) {
            return Err(Error::internal("the signing key does not fit its name"));
        }
        let secret: &[u8; KEY_BYTES] = refresh
            .private
            .first_chunk()
            .filter(|_| refresh.private.len() == KEY_BYTES)
            .ok_or_else(|| Error::internal("the key of the refresh tokens is damaged"))?;
        let jwks = serde_json::to_string(&JwkSet { keys: vec![jwk] }).map_err(Error::internal)?;
        let signing = SigningKey::ed25519(access.kid.clone(), &access.private);
        let verifying = VerifyingKey::ed25519(&access.public);
        signing.self_test(&verifying)?;
        Ok(Self {
            signing,
            verifying: VerifyingKeys::from([(access.kid, verifying)]),
            refresh: RefreshTokenKey::new(number, secret),
            jwks,
        })
    }
}

impl KeyMaterial {
    /// A new Ed25519 key.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn generate_ed25519() -> Result<Self, Error> {
        let failed = |_| Error::internal("key generation failed");
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        let public = pair.public_key().as_ref().to_vec();
        let kid = ed25519_jwk(&public)?.common.key_id.unwrap_or_default();
        let document = pair.to_pkcs8v1().map_err(failed)?;
        let private = Zeroizing::new(document.as_ref().to_vec());
        Ok(Self { kid, public, private })
    }

    /// A new key for refresh tokens.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn generate_mac(number: u16) -> Result<Self, Error> {
        let secret = Zeroizing::new(random::bytes::<KEY_BYTES>()?);
        Ok(Self { kid: number.to_string(), public: Vec::new(), private: Zeroizing::new(secret.to_vec()) })
    }
}

/// The public key as a JWK (RFC 8037 section 2), named by its thumbprint (RFC 7638).
fn ed25519_jwk(public: &[u8]) -> Result<Jwk, Error> {
    let mut jwk = Jwk {
        common: CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(KeyAlgorithm::EdDSA),
            ..CommonParameters::default()
        },
        algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: URL_SAFE_NO_PAD.encode(public),
        }),
    };
    let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(Error::internal)?;
    jwk.common.key_id = Some(thumbprint);
    Ok(jwk)
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({}, ..)", self.kid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r22_the_jwks_has_public_members_only_and_thumbprints_as_names() {
        let access = KeyMaterial::generate_ed25519().expect("key");
        let refresh = KeyMaterial::generate_mac(1).expect("key");
        let kid = access.kid.clone();
        let keyring = Keyring::new(access, &refresh, 1).expect("sound");
        let jwks: serde_json::Value = serde_json::from_str(&keyring.jwks).expect("json");
        let key = jwks["keys"][0].as_object().expect("one key");
        let mut members: Vec<&str> = key.keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!(key["kid"], kid);
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64");
        let jwk = ed25519_jwk(&public).expect("jwk");
        let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(jwk.common.key_id.as_deref(), Some(thumbprint));
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let refresh = KeyMaterial::generate_mac(1).expect("key");
        let mut access = KeyMaterial::generate_ed25519().expect("key");
        access.public = KeyMaterial::generate_ed25519().expect("key").public;
        assert!(Keyring::new(access, &refresh, 1).is_err());
        let access = KeyMaterial::generate_ed25519().expect("key");
        let mut short = KeyMaterial::generate_mac(1).expect("key");
        short.private.truncate(31);
        assert!(Keyring::new(access, &short, 1).is_err());
    }
}
