//! PBKDF2 (RFC 8018) as passlib, Kratos, Django, Werkzeug, LDAP servers, Spring and ASP.NET Identity write it.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use base64::Engine as _;

use super::{
    digests::Digest,
    parts::{LEAST_ROUNDS, Read, STANDARD, adapted, from_hex, output, parameters, scheme},
};

/// One or two seconds of one core.
const MAX_ITERATIONS: u32 = 2_000_000;
/// Iterations of the second version of ASP.NET Identity, which does not write them.
const ASPNET_V2: u32 = 1000;
/// Spring's defaults before and since its version 5.8: digest, iterations, bytes of salt.
const SPRING: [(&str, Digest, u32, usize); 2] =
    [("pbkdf2", Digest::Sha1, 185_000, 8), ("pbkdf2@springsecurity_v5_8", Digest::Sha256, 310_000, 16)];

pub(super) const FORM: &str = "PBKDF2 with at most 2000000 iterations, a salt and a hash of 16 to 64 bytes";

/// A hash by PBKDF2.
pub struct Pbkdf2 {
    digest: Digest,
    algorithm: pbkdf2::Algorithm,
    /// Number of iterations.
    pub iterations: NonZeroU32,
    salt: Vec<u8>,
    /// The output for the right password, or its first block: that tells a password as well, at the cost of one.
    pub expected: Vec<u8>,
}

pub(super) fn read(text: &str) -> Read<Pbkdf2> {
    let read = match text.split('$').collect::<Vec<_>>()[..] {
        ["", name @ ("pbkdf2" | "pbkdf2-sha1" | "pbkdf2-sha256" | "pbkdf2-sha512"), params, salt, hash] => {
            read_phc(name, params, salt, hash)
        }
        // Django and Werkzeug take the text of the salt for the salt.
        [name @ ("pbkdf2_sha1" | "pbkdf2_sha256" | "pbkdf2_sha512"), iterations, salt, hash] => {
            named(name, iterations, Some(salt.into()), STANDARD.decode(hash).ok())
        }
        [method, salt, hash] if method.starts_with("pbkdf2:") => match method.rsplit_once(':') {
            Some((name, iterations)) => named(name, iterations, Some(salt.into()), from_hex(hash)),
            None => None,
        },
        _ => match scheme(text) {
            Some((name, rest)) if name.starts_with("pbkdf2") => read_scheme(&name, rest),
            None if is_aspnet(text) => read_aspnet(text),
            _ => return None,
        },
    };
    Some(read.ok_or(FORM))
}

/// Reads PBKDF2 with the length of the hash or without, or as passlib writes it: the bare number, and `.` for `+`.
fn read_phc(name: &str, params: &str, salt: &str, hash: &str) -> Option<Pbkdf2> {
    let (salt, hash) = (adapted(salt), adapted(hash)?);
    if let Some([iterations, length]) = parameters(params, ["i", "l"]) {
        return named(name, iterations, salt, Some(hash).filter(|hash| length.parse() == Ok(hash.len())));
    }
    let iterations = parameters(params, ["i"]).map_or(params, |[iterations]| iterations);
    named(name, iterations, salt, Some(hash))
}

/// Reads number, salt and hash of an LDAP server, or Spring's salt and hash in hexadecimal.
fn read_scheme(name: &str, text: &str) -> Option<Pbkdf2> {
    if let [iterations, salt, hash] = text.split('$').collect::<Vec<_>>()[..] {
        return named(name, iterations, adapted(salt), adapted(hash));
    }
    let (_, digest, iterations, salt) = SPRING.into_iter().find(|(known, ..)| *known == name)?;
    let bytes = from_hex(text)?;
    let (salt, hash) = bytes.split_at_checked(salt).filter(|(_, hash)| hash.len() == 32)?;
    pbkdf2_of(digest, iterations, salt.to_vec(), Some(hash.to_vec()))
}

/// True if a text begins with the byte of a version, 0 or 1, in base64: the second digit has bits of the next byte.
fn is_aspnet(text: &str) -> bool {
    matches!(text.as_bytes(), [b'A', b'A'..=b'Q', ..])
}

/// Reads a byte of version, then the salt and the hash. Version 1 (Identity v3) names digest, iterations and salt before.
fn read_aspnet(text: &str) -> Option<Pbkdf2> {
    let bytes = STANDARD.decode(text).ok()?;
    let (version, bytes) = bytes.split_first()?;
    if *version == 0 {
        let (salt, hash) = bytes.split_at_checked(16).filter(|(_, hash)| hash.len() == 32)?;
        return pbkdf2_of(Digest::Sha1, ASPNET_V2, salt.to_vec(), Some(hash.to_vec()));
    }
    let mut rest = bytes;
    let [digest, iterations, salt] = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
    let digest = match digest {
        0 => Digest::Sha1,
        1 => Digest::Sha256,
        2 => Digest::Sha512,
        _ => return None,
    };
    let (salt, hash) = rest.split_at_checked(usize::try_from(salt).ok()?).filter(|_| *version == 1)?;
    pbkdf2_of(digest, iterations, salt.to_vec(), Some(hash.to_vec()))
}

/// Takes four bytes from the beginning.
fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

/// Reads what is named `pbkdf2` and a digest, or `pbkdf2` alone, which is of SHA-1.
fn named(name: &str, iterations: &str, salt: Option<Vec<u8>>, hash: Option<Vec<u8>>) -> Option<Pbkdf2> {
    let digest = match name.strip_prefix("pbkdf2")?.get(1..) {
        None | Some("sha1") => Digest::Sha1,
        Some("sha256") => Digest::Sha256,
        Some("sha512") => Digest::Sha512,
        Some(_) => return None,
    };
    pbkdf2_of(digest, iterations.parse().ok()?, salt?, hash)
}

fn pbkdf2_of(digest: Digest, iterations: u32, salt: Vec<u8>, hash: Option<Vec<u8>>) -> Option<Pbkdf2> {
    let algorithm = match digest {
        Digest::Sha1 => PBKDF2_HMAC_SHA1,
        Digest::Sha256 => PBKDF2_HMAC_SHA256,
        Digest::Sha512 => PBKDF2_HMAC_SHA512,
        Digest::Md5 => return None,
    };
    let iterations = NonZeroU32::new(iterations).filter(|iterations| iterations.get() <= MAX_ITERATIONS)?;
    let mut expected = output(hash)?;
    expected.truncate(digest.length());
    Some(Pbkdf2 { digest, algorithm, iterations, salt, expected })
}

impl Pbkdf2 {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        pbkdf2::verify(self.algorithm, self.iterations, &self.salt, password, &self.expected).is_ok()
    }

    pub(super) fn is_weak(&self) -> bool {
        self.iterations.get() < LEAST_ROUNDS
    }

    pub(super) fn cost(&self) -> String {
        format!("{} {}", self.digest, self.iterations)
    }
}
