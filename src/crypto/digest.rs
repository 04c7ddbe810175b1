//! SHA-256 of several parts, for keys of rows that must not say what they stand for.

use aws_lc_rs::digest::{Context, SHA256};

/// The digest of the parts, each behind its length, so that no two lists have the same.
pub fn sha256_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
