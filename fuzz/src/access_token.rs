//! Access tokens: two fixed keys, one reading, and what has to hold for whatever it accepts.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::crypto::{
    sign::sign_access_token,
    signing_key::{KeyMaterial, SigningKey},
};
use countersign_token::{
    access_token,
    algorithm::Algorithm,
    claims::Claims,
    key_set::{KeySet, KeyState},
};
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{encode, near};

/// RFC 8410 section 7: what comes before the seed of an Ed25519 key.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEED: [u8; 32] = *b"a fixed seed that is no secret..";
const SECRET: [u8; 32] = *b"a fixed key that is not secret..";
/// The thumbprint of the key of `SEED`.
pub const EDDSA: &str = "fkIkm58T0dnL7j4ecSCLM-Xa4md7XyolZ5JaFjWqwTE";
/// The name of the key of `SECRET`.
pub const HS256: &str = "hs";

struct Keys {
    eddsa: SigningKey,
    hs256: SigningKey,
    verifying: KeySet,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let eddsa = key(Algorithm::EdDsa, EDDSA, [&PKCS8[..], &SEED].concat());
    let hs256 = key(Algorithm::Hs256, HS256, SECRET.to_vec());
    let verifier = |key: &SigningKey| (key.kid().to_owned(), KeyState::Key(key.verifying_key().expect("sound")));
    let verifying = KeySet::from_iter([verifier(&eddsa), verifier(&hs256)]);
    Keys { eddsa, hs256, verifying }
});

fn key(algorithm: Algorithm, kid: &str, private: Vec<u8>) -> SigningKey {
    let material = KeyMaterial { kid: kid.to_owned(), private: Zeroizing::new(private) };
    SigningKey::parse(algorithm, &material).expect("sound")
}

/// The reading under test.
pub fn open(token: &str) -> Option<Claims> {
    access_token::open(token, &KEYS.verifying).ok()
}

/// A token of these segments, signed by the key that the header seems to name.
pub fn signed(header: &str, claims: &str, algorithm: Algorithm) -> String {
    let message = format!("{header}.{claims}");
    let key = if algorithm == Algorithm::Hs256 { &KEYS.hs256 } else { &KEYS.eddsa };
    let signature = key.sign(message.as_bytes()).expect("signed");
    format!("{message}.{}", encode(&signature))
}

/// Panics if an accepted token breaks a rule. Whether it was accepted.
pub fn check(token: &str) -> bool {
    let Some(claims) = open(token) else {
        return false;
    };
    let segments: Vec<&str> = token.split('.').collect();
    let &[header, body, _] = &segments[..] else {
        panic!("accepted with {} segments", segments.len());
    };
    for segment in &segments {
        let bytes = URL_SAFE_NO_PAD.decode(segment).expect("accepted what is no base64url");
        assert_eq!(encode(&bytes), *segment, "accepted what is not canonical");
    }
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
    let algorithm: Algorithm = header["alg"].as_str().and_then(|alg| alg.parse().ok()).expect("an algorithm of ours");
    assert_eq!(header.as_object().map(serde_json::Map::len), Some(3), "accepted a header with more members");
    assert_jsonwebtoken_agrees(token, &claims, algorithm);
    let typ = header["typ"].as_str().map(str::to_lowercase);
    assert!(matches!(typ.as_deref(), Some("at+jwt" | "application/at+jwt")), "accepted another kind: {header}");
    for other in near(token).into_iter().chain(signed_near(segments[0], body, algorithm)) {
        assert!(open(&other).is_none(), "accepted beside {token}: {other}");
    }
    let key = if algorithm == Algorithm::Hs256 { &KEYS.hs256 } else { &KEYS.eddsa };
    let again = sign_access_token(&claims, key).expect("signed");
    // One audience becomes a list, so a token at the limit may grow beyond it.
    assert!(token.len() > 8000 || open(again.expose()) == Some(claims), "not read back");
    true
}

fn assert_jsonwebtoken_agrees(token: &str, claims: &Claims, algorithm: Algorithm) {
    let mut validation = Validation::new(algorithm.as_str().parse().expect("known to both"));
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let key = match algorithm {
        Algorithm::Hs256 => DecodingKey::from_secret(&SECRET),
        _ => DecodingKey::from_jwk(&KEYS.eddsa.jwk().expect("sound").expect("public")).expect("sound"),
    };
    let theirs = decode::<Claims>(token, &key, &validation).expect("accepted by us alone");
    assert_eq!(theirs.claims, *claims, "read otherwise");
}

/// Tokens that are no access tokens although the key has signed them.
fn signed_near(header: &str, claims: &str, algorithm: Algorithm) -> Vec<String> {
    let with = |segment: &str, member: &str| {
        let json = URL_SAFE_NO_PAD.decode(segment).expect("base64url");
        let at = json.iter().position(|byte| *byte == b'{').expect("an object") + 1;
        encode(&[&json[..at], member.as_bytes(), &json[at..]].concat())
    };
    let padded = |segment: &str| format!("{segment}{}", &"=="[..(4 - segment.len() % 4) % 4]);
    let mut near = vec![
        (with(header, r#""crit":[],"#), claims.to_owned()),
        (with(header, r#""alg":"none","#), claims.to_owned()),
        (header.to_owned(), with(claims, r#""iss":"x","#)),
        (header.to_owned(), with(claims, r#""?":1,"?":2,"#)),
        (header.to_owned(), with(claims, r#""?":1,"\u003f":2,"#)),
        (claims.to_owned(), header.to_owned()),
        (padded(header), claims.to_owned()),
        (header.to_owned(), padded(claims)),
    ];
    near.retain(|(one, other)| (one.as_str(), other.as_str()) != (header, claims));
    near.into_iter().map(|(header, claims)| signed(&header, &claims, algorithm)).collect()
}
