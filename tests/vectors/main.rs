//! The examples of RFC 7515, 7520 and 8037, whose authors knew nothing of this code: each signature verifies, no altered
//! one does, and what RFC and library make deterministic comes out byte for byte. The values are `rfc.json`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed; clippy knows test functions only, not their helpers"
)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::crypto::signing_key::{KeyMaterial, SigningKey};
use countersign_token::{
    access_token,
    algorithm::Algorithm,
    error::{Error, Rejection},
    key_set::{KeySet, KeyState},
    verifying_key::VerifyingKey,
};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An example: its key as a JWK with the private part where it has one, and its compact JWS.
#[derive(Deserialize)]
struct Vector {
    name: String,
    key: Value,
    jws: String,
}

impl Vector {
    fn named(name: &str) -> Self {
        let all: Vec<Self> = serde_json::from_str(include_str!("rfc.json")).expect("json");
        all.into_iter().find(|vector| vector.name == name).expect("in the file")
    }

    /// The key. The examples leave `alg` out or to the header; we ask for it in the key.
    fn jwk(&self) -> Jwk {
        let header: Value = serde_json::from_slice(&bytes(self.jws.split('.').next().expect("header"))).expect("json");
        let mut key = self.key.clone();
        key["alg"] = header["alg"].clone();
        serde_json::from_value(key).expect("a JWK")
    }

    /// What is signed, and its signature.
    fn parts(&self) -> (&[u8], Vec<u8>) {
        let (message, signature) = self.jws.rsplit_once('.').expect("a JWS");
        (message.as_bytes(), bytes(signature))
    }

    fn member(&self, name: &str) -> Vec<u8> {
        bytes(self.key[name].as_str().expect(name))
    }

    /// The private part, under the name that its algorithm gives it.
    fn signing_key(&self, algorithm: Algorithm, private: Vec<u8>) -> SigningKey {
        let kid = match algorithm {
            Algorithm::Hs256 => self.key["kid"].as_str().expect("kid").to_owned(),
            _ => self.jwk().thumbprint(ThumbprintHash::SHA256).expect("thumbprint"),
        };
        let material = KeyMaterial { kid, private: Zeroizing::new(private) };
        SigningKey::parse(algorithm, &material).expect("sound")
    }
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// `original` with one bit of each of its bytes altered in turn.
fn altered(original: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..original.len()).map(|at| {
        let mut bytes = original.to_vec();
        bytes[at] ^= 1 << (at % 8);
        bytes
    })
}

/// `key` verifies the example and nothing near it, and no example is an access token.
fn assert_verifies(vector: &Vector, key: VerifyingKey) {
    let (message, signature) = vector.parts();
    assert!(key.verify(message, &signature), "{}", vector.name);
    for bad in altered(message) {
        assert!(!key.verify(&bad, &signature), "{}: {}", vector.name, String::from_utf8_lossy(&bad));
    }
    for bad in altered(&signature) {
        assert!(!key.verify(message, &bad), "{}: {bad:?}", vector.name);
    }
    let kid = vector.key["kid"].as_str().unwrap_or_default().to_owned();
    let opened = access_token::open(&vector.jws, &KeySet::from_iter([(kid, KeyState::Key(key))]));
    assert!(matches!(opened, Err(Error::Rejected(Rejection::Malformed))), "{}: {opened:?}", vector.name);
}

fn assert_published_key_verifies(name: &str, algorithm: Algorithm) {
    let vector = Vector::named(name);
    let key = VerifyingKey::from_jwk(&vector.jwk()).expect("sound");
    assert_eq!(key.algorithm(), algorithm);
    assert_verifies(&vector, key);
}

#[test]
fn ed25519_of_rfc_8037_a_4() {
    assert_published_key_verifies("RFC 8037 A.4", Algorithm::EdDsa);
}

#[test]
fn rs256_of_rfc_7515_a_2() {
    assert_published_key_verifies("RFC 7515 A.2", Algorithm::Rs256);
}

#[test]
fn es256_of_rfc_7515_a_3() {
    assert_published_key_verifies("RFC 7515 A.3", Algorithm::Es256);
}

#[test]
fn rs256_of_rfc_7520_4_1() {
    assert_published_key_verifies("RFC 7520 4.1", Algorithm::Rs256);
}

/// ES512 is no algorithm of ours, whatever the key calls itself.
#[test]
fn the_p521_key_of_rfc_7520_4_3_is_refused() {
    let vector = Vector::named("RFC 7520 4.3");
    assert!(VerifyingKey::from_jwk(&vector.jwk()).is_none());
    for alg in [json!("ES256"), json!("ES512"), json!("EdDSA"), json!("RS256"), json!("HS256"), json!(null)] {
        let mut key = vector.key.clone();
        key["alg"] = alg.clone();
        let jwk: Jwk = serde_json::from_value(key).expect("a JWK");
        assert!(VerifyingKey::from_jwk(&jwk).is_none(), "{alg}");
    }
}

/// A secret verifies and signs, but never as a published key.
#[test]
fn hs256_of_rfc_7520_4_4() {
    let vector = Vector::named("RFC 7520 4.4");
    assert!(VerifyingKey::from_jwk(&vector.jwk()).is_none());
    let key = vector.signing_key(Algorithm::Hs256, vector.member("k"));
    assert_signs(&vector, &key);
    assert_verifies(&vector, key.verifying_key().expect("sound"));
}

#[test]
fn ed25519_signs_as_in_rfc_8037() {
    let vector = Vector::named("RFC 8037 A.4");
    // RFC 8410 section 7: a PKCS#8 document is these bytes and the seed.
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = vector.signing_key(Algorithm::EdDsa, [&head[..], &vector.member("d")].concat());
    assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "the thumbprint of RFC 8037 A.3");
    assert_signs(&vector, &key);
}

#[test]
fn rs256_signs_as_in_rfc_7515_and_7520() {
    for name in ["RFC 7515 A.2", "RFC 7520 4.1"] {
        let vector = Vector::named(name);
        assert_signs(&vector, &vector.signing_key(Algorithm::Rs256, rsa_pkcs8(&vector)));
    }
}

/// With HMAC, Ed25519 and PKCS#1 v1.5 a key has one signature for a message.
fn assert_signs(vector: &Vector, key: &SigningKey) {
    let (message, signature) = vector.parts();
    assert_eq!(key.sign(message).expect("signed"), signature, "{}", vector.name);
}

/// RFC 5208 section 5 around RFC 8017 appendix A.1.2.
fn rsa_pkcs8(vector: &Vector) -> Vec<u8> {
    let members = ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|name| integer(&vector.member(name)));
    let key = der(0x30, &[integer(&[0]), members.concat()].concat());
    let rsa_encryption = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    der(0x30, &[integer(&[0]), der(0x30, &rsa_encryption), der(4, &key)].concat())
}

/// A zero before the first bit keeps a number positive.
fn integer(big_endian: &[u8]) -> Vec<u8> {
    let sign = if big_endian[0] < 0x80 { &[][..] } else { &[0][..] };
    der(2, &[sign, big_endian].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("short").to_be_bytes();
    let head = match content.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], content].concat()
}
