//! phpass's portable hashes, which phpBB stored, and WordPress before 6.8. Drupal 7's are the same with SHA-512: of the
//! password, or of the MD5 that Drupal 6 had stored.

use std::ops::RangeInclusive;

use super::{
    digests::Digest,
    parts::{LEAST_ROUNDS, Read, from_itoa64, same, to_hex, to_itoa64},
};

/// A fifth of a second of one core at most, and less than one for the longest password. Fewer rounds than 2^7 are refused by
/// phpass and Drupal too.
const LOG2_ROUNDS: RangeInclusive<u32> = 7..=18;
const SALT: usize = 8;

pub(super) const FORM: &str = "phpass as $P$, $H$, $S$ or U$S$, 2^7 to 2^18 rounds, 8 characters of salt, the hash";

/// A hash by phpass.
pub struct Phpass {
    digest: Digest,
    /// True if the password is an MD5 in hexadecimal.
    of_md5: bool,
    /// log2 of the rounds.
    pub log2_rounds: u32,
    salt: Vec<u8>,
    /// The digits of the hash, or the first of them.
    expected: Vec<u8>,
}

pub(super) fn read(text: &str) -> Read<Phpass> {
    match text.split('$').collect::<Vec<_>>()[..] {
        ["", "P" | "H", rest] => Some(phpass_of(Digest::Md5, 22, false, rest).ok_or(FORM)),
        // Drupal cuts the whole text to 55 characters.
        [before @ ("" | "U"), "S", rest] => Some(phpass_of(Digest::Sha512, 43, before == "U", rest).ok_or(FORM)),
        _ => None,
    }
}

fn phpass_of(digest: Digest, length: usize, of_md5: bool, text: &str) -> Option<Phpass> {
    let (rounds, rest) = text.as_bytes().split_first()?;
    let (salt, expected) = rest.split_at_checked(SALT).filter(|(_, hash)| hash.len() == length)?;
    let log2_rounds = from_itoa64(*rounds).filter(|rounds| LOG2_ROUNDS.contains(rounds))?;
    let all_digits = expected.iter().all(|digit| from_itoa64(*digit).is_some());
    all_digits.then(|| Phpass { digest, of_md5, log2_rounds, salt: salt.to_vec(), expected: expected.to_vec() })
}

impl Phpass {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let md5 = self.of_md5.then(|| to_hex(&Digest::Md5.of(&[password])));
        let password = md5.as_ref().map_or(password, |md5| md5);
        let mut output = self.digest.of(&[&self.salt, password]);
        for _ in 0..1_u32 << self.log2_rounds {
            output = self.digest.of(&[&output, password]);
        }
        to_itoa64(&output).get(..self.expected.len()).is_some_and(|digits| same(digits, &self.expected))
    }

    pub(super) fn is_weak(&self) -> bool {
        1 << self.log2_rounds < LEAST_ROUNDS
    }

    pub(super) fn cost(&self) -> String {
        // Of a long password, each round of the one reads all and each of the other an MD5.
        let of_md5 = if self.of_md5 { " of md5" } else { "" };
        format!("{} {}{of_md5}", self.digest, self.log2_rounds)
    }
}
