//! Keys of access tokens, parsed once: aws-lc-rs does the cryptography on parsed keys. The library jsonwebtoken
//! parses them again at every call, which for RS256 costs more than the signature. It describes them as JWKs and names
//! them by their thumbprints, and in the tests it has to agree with what is done here.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_token::{
    algorithm::{Algorithm, RSA_BYTES, UNCOMPRESSED},
    verifying_key::VerifyingKey,
};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk, KeyAlgorithm,
    OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse, RSAKeyParameters, ThumbprintHash,
};
use zeroize::Zeroizing;

use super::random;
use crate::error::Error;

/// RFC 7518 section 3.2: a key of HS256 has at least the length of its hash (REQUIREMENTS R18).
const MIN_HMAC_BYTES: usize = 32;

/// Key material before it is sealed or after it was opened.
pub struct KeyMaterial {
    /// The name of the key: an RFC 7638 thumbprint; random for HS256, whose thumbprint would hash the secret.
    pub kid: String,
    /// The private part: a PKCS#8 document, or a secret.
    pub private: Zeroizing<Vec<u8>>,
}

/// A key that signs, with the name under which verifiers find its public part.
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    private: Private,
}

enum Private {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
    Hs256(Box<hmac::Key>),
}

impl KeyMaterial {
    /// A new key. `rsa_bits` is for RS256 alone: 2048, 3072 or 4096.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness, or for another length.
    pub fn generate(algorithm: Algorithm, rsa_bits: u16) -> Result<Self, Error> {
        loop {
            let material = Self::try_generate(algorithm, rsa_bits)?;
            // As an argument of a command such a name would be read as an option.
            if !material.kid.starts_with('-') {
                return Ok(material);
            }
        }
    }

    fn try_generate(algorithm: Algorithm, rsa_bits: u16) -> Result<Self, Error> {
        let failed = |_| Error::internal("key generation failed");
        let private = match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate();
                document(pair.and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?.as_ref())
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                document(pair.and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?.as_ref())
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(rsa_size(rsa_bits)?).map_err(failed)?;
                let der: Pkcs8V1Der<'static> = pair.as_der().map_err(failed)?;
                document(der.as_ref())
            }
            Algorithm::Hs256 => document(&Zeroizing::new(random::bytes::<MIN_HMAC_BYTES>()?)[..]),
        };
        let mut material = Self { kid: String::new(), private };
        material.kid = match algorithm {
            Algorithm::Hs256 => URL_SAFE_NO_PAD.encode(random::bytes::<32>()?),
            _ => thumbprint(&Private::parse(algorithm, &material.private)?.jwk(algorithm)?)?,
        };
        Ok(material)
    }
}

fn rsa_size(bits: u16) -> Result<KeySize, Error> {
    match bits {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        _ => Err(Error::internal("RSA keys are made with 2048, 3072 or 4096 bits")),
    }
}

fn document(der: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(der.to_vec())
}

impl SigningKey {
    /// Parses a key, checks that its name is its own, and proves by a signature that it works (REQUIREMENTS R18).
    ///
    /// # Errors
    /// [`Error::Internal`] says what is wrong with it.
    pub fn parse(algorithm: Algorithm, material: &KeyMaterial) -> Result<Self, Error> {
        let private = Private::parse(algorithm, &material.private)?;
        let key = Self { kid: material.kid.clone(), algorithm, private };
        let verifying = key.verifying_key()?;
        if algorithm != Algorithm::Hs256 && thumbprint(&key.private.jwk(algorithm)?)? != key.kid {
            return Err(Error::internal("the key does not fit its name"));
        }
        let message = b"self test";
        if !verifying.verify(message, &key.sign(message)?) {
            return Err(Error::internal("the private key does not fit its public part"));
        }
        Ok(key)
    }

    /// The name of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature of `message`, in the form of RFC 7518 section 3.
    ///
    /// # Errors
    /// [`Error::Internal`] when the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::internal("signing failed");
        Ok(match &self.private {
            Private::EdDsa(pair) => pair.try_sign(message).map_err(failed)?.as_ref().to_vec(),
            Private::Es256(pair) => pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec(),
            Private::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
                signature
            }
            Private::Hs256(key) => hmac::sign(key, message).as_ref().to_vec(),
        })
    }

    /// The key that verifies the signatures of this one.
    ///
    /// # Errors
    /// [`Error::Internal`] for a key that is not sound.
    pub fn verifying_key(&self) -> Result<VerifyingKey, Error> {
        match &self.private {
            Private::Hs256(key) => Ok(VerifyingKey::hs256((**key).clone())),
            private => VerifyingKey::from_jwk(&private.jwk(self.algorithm)?)
                .ok_or_else(|| Error::internal("the public part of the key is not sound")),
        }
    }

    /// The public part as a JWK (RFC 7517); None for HS256, which has none.
    ///
    /// # Errors
    /// [`Error::Internal`] for a key that is not sound.
    pub fn jwk(&self) -> Result<Option<Jwk>, Error> {
        if self.algorithm == Algorithm::Hs256 {
            return Ok(None);
        }
        let mut jwk = self.private.jwk(self.algorithm)?;
        jwk.common.key_id = Some(self.kid.clone());
        Ok(Some(jwk))
    }
}

impl Private {
    fn parse(algorithm: Algorithm, private: &[u8]) -> Result<Self, Error> {
        let damaged = |_| Error::internal("the private key is damaged");
        Ok(match algorithm {
            Algorithm::EdDsa => Self::EdDsa(Ed25519KeyPair::from_pkcs8(private).map_err(damaged)?),
            Algorithm::Es256 => {
                Self::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private).map_err(damaged)?)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(private).map_err(damaged)?;
                if !RSA_BYTES.contains(&pair.public_modulus_len()) {
                    return Err(Error::internal("RSA keys have 2048 to 8192 bits"));
                }
                Self::Rs256(Box::new(pair))
            }
            Algorithm::Hs256 if private.len() < MIN_HMAC_BYTES => {
                return Err(Error::internal("HMAC keys have at least 32 bytes"));
            }
            Algorithm::Hs256 => Self::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, private))),
        })
    }

    /// The public part, without a name.
    fn jwk(&self, algorithm: Algorithm) -> Result<Jwk, Error> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (key_algorithm, parameters) = match self {
            Self::EdDsa(pair) => {
                let x = text(pair.public_key().as_ref());
                let (key_type, curve) = (OctetKeyPairType::OctetKeyPair, EllipticCurve::Ed25519);
                let parameters = OctetKeyPairParameters { key_type, curve, x };
                (KeyAlgorithm::EdDSA, AlgorithmParameters::OctetKeyPair(parameters))
            }
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref().strip_prefix(&[UNCOMPRESSED]);
                let (x, y) = point
                    .and_then(|point| point.split_at_checked(32))
                    .ok_or_else(|| Error::internal("the public part of the key is not sound"))?;
                let parameters = EllipticCurveKeyParameters { x: text(x), y: text(y), ..Default::default() };
                (KeyAlgorithm::ES256, AlgorithmParameters::EllipticCurve(parameters))
            }
            Self::Rs256(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                let parameters = RSAKeyParameters { n: text(&public.n), e: text(&public.e), ..Default::default() };
                (KeyAlgorithm::RS256, AlgorithmParameters::RSA(parameters))
            }
            Self::Hs256(_) => return Err(Error::internal(format!("{} has no public part", algorithm.as_str()))),
        };
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(key_algorithm),
            ..CommonParameters::default()
        };
        Ok(Jwk { common, algorithm: parameters })
    }
}

fn thumbprint(jwk: &Jwk) -> Result<String, Error> {
    jwk.thumbprint(ThumbprintHash::SHA256).map_err(Error::internal)
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({}, ..)", self.kid)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {:?}, ..)", self.kid, self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(algorithm: Algorithm, private: &[u8], kid: &str) -> Result<SigningKey, Error> {
        let material = KeyMaterial { kid: kid.to_owned(), private: Zeroizing::new(private.to_vec()) };
        SigningKey::parse(algorithm, &material)
    }

    #[test]
    fn each_algorithm_signs_what_its_key_alone_verifies() {
        for algorithm in Algorithm::ALL {
            let [one, other] = [(); 2].map(|()| KeyMaterial::generate(algorithm, 2048).expect("key"));
            let key = SigningKey::parse(algorithm, &one).expect("sound");
            let signature = key.sign(b"message").expect("signed");
            let verifying = key.verifying_key().expect("sound");
            assert!(verifying.verify(b"message", &signature), "{algorithm:?}");
            assert!(!verifying.verify(b"massage", &signature), "{algorithm:?}");
            assert!(!verifying.verify(b"message", &signature[1..]), "{algorithm:?}");
            assert!(!verifying.verify(b"message", b""), "{algorithm:?}");
            let other = SigningKey::parse(algorithm, &other).expect("sound").verifying_key().expect("sound");
            assert!(!other.verify(b"message", &signature), "{algorithm:?}");
        }
    }

    #[test]
    fn r22_a_published_key_has_public_members_only_and_its_thumbprint_as_name() {
        for (algorithm, expected) in [
            (Algorithm::EdDsa, &["alg", "crv", "kid", "kty", "use", "x"][..]),
            (Algorithm::Es256, &["alg", "crv", "kid", "kty", "use", "x", "y"]),
            (Algorithm::Rs256, &["alg", "e", "kid", "kty", "n", "use"]),
        ] {
            let material = KeyMaterial::generate(algorithm, 2048).expect("key");
            let jwk = SigningKey::parse(algorithm, &material).expect("sound").jwk().expect("sound").expect("public");
            assert_eq!(jwk.common.key_id, Some(thumbprint(&jwk).expect("thumbprint")));
            assert_eq!(jwk.common.key_id, Some(material.kid));
            let json = serde_json::to_value(&jwk).expect("json");
            let mut members: Vec<&str> = json.as_object().expect("object").keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, expected);
            assert_eq!(json["alg"], algorithm.as_str());
        }
        let secret = KeyMaterial::generate(Algorithm::Hs256, 2048).expect("key");
        let key = SigningKey::parse(Algorithm::Hs256, &secret).expect("sound");
        assert_eq!(key.jwk().expect("sound"), None, "a secret is not published");
    }

    #[test]
    fn r18_keys_that_are_too_short_are_refused() {
        let short = parse(Algorithm::Hs256, &[7; 31], "k").expect_err("refused");
        assert!(short.to_string().contains("32 bytes"), "{short}");
        assert!(parse(Algorithm::Hs256, &[7; 32], "k").is_ok());
        // Made with `openssl genrsa 1024 | openssl pkcs8 -topk8 -nocrypt -outform DER`.
        let weak = URL_SAFE_NO_PAD.decode(RSA_1024).expect("base64");
        assert!(parse(Algorithm::Rs256, &weak, "k").is_err());
        assert!(KeyMaterial::generate(Algorithm::Rs256, 1024).is_err());
    }

    #[test]
    fn a_damaged_or_renamed_key_is_refused() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let material = KeyMaterial::generate(algorithm, 2048).expect("key");
            assert!(parse(algorithm, &material.private, &material.kid).is_ok());
            assert!(parse(algorithm, &material.private, "another").is_err());
            assert!(parse(algorithm, &material.private[1..], &material.kid).is_err());
            assert!(parse(algorithm, &[], &material.kid).is_err());
            for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm && *other != Algorithm::Hs256) {
                assert!(parse(other, &material.private, &material.kid).is_err(), "{algorithm:?} as {other:?}");
            }
        }
    }

    const RSA_1024: &str = concat!(
        "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAOV7XLeGDaf12yF9H3hJGTRixn3miKw-yX-7g05djM6m6kbWVOx7",
        "XDTLkPKuzUxW_La4sBVSvD-Uo1EARmCFdPuhUf3J0HdeuHv7d-IHjREh79wm4lyqkUM2CGpJHKHCAE7KyskXvJ4mRYN8VODm7xz9",
        "vW50TGlz64cKQq9uDrZJAgMBAAECgYBkNSxVj5oi__8CbqrxUapJ7-ARVjvUS06eEnnSHJPCIa0n5awL4Apxm3reHmrTrSCJgbiS",
        "dyBw-y0dz-rrdxuPehCV8DZGGP21_JHla4fuSqh9EP4gYYQ7-77dGEseLX2E6mAjpl-WY9v7Xd6_hOliJ4Kd_FH6Kf06eR3efpda",
        "IQJBAPzu9wjUGBFtEFBxSe1uFxS3JQImzw2CapRI2Vbqf0-YsBtvCDNsRAfP5v-2_n1qBbEw1WcXI3Mh_1UDQIeecJUCQQDoQ5wr",
        "xjtZEYjz7pWxIB-U073yV2NSoGkZvA1UqkRvHZV9c5Di2oi2MDOl1hEuj76SAy7OsqXqiVVp7J633r3lAkEAjPL51QCkXOmjIsDP",
        "CrHDyPZ6eCV6UrPvgqzJ-OZ6hbe3w8HvFwDpNFVGDBBE50yy2Vg2Q9mgFqPGbvB-AFVptQJAfHn3kZI8rkByiGC-Qt43briIHP_u",
        "kBK-IPeioVRbNr3BJymvZZS_Hfz5QRBXxv9sn64rAMXHm8mcSBdy_JHYbQJBANMC9_882HCOxVg7QTgyuNzmHfU9QVdzLrfgy0Uu",
        "8HC6WC30pCiuBkOp0r7uAtLRuQ6chfo3eXgCBYpLrrwdvXA",
    );
}
