//! The strict reading of access tokens (RFC 8725): JWTs in the profile of RFC 9068, signed by one of our keys.
//!
//! A token has one byte form: header members alg, kid and typ alone, canonical base64url, two dots.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{
    claims::Claims,
    error::{Error, Rejection},
    key_set::{KeySet, KeyState},
};

/// Longer input is not looked at (REQUIREMENTS R15).
pub const MAX_BYTES: usize = 8 * 1024;
/// RFC 9068 section 2.1.
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// The header. Every other member is refused: crit, b64, jwk, jku, x5u, x5c and x5t have been attacks, and we issue none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Reads a token that one of `keys` signed: a pure function, with no look-up elsewhere. What its claims say has still to
/// be checked ([`Claims::identify`], then [`Principal::check`](super::claims::Principal::check)).
///
/// # Errors
/// [`Error::Rejected`] with [`Rejection::Malformed`], [`Rejection::KeyUnknown`], [`Rejection::SignatureInvalid`], or
/// [`Rejection::Revoked`] when its key was killed; [`Error::KeyUnusable`].
pub fn open(token: &str, keys: &KeySet) -> Result<Claims, Error> {
    if token.len() > MAX_BYTES {
        return Err(Rejection::Malformed.into());
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Rejection::Malformed)?;
    if claims.contains('.') {
        return Err(Rejection::Malformed.into());
    }
    let header = read_header(header)?;
    if !TYPES.iter().any(|typ| header.typ.eq_ignore_ascii_case(typ)) {
        return Err(Rejection::Malformed.into());
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Rejection::Malformed)?;
    let key = match keys.get(&header.kid) {
        Some(KeyState::Key(key)) => key,
        Some(KeyState::Killed) => return Err(Rejection::Revoked.into()),
        Some(KeyState::Unusable) => return Err(Error::KeyUnusable),
        None => return Err(Rejection::KeyUnknown.into()),
    };
    // Byte for byte, so that no spelling of `none` is one of ours.
    if header.alg != key.algorithm().as_str() || !key.verify(message.as_bytes(), &signature) {
        return Err(Rejection::SignatureInvalid.into());
    }
    Ok(read_claims(claims)?)
}

/// Reads the header. Serde itself refuses foreign names, so that the search for duplicates is short; but it would take an
/// array for an object.
fn read_header(segment: &str) -> Result<Header, Rejection> {
    let json = text(segment)?;
    let header = serde_json::from_str(&json).map_err(|_| Rejection::Malformed)?;
    let _: UniqueNames = serde_json::from_str(&json).map_err(|_| Rejection::Malformed)?;
    Ok(header)
}

/// Reads the claims, among which there may be unknown ones, but no duplicates (RFC 7519 section 4).
fn read_claims(segment: &str) -> Result<Claims, Rejection> {
    let json = text(segment)?;
    let _: UniqueNames = serde_json::from_str(&json).map_err(|_| Rejection::Malformed)?;
    serde_json::from_str(&json).map_err(|_| Rejection::Malformed)
}

/// The text of a segment: canonical base64url of UTF-8 (RFC 7519 section 7.2).
fn text(segment: &str) -> Result<String, Rejection> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).map_err(|_| Rejection::Malformed)?;
    String::from_utf8(bytes).map_err(|_| Rejection::Malformed)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Signer;

    struct Keys {
        signing: Signer,
        verifying: KeySet,
    }

    /// A key that verifiers know as `k1`.
    fn keys() -> Keys {
        let signing = Signer::new();
        let verifying = KeySet::from_iter([("k1".into(), KeyState::Key(signing.verifying_key()))]);
        Keys { signing, verifying }
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
        fn open(&self, header: &str, claims: &str) -> Result<Claims, Rejection> {
            opened(&self.signing.token(header, claims), &self.verifying)
        }

        fn valid(&self) -> String {
            self.signing.token(&header().to_string(), &claims().to_string())
        }
    }

    fn opened(token: &str, keys: &KeySet) -> Result<Claims, Rejection> {
        open(token, keys).map_err(|error| match error {
            Error::Rejected(rejection) => rejection,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn tokens_of_a_killed_key_are_dead_and_of_one_that_cannot_be_used_undecided() {
        let mut keys = keys();
        keys.verifying.insert("k1".into(), KeyState::Killed);
        assert_eq!(opened(&keys.valid(), &keys.verifying), Err(Rejection::Revoked));
        keys.verifying.insert("k1".into(), KeyState::Unusable);
        assert!(matches!(open(&keys.valid(), &keys.verifying), Err(Error::KeyUnusable)));
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
            assert_eq!(opened(&bad, &keys.verifying), Err(Rejection::Malformed), "{bad:.40}");
        }
    }

    #[test]
    fn r15_text_that_is_not_utf_8_is_refused_wherever_it_is() {
        let keys = keys();
        let mut claims = claims();
        claims["x"] = json!("MARK");
        let claims = claims.to_string().into_bytes();
        let sign = |claims: &[u8]| {
            let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let message = format!("{}.{}", encode(header().to_string().as_bytes()), encode(claims));
            format!("{message}.{}", encode(&keys.signing.sign(message.as_bytes())))
        };
        assert!(opened(&sign(&claims), &keys.verifying).is_ok());
        let mark = claims.windows(4).position(|w| w == b"MARK").expect("there");
        let mut bad = claims.clone();
        bad[mark] = 0xff;
        assert_eq!(opened(&sign(&bad), &keys.verifying), Err(Rejection::Malformed));
    }

    #[test]
    fn r15_an_array_is_no_object() {
        let claims = claims().to_string();
        assert_eq!(keys().open(r#"["EdDSA","k1","at+jwt"]"#, &claims), Err(Rejection::Malformed));
        let values: Vec<Value> = self::claims().as_object().expect("object").values().cloned().collect();
        assert_eq!(keys().open(&header().to_string(), &json!(values).to_string()), Err(Rejection::Malformed));
    }

    #[test]
    fn r15_deep_nesting_takes_no_stack() {
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        let with = |object: Value, name: &str| {
            let mut object = object.as_object().expect("an object").clone();
            object.insert(name.into(), "DEEP".into());
            Value::from(object).to_string().replace("\"DEEP\"", &deep)
        };
        let opened = |header: &str, claims: &str| keys().open(header, claims);
        let (plain_header, plain_claims) = (header().to_string(), claims().to_string());
        assert!(opened(&plain_header, &with(claims(), "unknown")).is_ok(), "what is not known is skipped");
        assert_eq!(opened(&plain_header, &with(claims(), "roles")), Err(Rejection::Malformed));
        assert_eq!(opened(&with(header(), "unknown"), &plain_claims), Err(Rejection::Malformed));
        assert_eq!(opened(&with(header(), "kid"), &plain_claims), Err(Rejection::Malformed));
    }

    #[test]
    fn r17_an_unknown_kid_is_refused() {
        for bad in ["k2", "", "K1", "../k1"] {
            let header = json!({"alg": "EdDSA", "kid": bad, "typ": "at+jwt"});
            let opened = keys().open(&header.to_string(), &claims().to_string());
            assert_eq!(opened, Err(Rejection::KeyUnknown));
        }
    }

    #[test]
    fn a_token_of_another_key_is_refused() {
        let forger = keys();
        assert_eq!(opened(&forger.valid(), &keys().verifying), Err(Rejection::SignatureInvalid));
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
            prop_assert!(opened(&altered, &keys.verifying).is_err());
        }

        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}") {
            prop_assert!(opened(&text, &keys().verifying).is_err());
        }
    }
}
