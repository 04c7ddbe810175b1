//! Files that settings name.

use std::{fmt::Display, fs, os::unix::fs::PermissionsExt as _, path::Path};

use zeroize::Zeroizing;

use crate::{
    domain::text::{NOT_UTF_8, is_utf_16, str_without_mark, system_words},
    error::Error,
};

/// Permissions of those who are neither the owner nor of the group.
const OTHERS: u32 = 0o007;

/// Reads a file with a secret, as [`read_file`] does. Says in the log if anybody on this machine may open it.
///
/// # Errors
/// [`Error::InvalidArgument`] for `setting`.
pub fn read_secret_file(setting: &'static str, path: &Path) -> Result<Zeroizing<String>, Error> {
    warn_if_open(setting, path);
    read_file(setting, path)
}

/// Says in the log if anybody on this machine may open a file with a secret.
pub fn warn_if_open(setting: &'static str, path: &Path) {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if let Some(mode) = mode.ok().filter(|mode| mode & OTHERS != 0) {
        let mode = format!("{:o}", mode & 0o777);
        tracing::warn!(setting, file = %path.display(), mode, "anybody on this machine may open a file with a secret");
    }
}

/// Reads a small file that a setting names, from any system: without the mark at its beginning.
///
/// # Errors
/// [`Error::InvalidArgument`] for `setting`.
pub fn read_file(setting: &'static str, path: &Path) -> Result<Zeroizing<String>, Error> {
    let refused = |why: &dyn Display| Error::invalid(setting, format!("{}: {why}", path.display()));
    let content = Zeroizing::new(fs::read(path).map_err(|error| refused(&system_words(&error)))?);
    if is_utf_16(&content) {
        return Err(refused(&NOT_UTF_8));
    }
    let text = str::from_utf8(&content).map_err(|_| refused(&"it is not text in UTF-8"))?;
    Ok(Zeroizing::new(str_without_mark(text).to_owned()))
}
