//! The two readers of a token, given the same key and told to expect the same: ours and jsonwebtoken.

use std::time::Duration;

use countersign::crypto::signing_key::{KeyMaterial, SigningKey};
use countersign_token::{
    access_token,
    algorithm::Algorithm,
    key_set::{KeySet, KeyState},
};
use jsonwebtoken::{DecodingKey, DecodingKeyKind, Validation, decode, get_current_timestamp};
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::forge::{Members, Signer};

/// Members that a token has or may be given.
pub(crate) const NAMES: [&str; 23] = [
    "alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "cty", "zip", "enc", "iss", "sub", "aud", "exp",
    "nbf", "iat", "jti", "sid", "roles", "epoch", "x",
];
const ID: &str = "0190a000-0000-7000-8000-000000000000";

/// A key and its two readers.
pub(crate) struct Sides {
    pub algorithm: Algorithm,
    pub now: u64,
    own: SigningKey,
    other: SigningKey,
    strangers: Vec<SigningKey>,
    public_as_secret: SigningKey,
    keys: KeySet,
    decoding: DecodingKey,
    validation: Validation,
}

impl Sides {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let material = KeyMaterial::generate(algorithm, 2048).expect("key");
        let own = SigningKey::parse(algorithm, &material).expect("sound");
        let decoding = match own.jwk().expect("sound") {
            Some(jwk) => DecodingKey::from_jwk(&jwk).expect("sound"),
            None => DecodingKey::from_secret(&material.private),
        };
        let strangers = Algorithm::ALL.into_iter().filter(|stranger| *stranger != algorithm);
        let verifier = KeyState::Key(own.verifying_key().expect("sound"));
        Self {
            algorithm,
            // jsonwebtoken reads the clock itself.
            now: get_current_timestamp(),
            other: generate(algorithm),
            strangers: strangers.map(generate).collect(),
            public_as_secret: public_as_secret(&decoding),
            keys: KeySet::from_iter([(material.kid, verifier)]),
            own,
            decoding,
            validation: validation(algorithm),
        }
    }

    pub(crate) fn sign(&self, signer: Signer, message: &[u8]) -> Vec<u8> {
        let key = match signer {
            Signer::Own => &self.own,
            Signer::Other => &self.other,
            Signer::Stranger(at) => &self.strangers[at],
            Signer::PublicAsSecret => &self.public_as_secret,
            Signer::Nobody => return Vec::new(),
        };
        key.sign(message).expect("signed")
    }

    /// The members of a valid header.
    pub(crate) fn header(&self) -> Members {
        members(&json!({"alg": self.algorithm.as_str(), "kid": self.own.kid(), "typ": "at+jwt"}))
    }

    /// The members of valid claims.
    pub(crate) fn claims(&self) -> Members {
        members(&json!({
            "iss": "countersign", "sub": ID, "aud": ["internal", "billing"], "exp": self.now + 600, "iat": self.now - 60,
            "jti": "j", "client_id": "web", "auth_time": self.now - 60, "sid": ID, "epoch": 3, "roles": ["a", "b"],
        }))
    }

    /// The claims, if we accept the token.
    pub(crate) fn ours(&self, token: &[u8]) -> Option<Value> {
        let claims = access_token::open(std::str::from_utf8(token).ok()?, &self.keys).ok()?;
        let now = i64::try_from(self.now).expect("this century");
        let now = OffsetDateTime::from_unix_timestamp(now).expect("this century");
        claims.clone().identify("countersign").ok()?.check(Some("internal"), Duration::ZERO, now).ok()?;
        Some(serde_json::to_value(claims).expect("json"))
    }

    /// The claims, if jsonwebtoken accepts the token.
    pub(crate) fn theirs(&self, token: &[u8]) -> Option<Value> {
        decode(token, &self.decoding, &self.validation).ok().map(|data| data.claims)
    }
}

fn generate(algorithm: Algorithm) -> SigningKey {
    let material = KeyMaterial::generate(algorithm, 2048).expect("key");
    SigningKey::parse(algorithm, &material).expect("sound")
}

/// The oldest attack on JWTs (RFC 8725 section 2.1).
fn public_as_secret(decoding: &DecodingKey) -> SigningKey {
    let private = match decoding.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => bytes.clone(),
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.clone(),
    };
    let material = KeyMaterial { kid: String::new(), private: Zeroizing::new(private) };
    SigningKey::parse(Algorithm::Hs256, &material).expect("long enough")
}

fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm.as_str().parse().expect("known to both"));
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.set_issuer(&["countersign"]);
    validation.set_audience(&["internal"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

fn members(object: &Value) -> Members {
    let object = object.as_object().expect("object");
    object.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}
