//! Hashes of crypt(3): those of SHA-256 and SHA-512 (Drepper 2007), and the weak one of MD5 (Kamp 1994) with Apache's variant.

use std::{iter, ops::RangeInclusive};

use sha_crypt::Params;
use zeroize::Zeroizing;

use super::{
    digests::Digest,
    parts::{Read, from_itoa64, same, to_itoa64},
};

/// A fifth of a second of one core at most, and three seconds for the longest password; passlib makes 656000.
const ROUNDS: RangeInclusive<u32> = 1000..=1_000_000;
/// Rounds of a hash that does not name them.
const DEFAULT_ROUNDS: u32 = 5000;
const MAX_SALT: usize = 16;
const MD5_SALT: usize = 8;
const MD5_ROUNDS: u32 = 1000;
/// The places of the bytes of md5-crypt's output, in the order of its digits.
const MD5_PLACES: [usize; 16] = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];

pub(super) const FORM: &str = "crypt(3) as $5$ or $6$, perhaps rounds=1000 to 1000000, a salt and 43 or 86 characters";
pub(super) const MD5_FORM: &str = "md5-crypt as $1$ or $apr1$, up to 8 characters of salt and 22 of hash";

/// A hash by SHA-crypt.
pub struct ShaCrypt {
    digest: Digest,
    /// Number of rounds.
    pub rounds: u32,
    salt: Vec<u8>,
    /// The digits of the hash.
    expected: Vec<u8>,
}

/// A hash by md5-crypt.
pub struct Md5Crypt {
    magic: &'static str,
    salt: Vec<u8>,
    /// The digits of the hash.
    expected: Vec<u8>,
}

pub(super) fn read(text: &str) -> Read<ShaCrypt> {
    let (name, rounds, salt, hash) = match text.split('$').collect::<Vec<_>>()[..] {
        ["", name @ ("5" | "6" | "sha256-crypt" | "sha512-crypt"), salt, hash] => {
            (name, Some(DEFAULT_ROUNDS), salt, hash)
        }
        ["", name @ ("5" | "6" | "sha256-crypt" | "sha512-crypt"), rounds, salt, hash] => {
            (name, rounds.strip_prefix("rounds=").and_then(|rounds| rounds.parse().ok()), salt, hash)
        }
        _ => return None,
    };
    let (digest, length) =
        if ["5", "sha256-crypt"].contains(&name) { (Digest::Sha256, 43) } else { (Digest::Sha512, 86) };
    let rounds = rounds.filter(|rounds| ROUNDS.contains(rounds));
    let fits = salt.len() <= MAX_SALT && is_digits(hash, length);
    let read =
        rounds.filter(|_| fits).map(|rounds| ShaCrypt { digest, rounds, salt: salt.into(), expected: hash.into() });
    Some(read.ok_or(FORM))
}

pub(super) fn read_md5(text: &str) -> Read<Md5Crypt> {
    let ["", name @ ("1" | "md5-crypt" | "apr1"), salt, hash] = text.split('$').collect::<Vec<_>>()[..] else {
        return None;
    };
    let fits = salt.len() <= MD5_SALT && is_digits(hash, 22);
    let magic = if name == "apr1" { "$apr1$" } else { "$1$" };
    let read = Md5Crypt { magic, salt: salt.into(), expected: hash.into() };
    Some(if fits { Ok(read) } else { Err(MD5_FORM) })
}

fn is_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|digit| from_itoa64(digit).is_some())
}

impl ShaCrypt {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let Ok(params) = Params::new(self.rounds) else {
            return false;
        };
        let digits = match self.digest {
            Digest::Sha256 => {
                let output = Zeroizing::new(sha_crypt::sha256_crypt(password, &self.salt, params));
                let places = groups(output.len(), [0, 10, 20], |[a, b, c]| [c + 1, a + 1, b + 1]);
                digits_of(&*output, places.chain([30, 31]))
            }
            _ => {
                let output = Zeroizing::new(sha_crypt::sha512_crypt(password, &self.salt, params));
                let places = groups(output.len(), [0, 21, 42], |[a, b, c]| [b + 1, c + 1, a + 1]);
                digits_of(&*output, places.chain([63]))
            }
        };
        same(&digits, &self.expected)
    }

    /// The salt is read in most rounds: its length may bring about one more block of the digest.
    pub(super) fn cost(&self) -> String {
        format!("{} {} {}", self.digest, self.rounds, self.salt.len())
    }
}

impl Md5Crypt {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        same(&digits_of(&self.compute(password), MD5_PLACES), &self.expected)
    }

    pub(super) fn cost(&self) -> String {
        self.salt.len().to_string()
    }

    fn compute(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let first = Digest::Md5.of(&[password, &self.salt, password]);
        let mut text = Zeroizing::new([password, self.magic.as_bytes(), &self.salt].concat());
        text.extend(first.iter().cycle().take(password.len()));
        // A quirk of the first implementation.
        let bits = iter::successors(Some(password.len()), |rest| Some(rest >> 1)).take_while(|rest| *rest > 0);
        text.extend(bits.filter_map(|rest| if rest & 1 == 1 { Some(0) } else { password.first().copied() }));
        let mut output = Digest::Md5.of(&[&text]);
        for round in 0..MD5_ROUNDS {
            let unless = |divisor: u32, part| if round % divisor == 0 { &[][..] } else { part };
            let (begin, end) = if round % 2 == 1 { (password, &output[..]) } else { (&output[..], password) };
            output = Digest::Md5.of(&[begin, unless(3, &self.salt), unless(7, password), end]);
        }
        output
    }
}

/// Groups of places, each from the one before, as often as they fit into `length` bytes. The last byte of a group comes
/// first.
fn groups(length: usize, first: [usize; 3], next: fn([usize; 3]) -> [usize; 3]) -> impl Iterator<Item = usize> {
    iter::successors(Some(first), move |group| Some(next(*group))).take(length / 3).flat_map(|[a, b, c]| [c, b, a])
}

/// The digits of the bytes at these places of an output.
fn digits_of(output: &[u8], places: impl IntoIterator<Item = usize>) -> Vec<u8> {
    to_itoa64(&places.into_iter().filter_map(|place| output.get(place).copied()).collect::<Vec<_>>())
}
