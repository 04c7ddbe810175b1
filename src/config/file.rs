//! Files that settings name.

use std::{fs, path::Path};

use zeroize::Zeroizing;

use crate::error::Error;

/// Reads a small file that a setting names.
///
/// # Errors
/// [`Error::InvalidArgument`] for `setting`.
pub fn read_file(setting: &'static str, path: &Path) -> Result<Zeroizing<String>, Error> {
    let content =
        fs::read_to_string(path).map_err(|error| Error::invalid(setting, format!("{}: {error}", path.display())))?;
    Ok(Zeroizing::new(content))
}
