//! The digests that other systems built their hashes from.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

/// A digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// MD5 (RFC 1321), of 16 bytes.
    Md5,
    /// SHA-1, of 20 bytes.
    Sha1,
    /// SHA-256, of 32 bytes.
    Sha256,
    /// SHA-512, of 64 bytes.
    Sha512,
}

impl Digest {
    /// The digest of parts that follow one another.
    pub(super) fn of(self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Self::Md5 => {
                let mut md5 = Md5::new();
                parts.iter().for_each(|part| md5.update(part));
                return Zeroizing::new(md5.finalize().to_vec());
            }
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        };
        let mut context = Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        Zeroizing::new(context.finish().as_ref().to_vec())
    }

    /// Number of its bytes.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}
