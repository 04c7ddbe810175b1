//! Files that settings name.

use std::{fs, path::Path};

use zeroize::Zeroizing;

use crate::{domain::text::str_without_mark, error::Error};

/// Reads a small file that a setting names, from any system: without the mark at its beginning.
///
/// # Errors
/// [`Error::InvalidArgument`] for `setting`.
pub fn read_file(setting: &'static str, path: &Path) -> Result<Zeroizing<String>, Error> {
    let content =
        fs::read_to_string(path).map_err(|error| Error::invalid(setting, format!("{}: {error}", path.display())))?;
    let content = Zeroizing::new(content);
    Ok(Zeroizing::new(str_without_mark(&content).to_owned()))
}
