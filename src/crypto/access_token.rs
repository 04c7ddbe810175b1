//! Access tokens: JWTs in the profile of RFC 9068, signed by one of our keys. jsonwebtoken does the cryptography; the
//! strict reading around it is here (RFC 8725). What the claims must say is `domain/claims.rs`.
//!
//! A token has one byte form: header members alg, kid and typ alone, canonical base64url, two dots.

use std::{collections::HashMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::secret::Secret;
use crate::{
    domain::claims::Claims,
    error::{Error, Rejection},
};

/// Longer input is not looked at (REQUIREMENTS R15).
const MAX_BYTES: usize = 8 * 1024;
/// RFC 9068 section 2.1.
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// A key that signs, with the name under which verifiers find its public part.
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

/// The public part of a signing key. A key has one algorithm (RFC 8725 section 3.1).
pub struct VerifyingKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The keys whose tokens are accepted, by `kid`.
pub type VerifyingKeys = HashMap<String, VerifyingKey>;

/// The header. Every other member is refused: crit, b64, jwk, jku, x5u, x5c and x5t have been attacks, and we issue none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

impl SigningKey {
    /// An Ed25519 key from its PKCS#8 document (RFC 8037).
    pub fn ed25519(kid: String, pkcs8: &[u8]) -> Self {
        Self { kid, algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(pkcs8) }
    }

    /// Signs `claims`.
    ///
    /// # Errors
    /// [`Error::Internal`] when the key is not one of its algorithm.
    pub fn sign(&self, claims: &Claims) -> Result<Secret, Error> {
        let header =
            Header { alg: algorithm_name(self.algorithm).to_owned(), kid: self.kid.clone(), typ: "at+jwt".to_owned() };
        let header = serde_json::to_vec(&header).map_err(Error::internal)?;
        let claims = serde_json::to_vec(claims).map_err(Error::internal)?;
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature =
            jsonwebtoken::crypto::sign(token.as_bytes(), &self.key, self.algorithm).map_err(Error::internal)?;
        token.push('.');
        token.push_str(&signature);
        Ok(Secret::new(token))
    }

    /// Signs and verifies, so that a key that does not fit its public part is noticed at the start and not by the
    /// callers (REQUIREMENTS R18).
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn self_test(&self, public: &VerifyingKey) -> Result<(), Error> {
        let message = b"self test";
        let signature = jsonwebtoken::crypto::sign(message, &self.key, self.algorithm).map_err(Error::internal)?;
        match jsonwebtoken::crypto::verify(&signature, message, &public.key, public.algorithm) {
            Ok(true) => Ok(()),
            _ => Err(Error::internal("the signing key does not fit its public part")),
        }
    }
}

impl VerifyingKey {
    /// An Ed25519 key from its 32 bytes.
    pub fn ed25519(public: &[u8]) -> Self {
        Self { algorithm: Algorithm::EdDSA, key: DecodingKey::from_ed_der(public) }
    }
}

/// Reads a token that one of `keys` signed. What its claims say has still to be checked.
///
/// # Errors
/// [`Rejection::Malformed`] or [`Rejection::SignatureInvalid`].
pub fn open(token: &str, keys: &VerifyingKeys) -> Result<Claims, Rejection> {
    if token.len() > MAX_BYTES {
        return Err(Rejection::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Rejection::Malformed)?;
    if claims.contains('.') {
        return Err(Rejection::Malformed);
    }
    let header: Header = read(header)?;
    if !TYPES.iter().any(|typ| header.typ.eq_ignore_ascii_case(typ)) {
        return Err(Rejection::Malformed);
    }
    let key = keys.get(&header.kid).ok_or(Rejection::SignatureInvalid)?;
    if header.alg != algorithm_name(key.algorithm) {
        return Err(Rejection::SignatureInvalid);
    }
    let valid = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm)
        .map_err(|_| Rejection::Malformed)?;
    if !valid {
        return Err(Rejection::SignatureInvalid);
    }
    read(claims)
}

/// As `alg` is compared: byte for byte, so no spelling of `none` is one of ours.
fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDSA => "EdDSA",
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        _ => "",
    }
}

/// Reads one segment: canonical base64url, JSON, an object without duplicate names (RFC 7519 section 4).
fn read<T: DeserializeOwned>(segment: &str) -> Result<T, Rejection> {
    let json = URL_SAFE_NO_PAD.decode(segment).map_err(|_| Rejection::Malformed)?;
    let _: UniqueNames = serde_json::from_slice(&json).map_err(|_| Rejection::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Rejection::Malformed)
}

/// Reads any object whose member names differ; serde itself notices only repetitions of the names that it knows.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names: Vec<String> = Vec::with_capacity(16);
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if names.contains(&name) {
                return Err(A::Error::custom("duplicate name"));
            }
            names.push(name);
        }
        Ok(self)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ..)", self.kid)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?}, ..)", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    struct Keys {
        pair: Ed25519KeyPair,
        verifying: VerifyingKeys,
    }

    fn keys() -> Keys {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("key");
        let key = VerifyingKey::ed25519(pair.public_key().as_ref());
        Keys { pair, verifying: HashMap::from([("k1".into(), key)]) }
    }

    fn claims() -> Value {
        json!({
            "iss": "i", "sub": "u", "aud": "a", "exp": 2, "iat": 1, "jti": "j", "client_id": "c", "auth_time": 1,
            "sid": "s", "epoch": 0, "roles": [],
        })
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"})
    }

    impl Keys {
        fn token(&self, header: &str, claims: &str) -> String {
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
            format!("{message}.{signature}")
        }

        fn open(&self, header: &str, claims: &str) -> Result<Claims, Rejection> {
            open(&self.token(header, claims), &self.verifying)
        }

        fn valid(&self) -> String {
            self.token(&header().to_string(), &claims().to_string())
        }
    }

    #[test]
    fn what_is_signed_is_read_back() {
        let keys = keys();
        let pkcs8 = keys.pair.to_pkcs8v1().expect("document");
        let signing = SigningKey::ed25519("k1".into(), pkcs8.as_ref());
        let claims: Claims = serde_json::from_value(claims()).expect("claims");
        let token = signing.sign(&claims).expect("signed");
        assert_eq!(open(token.expose(), &keys.verifying), Ok(claims));
    }

    #[test]
    fn r01_the_type_is_at_jwt() {
        for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
            let header = json!({"alg": "EdDSA", "kid": "k1", "typ": good});
            assert!(keys().open(&header.to_string(), &claims().to_string()).is_ok(), "{good}");
        }
        for bad in [json!("JWT"), json!(""), json!("refresh+jwt"), json!(null), json!(["at+jwt"])] {
            let header = json!({"alg": "EdDSA", "kid": "k1", "typ": bad});
            let opened = keys().open(&header.to_string(), &claims().to_string());
            assert_eq!(opened, Err(Rejection::Malformed), "{bad}");
        }
        let absent = r#"{"alg":"EdDSA","kid":"k1"}"#;
        assert_eq!(keys().open(absent, &claims().to_string()), Err(Rejection::Malformed));
    }

    #[test]
    fn r09_duplicate_names_are_refused() {
        let claims = claims().to_string();
        for header in [
            r#"{"alg":"EdDSA","alg":"EdDSA","kid":"k1","typ":"at+jwt"}"#,
            r#"{"alg":"none","kid":"k1","typ":"at+jwt","alg":"EdDSA"}"#,
        ] {
            assert_eq!(keys().open(header, &claims), Err(Rejection::Malformed));
        }
        for extra in [r#""iss":"i","#, r#""x":1,"x":2,"#, r#""x":1,"\u0078":2,"#] {
            let claims = claims.replacen('{', &format!("{{{extra}"), 1);
            assert_eq!(keys().open(&header().to_string(), &claims), Err(Rejection::Malformed));
        }
    }

    #[test]
    fn r10_the_algorithm_is_that_of_the_key() {
        for bad in ["none", "None", "NONE", "nOnE", "", "HS256", "ES256", "eddsa", "EdDSA ", "Ed25519"] {
            let header = json!({"alg": bad, "kid": "k1", "typ": "at+jwt"});
            let opened = keys().open(&header.to_string(), &claims().to_string());
            assert_eq!(opened, Err(Rejection::SignatureInvalid), "{bad}");
        }
    }

    #[test]
    fn r12_dangerous_headers_are_refused() {
        for name in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "enc", "zip", "cty"] {
            let mut header = header();
            header[name] = json!([]);
            let opened = keys().open(&header.to_string(), &claims().to_string());
            assert_eq!(opened, Err(Rejection::Malformed), "{name}");
        }
    }

    #[test]
    fn r15_a_token_has_one_byte_form() {
        let keys = keys();
        let valid = keys.valid();
        assert!(open(&valid, &keys.verifying).is_ok());
        let parts: Vec<&str> = valid.split('.').collect();
        let five = format!("{valid}.{}.{}", parts[0], parts[1]);
        let (body, last) = valid.split_at(valid.len() - 1);
        // The last character of an Ed25519 signature carries 4 bits: the two below them must be zero.
        let sibling = char::from(last.as_bytes()[0] + 1);
        for bad in [
            String::new(),
            "..".into(),
            "garbage".into(),
            format!("{valid}="),
            format!(" {valid}"),
            format!("{valid}\n"),
            format!("{body}{sibling}"),
            valid.replace('.', ".."),
            parts[..2].join("."),
            five,
            "a".repeat(MAX_BYTES + 1),
            format!("{}.{}", "[".repeat(4000), "[".repeat(4000)),
        ] {
            let error = open(&bad, &keys.verifying).expect_err("refused");
            assert!(matches!(error, Rejection::Malformed), "{bad:.40} {error:?}");
        }
    }

    #[test]
    fn r15_deep_nesting_is_refused() {
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
        assert_eq!(keys().open(&header().to_string(), &deep), Err(Rejection::Malformed));
    }

    #[test]
    fn r17_an_unknown_kid_is_refused() {
        for bad in ["k2", "", "K1", "../k1"] {
            let header = json!({"alg": "EdDSA", "kid": bad, "typ": "at+jwt"});
            let opened = keys().open(&header.to_string(), &claims().to_string());
            assert_eq!(opened, Err(Rejection::SignatureInvalid));
        }
    }

    #[test]
    fn a_token_of_another_key_is_refused() {
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("key");
        let forger = Keys { pair: other, verifying: HashMap::new() };
        let opened = open(&forger.valid(), &keys().verifying);
        assert_eq!(opened, Err(Rejection::SignatureInvalid));
    }

    proptest! {
        #[test]
        fn no_altered_token_passes(at in any::<prop::sample::Index>(), other in "[ -~]") {
            let keys = keys();
            let valid = keys.valid();
            let at = at.index(valid.len());
            let mut altered = valid.clone();
            altered.replace_range(at..=at, &other);
            prop_assume!(altered != valid);
            prop_assert!(open(&altered, &keys.verifying).is_err());
        }

        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}") {
            prop_assert!(open(&text, &keys().verifying).is_err());
        }
    }
}
