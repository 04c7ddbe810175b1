//! The keys of a running server, opened and parsed once: those of access tokens, and those of refresh tokens. Of the
//! former, all are published, and one signs. What they are made of comes from `auth/keys/`.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_token::algorithm::Algorithm;
use jsonwebtoken::jwk::{Jwk, JwkSet};

use super::{
    device_hint::Device,
    refresh_token::{Decoded, RefreshToken, RefreshTokenKey, RefreshTokenKeys},
    secret::Secret,
    signing_key::SigningKey,
};
use crate::error::Error;

/// The keys of a running server.
#[derive(Debug, Default)]
pub struct Keyring {
    signing: Option<SigningKey>,
    refresh: RefreshTokenKeys,
    active_refresh: Option<u16>,
    published: Vec<Jwk>,
}

/// The public keys as a JSON Web Key Set (RFC 7517 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks {
    /// The document.
    pub json: String,
    /// The name of the content (RFC 9110 section 8.8.3).
    pub etag: String,
}

impl Keyring {
    /// Publishes a key, unless it is a secret.
    ///
    /// # Errors
    /// [`Error::Internal`] for a key that is not sound.
    pub fn publish(&mut self, key: &SigningKey) -> Result<(), Error> {
        self.published.extend(key.jwk()?);
        Ok(())
    }

    /// Lets a key sign access tokens from now on.
    pub fn sign_with(&mut self, key: SigningKey) {
        self.signing = Some(key);
    }

    /// Adds a key of refresh tokens, or what is to be said of its tokens.
    pub fn add_refresh(&mut self, number: u16, key: RefreshTokenKey) {
        self.refresh.insert(number, key);
    }

    /// Lets a key make refresh tokens from now on.
    pub fn refresh_with(&mut self, number: u16) {
        self.active_refresh = Some(number);
    }

    /// The key that signs access tokens.
    ///
    /// # Errors
    /// [`Error::Internal`] when the key that should sign cannot be used here, as the log says.
    pub fn signing(&self) -> Result<&SigningKey, Error> {
        self.signing.as_ref().ok_or_else(|| Error::internal("the key that signs cannot be used here"))
    }

    /// The text of a refresh token, by the newest key.
    ///
    /// # Errors
    /// [`Error::Internal`] when the key that should make it cannot be used here, as the log says.
    pub fn encode_refresh(&self, token: RefreshToken) -> Result<Secret, Error> {
        self.active_refresh
            .and_then(|number| self.refresh.encode(number, token))
            .ok_or_else(|| Error::internal("the key that makes refresh tokens cannot be used here"))
    }

    /// Reads a refresh token.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`].
    pub fn decode_refresh(&self, text: &str) -> Result<Decoded, Error> {
        self.refresh.decode(text)
    }

    /// The hint of a device.
    ///
    /// # Errors
    /// [`Error::Internal`] without a key that signs.
    pub fn encode_device(&self, device: Device) -> Result<Secret, Error> {
        self.active_refresh
            .and_then(|number| self.refresh.encode_device(number, device))
            .ok_or_else(|| Error::internal("the key that makes device hints cannot be used here"))
    }

    /// Reads the hint of a device; None for what is none of ours.
    pub fn decode_device(&self, text: &str) -> Option<Device> {
        self.refresh.decode_device(text)
    }

    /// The public keys.
    ///
    /// # Errors
    /// [`Error::Internal`] when they cannot be written.
    pub fn jwks(&self) -> Result<Jwks, Error> {
        let json = serde_json::to_string(&JwkSet { keys: self.published.clone() }).map_err(Error::internal)?;
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, json.as_bytes()));
        Ok(Jwks { json, etag: format!("\"{hash}\"") })
    }

    /// The algorithms of the public keys, each once.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let published = self.published.iter().filter_map(|jwk| jwk.common.key_algorithm);
        let names: Vec<String> = published.map(|algorithm| algorithm.to_string()).collect();
        Algorithm::ALL.into_iter().filter(|algorithm| names.iter().any(|name| name == algorithm.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signing_key::KeyMaterial;

    fn key(algorithm: Algorithm) -> SigningKey {
        let material = KeyMaterial::generate(algorithm, 2048).expect("key");
        SigningKey::parse(algorithm, &material).expect("sound")
    }

    #[test]
    fn r22_the_key_set_holds_each_public_key_once_and_no_secret() {
        let mut ring = Keyring::default();
        let keys = Algorithm::ALL.map(key);
        for key in &keys {
            ring.publish(key).expect("sound");
        }
        let jwks = ring.jwks().expect("written");
        let set: JwkSet = serde_json::from_str(&jwks.json).expect("a key set");
        let kids: Vec<_> = set.keys.iter().filter_map(|jwk| jwk.common.key_id.clone()).collect();
        assert_eq!(kids, keys[..3].iter().map(SigningKey::kid).collect::<Vec<_>>(), "not that of HS256");
        assert_eq!(ring.algorithms(), Algorithm::ALL[..3]);
        assert_eq!(ring.jwks().expect("written"), jwks);
        ring.publish(&key(Algorithm::EdDsa)).expect("sound");
        assert_ne!(ring.jwks().expect("written").etag, jwks.etag);
    }

    #[test]
    fn without_a_key_that_signs_nothing_is_signed() {
        let mut ring = Keyring::default();
        assert!(ring.signing().is_err());
        ring.sign_with(key(Algorithm::EdDsa));
        assert!(ring.signing().is_ok());
        ring.add_refresh(1, RefreshTokenKey::Unusable);
        ring.refresh_with(1);
        let session_id = countersign_token::ids::SessionId(uuid::Uuid::nil());
        assert!(ring.encode_refresh(RefreshToken { session_id, generation: 1 }).is_err());
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let jwk: Jwk = serde_json::from_value(serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }))
        .expect("jwk");
        let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).expect("thumbprint");
        assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
