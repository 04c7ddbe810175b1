//! Passwords as people type them, and the rule for new ones (REQUIREMENTS R52). Hashing is `crypto/password.rs`.

use std::fmt;

use icu_casemap::CaseMapper;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::error::Error;

const MAX_BYTES: usize = 1024;

/// A password, NFKC-normalised, and as it was typed. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct Password {
    normal: Zeroizing<String>,
    typed: Zeroizing<String>,
}

/// The parameters of argon2id (RFC 9106 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// m, in KiB.
    pub memory: u32,
    /// The number of iterations, `t`.
    pub iterations: u32,
    /// The number of lanes, `p`.
    pub lanes: u32,
}

impl Password {
    /// Normalises a password that somebody typed, in the same way when it is set and when it is checked.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `field` when it is empty, above 1024 bytes or holds control characters.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Error> {
        let invalid = || Error::invalid(field, "1 to 1024 bytes, without control characters");
        if text.len() > MAX_BYTES {
            return Err(invalid());
        }
        let normal: Zeroizing<String> = Zeroizing::new(text.nfkc().collect());
        let bytes = 1..=MAX_BYTES;
        if !bytes.contains(&normal.len()) || normal.chars().any(char::is_control) {
            return Err(invalid());
        }
        Ok(Self { normal, typed: Zeroizing::new(text.to_owned()) })
    }

    /// Checks a new password: at least `min_chars` code points, and no rule of composition.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `field`.
    pub fn parse_new(field: &'static str, text: &str, min_chars: usize) -> Result<Self, Error> {
        let password = Self::parse(field, text)?;
        if password.normal.chars().count() < min_chars {
            let description = format!("at least {min_chars} characters");
            return Err(Error::invalid(field, description));
        }
        Ok(password)
    }

    /// The bytes that are hashed.
    pub fn as_bytes(&self) -> &[u8] {
        self.normal.as_bytes()
    }

    /// The bytes that other systems hashed, which do not normalise.
    pub fn as_typed(&self) -> &[u8] {
        self.typed.as_bytes()
    }

    /// The password itself; for the rules of new ones alone.
    pub fn as_str(&self) -> &str {
        &self.normal
    }
}

/// The form in which passwords that differ in case or Unicode form only are the same: case-folded, NFKC.
pub fn comparable(text: &str) -> Zeroizing<String> {
    let normal: Zeroizing<String> = Zeroizing::new(text.nfkc().collect());
    let folded = Zeroizing::new(CaseMapper::new().fold_string(&normal).into_owned());
    Zeroizing::new(folded.nfkc().collect())
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r52_length_counts_code_points_after_nfkc() {
        assert!(Password::parse_new("password", &"é".repeat(15), 15).is_ok());
        assert!(Password::parse_new("password", &"e\u{301}".repeat(14), 15).is_err());
        assert!(Password::parse_new("password", &"x".repeat(1024), 15).is_ok());
    }

    #[test]
    fn r52_two_unicode_forms_are_one_password() {
        let composed = Password::parse("password", "caf\u{e9} \u{fb01}ne").expect("valid");
        let decomposed = Password::parse("password", "cafe\u{301} fine").expect("valid");
        assert_eq!(composed.as_bytes(), decomposed.as_bytes());
    }

    #[test]
    fn r63_bad_passwords_are_refused_and_never_printed() {
        let huge = "x".repeat(65_536);
        for bad in ["", "nul\0nul", "bell\u{7}", &huge] {
            let error = Password::parse("password", bad).expect_err("refused");
            assert!(bad.is_empty() || !format!("{error:?} {error}").contains(bad));
        }
        let secret = Password::parse("password", "correct horse").expect("valid");
        assert_eq!(format!("{secret:?}"), "Password(..)");
    }
}
