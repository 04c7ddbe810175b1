//! Signing and verifying of access tokens: ours beside the bare signature of aws-lc-rs on a parsed key over the same
//! bytes, and beside jsonwebtoken, which parses the key at every call. What it showed is docs/benchmarks.md.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that panics has failed"
)]

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
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
use divan::{Bencher, black_box};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp};
use time::OffsetDateTime;

fn main() {
    divan::main();
}

const ALGORITHMS: [&str; 4] = ["EdDSA", "ES256", "RS256", "HS256"];
/// Before the PKCS#1 document in a PKCS#8 document of 2048 bits.
const RSA_HEAD: usize = 26;

/// A key in every form, and a token of it.
struct Fixture {
    signing: SigningKey,
    verifying: KeySet,
    claims: Claims,
    token: String,
    now: OffsetDateTime,
    bare: Bare,
    theirs: Theirs,
}

/// What remains of a token when JSON and base64 are done, and the keys of the library.
struct Bare {
    message: Vec<u8>,
    signature: Vec<u8>,
    private: Private,
    public: Option<ParsedPublicKey>,
}

#[expect(clippy::large_enum_variant, reason = "there are four")]
enum Private {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    Hs256(hmac::Key),
}

struct Theirs {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

static FIXTURES: LazyLock<HashMap<&str, Fixture>> =
    LazyLock::new(|| Algorithm::ALL.map(|algorithm| (algorithm.as_str(), Fixture::new(algorithm))).into());

impl Fixture {
    fn new(algorithm: Algorithm) -> Self {
        let material = KeyMaterial::generate(algorithm, 2048).expect("key");
        let signing = SigningKey::parse(algorithm, &material).expect("sound");
        let verifier = KeyState::Key(signing.verifying_key().expect("sound"));
        let claims = claims(get_current_timestamp());
        let token = sign_access_token(&claims, &signing).expect("signed").expose().to_owned();
        let now = i64::try_from(claims.iat).expect("this century");
        Self {
            bare: Bare::new(algorithm, &material, &token),
            theirs: Theirs::new(algorithm, &material, &signing),
            verifying: KeySet::from_iter([(material.kid, verifier)]),
            now: OffsetDateTime::from_unix_timestamp(now).expect("this century"),
            signing,
            claims,
            token,
        }
    }
}

/// As `auth/tokens.rs` makes them.
fn claims(now: u64) -> Claims {
    let id = |last: u8| format!("01932c07-65a0-7d3f-9c41-5b2f4e8a1d{last:02x}");
    Claims {
        iss: "countersign".to_owned(),
        sub: id(1),
        aud: vec!["internal".to_owned()],
        exp: now + 900,
        nbf: None,
        iat: now,
        jti: id(2),
        client_id: "web-frontend".to_owned(),
        auth_time: now,
        sid: id(3),
        epoch: 3,
        roles: vec!["billing.read".to_owned(), "billing.write".to_owned()],
        scope: Some("billing.read billing.write".to_owned()),
        preferred_username: None,
    }
}

impl Bare {
    fn new(algorithm: Algorithm, material: &KeyMaterial, token: &str) -> Self {
        let (message, signature) = token.rsplit_once('.').expect("a token");
        let der = &material.private;
        let (private, public) = match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(der).expect("sound");
                let public = ParsedPublicKey::new(&ED25519, pair.public_key()).expect("sound");
                (Private::EdDsa(pair), Some(public))
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).expect("sound");
                let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key()).expect("sound");
                (Private::Es256(pair), Some(public))
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(der).expect("sound");
                let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key()).expect("sound");
                (Private::Rs256(pair), Some(public))
            }
            Algorithm::Hs256 => (Private::Hs256(hmac::Key::new(hmac::HMAC_SHA256, der)), None),
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        Self { message: message.into(), signature, private, public }
    }

    /// Into a buffer that is there already.
    fn sign(&self, buffer: &mut [u8]) {
        let random = SystemRandom::new();
        match &self.private {
            Private::EdDsa(pair) => drop(black_box(pair.sign(&self.message))),
            Private::Es256(pair) => drop(black_box(pair.sign(&random, &self.message).expect("signed"))),
            Private::Rs256(pair) => pair.sign(&RSA_PKCS1_SHA256, &random, &self.message, buffer).expect("signed"),
            Private::Hs256(key) => drop(black_box(hmac::sign(key, &self.message))),
        }
    }

    fn verify(&self) {
        match (&self.public, &self.private) {
            (Some(key), _) => key.verify_sig(&self.message, &self.signature).expect("valid"),
            (None, Private::Hs256(key)) => hmac::verify(key, &self.message, &self.signature).expect("valid"),
            (None, _) => panic!("no public key"),
        }
    }
}

impl Theirs {
    fn new(algorithm: Algorithm, material: &KeyMaterial, signing: &SigningKey) -> Self {
        let der = &material.private;
        let encoding = match algorithm {
            Algorithm::EdDsa => EncodingKey::from_ed_der(der),
            Algorithm::Es256 => EncodingKey::from_ec_der(der),
            Algorithm::Rs256 => EncodingKey::from_rsa_der(&der[RSA_HEAD..]),
            Algorithm::Hs256 => EncodingKey::from_secret(der),
        };
        let decoding = match signing.jwk().expect("sound") {
            Some(jwk) => DecodingKey::from_jwk(&jwk).expect("sound"),
            None => DecodingKey::from_secret(der),
        };
        let name = algorithm.as_str().parse().expect("known to both");
        let mut header = Header::new(name);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(material.kid.clone()));
        let mut validation = Validation::new(name);
        validation.set_issuer(&["countersign"]);
        validation.set_audience(&["internal"]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self { header, encoding, decoding, validation }
    }
}

#[divan::bench_group(min_time = 2)]
mod sign {
    use super::*;

    #[divan::bench(args = ALGORITHMS)]
    fn bare(bencher: Bencher<'_, '_>, algorithm: &str) {
        let bare = &FIXTURES[algorithm].bare;
        let mut buffer = bare.signature.clone();
        bencher.bench_local(|| black_box(bare).sign(&mut buffer));
    }

    #[divan::bench(args = ALGORITHMS)]
    fn ours(bencher: Bencher<'_, '_>, algorithm: &str) {
        let fixture = &FIXTURES[algorithm];
        bencher.bench_local(|| sign_access_token(black_box(&fixture.claims), &fixture.signing).expect("signed"));
    }

    #[divan::bench(args = ALGORITHMS)]
    fn jsonwebtoken(bencher: Bencher<'_, '_>, algorithm: &str) {
        let (theirs, claims) = (&FIXTURES[algorithm].theirs, &FIXTURES[algorithm].claims);
        bencher.bench_local(|| encode(&theirs.header, black_box(claims), &theirs.encoding).expect("signed"));
    }
}

#[divan::bench_group(min_time = 2)]
mod verify {
    use super::*;

    #[divan::bench(args = ALGORITHMS)]
    fn bare(bencher: Bencher<'_, '_>, algorithm: &str) {
        let bare = &FIXTURES[algorithm].bare;
        bencher.bench_local(|| black_box(bare).verify());
    }

    #[divan::bench(args = ALGORITHMS)]
    fn ours(bencher: Bencher<'_, '_>, algorithm: &str) {
        let fixture = &FIXTURES[algorithm];
        bencher.bench_local(|| {
            let claims = access_token::open(black_box(&fixture.token), &fixture.verifying).expect("accepted");
            let principal = claims.identify("countersign").expect("ours");
            principal.check(Some("internal"), Duration::ZERO, fixture.now).expect("valid");
            principal
        });
    }

    #[divan::bench(args = ALGORITHMS)]
    fn jsonwebtoken(bencher: Bencher<'_, '_>, algorithm: &str) {
        let (theirs, token) = (&FIXTURES[algorithm].theirs, &FIXTURES[algorithm].token);
        bencher.bench_local(|| {
            decode::<Claims>(black_box(token), &theirs.decoding, &theirs.validation).expect("accepted")
        });
    }
}
