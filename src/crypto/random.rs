//! Randomness of the operating system, by way of aws-lc-rs.

use aws_lc_rs::rand;

use crate::error::Error;

/// `N` random bytes.
///
/// # Errors
/// [`Error::Internal`] when the operating system has none to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(bytes)
}
