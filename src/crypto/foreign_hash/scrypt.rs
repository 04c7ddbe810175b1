//! scrypt (RFC 7914) as passlib, Kratos, Django, Werkzeug, Spring and better-auth write it; and Firebase's, which encrypts the
//! project's signer key with what scrypt gives.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use scrypt::Params;
use zeroize::Zeroizing;

use super::parts::{Read, STANDARD, from_hex, output, parameters, same, scheme};
use crate::error::Error;

/// Bytes that scrypt fills, 128 N r p; it takes 128 N r of them at a time.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const AES_256_KEY: usize = 32;
/// Cost of better-auth's hashes: log2 of N, r and p.
const BETTER_AUTH: (u8, u32, u32) = (14, 16, 1);

pub(super) const FORM: &str =
    "scrypt with ln, r, p, salt and a hash of 16 to 64 bytes, at most 256 MiB (128 N r p bytes)";
pub(super) const FIREBASE_FORM: &str =
    "firebase-scrypt with ln, r, p, ss, sk, salt and a hash as long as sk, at most 256 MiB";

/// A hash by scrypt.
pub struct Scrypt {
    /// N, r and p.
    pub params: Params,
    salt: Vec<u8>,
    /// The output for the right password.
    pub expected: Vec<u8>,
    /// True if the system that made it hashes after NFKC.
    pub(super) normal: bool,
}

/// A hash by Firebase: the signer key, encrypted with what scrypt gives.
pub struct Firebase {
    /// N, r and p.
    pub params: Params,
    /// The user's salt, and the project's separator.
    salt: Vec<u8>,
    /// The project's signer key.
    pub signer_key: Zeroizing<Vec<u8>>,
    /// The output for the right password.
    pub expected: Vec<u8>,
}

pub(super) fn read(text: &str) -> Read<Scrypt> {
    let read = match text.split('$').collect::<Vec<_>>()[..] {
        ["", "scrypt", params, salt, hash] => read_phc(params, salt, hash),
        // Django and Werkzeug take the text of the salt for the salt.
        ["scrypt", n, salt, r, p, hash] => scrypt_of(by_n(n, r, p), Some(salt.into()), STANDARD.decode(hash).ok()),
        [method, salt, hash] if method.starts_with("scrypt:") => match method.split(':').collect::<Vec<_>>()[..] {
            ["scrypt", n, r, p] => scrypt_of(by_n(n, r, p), Some(salt.into()), from_hex(hash)),
            _ => None,
        },
        _ => match (scheme(text), text.split_once(':')) {
            (Some((name, rest)), _) if name == "scrypt" || name == "scrypt@springsecurity_v5_8" => read_spring(rest),
            (None, Some((salt, hash))) if (salt.len(), hash.len()) == (32, 128) => read_better_auth(salt, hash),
            _ => return None,
        },
    };
    Some(read.ok_or(FORM))
}

/// `ln` is log2 of N. Kratos writes N itself, which is beyond what the other can be.
fn read_phc(params: &str, salt: &str, hash: &str) -> Option<Scrypt> {
    let [ln, r, p] = parameters(params, ["ln", "r", "p"])?;
    let params = match ln.parse::<u32>().ok()? {
        n @ 64.. => by_n(&n.to_string(), r, p),
        _ => by_log_n(ln, r, p),
    };
    scrypt_of(params, STANDARD.decode(salt).ok(), STANDARD.decode(hash).ok())
}

/// Spring writes log2 of N, r and p as the bytes of one number.
fn read_spring(text: &str) -> Option<Scrypt> {
    let ["", params, salt, hash] = text.split('$').collect::<Vec<_>>()[..] else {
        return None;
    };
    let [0, log_n, r, p] = u32::from_str_radix(params, 16).ok()?.to_be_bytes() else {
        return None;
    };
    let params = within(log_n, r.into(), p.into());
    scrypt_of(params, STANDARD.decode(salt).ok(), STANDARD.decode(hash).ok())
}

/// The salt is the text of its digits.
fn read_better_auth(salt: &str, hash: &str) -> Option<Scrypt> {
    from_hex(salt)?;
    let (log_n, r, p) = BETTER_AUTH;
    let read = scrypt_of(within(log_n, r, p), Some(salt.into()), from_hex(hash))?;
    Some(Scrypt { normal: true, ..read })
}

fn scrypt_of(params: Option<Params>, salt: Option<Vec<u8>>, hash: Option<Vec<u8>>) -> Option<Scrypt> {
    Some(Scrypt { params: params?, salt: salt?, expected: output(hash)?, normal: false })
}

pub(super) fn read_firebase(text: &str) -> Read<Firebase> {
    match text.split('$').collect::<Vec<_>>()[..] {
        ["", "firebase-scrypt", params, salt, hash] => {
            let params = parameters(params, ["ln", "r", "p", "ss", "sk"]);
            let read = params.and_then(|[ln, r, p, ss, sk]| firebase_of([ln, r, p], salt, hash, [ss, sk]));
            Some(read.ok_or(FIREBASE_FORM))
        }
        // Kratos'.
        ["", "firescrypt", params, salt, hash, separator, signer_key] => {
            let params = parameters(params, ["ln", "r", "p"]);
            Some(params.and_then(|cost| firebase_of(cost, salt, hash, [separator, signer_key])).ok_or(FIREBASE_FORM))
        }
        _ => None,
    }
}

fn firebase_of(cost: [&str; 3], salt: &str, hash: &str, [separator, signer_key]: [&str; 2]) -> Option<Firebase> {
    let [ln, r, p] = cost;
    let signer_key = Zeroizing::new(STANDARD.decode(signer_key).ok()?);
    let salt = [STANDARD.decode(salt).ok()?, STANDARD.decode(separator).ok()?].concat();
    let expected = output(STANDARD.decode(hash).ok()).filter(|hash| hash.len() == signer_key.len())?;
    Some(Firebase { params: by_log_n(ln, r, p)?, salt, signer_key, expected })
}

fn by_log_n(log_n: &str, r: &str, p: &str) -> Option<Params> {
    within(log_n.parse().ok()?, r.parse().ok()?, p.parse().ok()?)
}

fn by_n(n: &str, r: &str, p: &str) -> Option<Params> {
    let n: u32 = n.parse().ok().filter(|n: &u32| n.is_power_of_two())?;
    within(u8::try_from(n.ilog2()).ok()?, r.parse().ok()?, p.parse().ok()?)
}

/// The parameters, if they are affordable.
fn within(log_n: u8, r: u32, p: u32) -> Option<Params> {
    let n = 1_u64.checked_shl(log_n.into())?;
    let bytes = n.checked_mul(128)?.checked_mul(r.into())?.checked_mul(p.into())?;
    let affordable = (2..=MAX_BYTES).contains(&n) && bytes <= MAX_BYTES;
    affordable.then(|| Params::new(log_n, r, p).ok())?
}

/// The cost, as text.
pub(super) fn cost(params: &Params) -> String {
    format!("{} {} {}", params.log_n(), params.r(), params.p())
}

impl Scrypt {
    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, Error> {
        let output = compute(&self.params, &self.salt, password, self.expected.len())?;
        Ok(same(&output, &self.expected))
    }
}

impl Firebase {
    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, Error> {
        let key = compute(&self.params, &self.salt, password, AES_256_KEY)?;
        Ok(same(&encrypt(&key, &self.signer_key)?, &self.expected))
    }
}

fn compute(params: &Params, salt: &[u8], password: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut output = Zeroizing::new(vec![0; length]);
    scrypt::scrypt(password, salt, params, &mut output).map_err(Error::internal)?;
    Ok(output)
}

/// AES-256 in counter mode from zero, by which encrypting and decrypting are the same.
fn encrypt(key: &[u8], text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut text = Zeroizing::new(text.to_vec());
    let failed = |_| Error::internal("AES failed");
    let key = UnboundCipherKey::new(&AES_256, key).and_then(DecryptingKey::ctr).map_err(failed)?;
    key.decrypt(&mut text, DecryptionContext::Iv128(FixedLength::from([0; 16]))).map_err(failed)?;
    Ok(text)
}
