//! Files with secrets: who may read them, and whether they hold what they should.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::process::geteuid;

use super::finding::Finding;
use crate::{
    cli::serve::Serve, config::read_file, crypto::service_token::ServiceTokenHash, domain::text::system_words,
    error::Error,
};

const CHECK: &str = "files.secrets";
const ADMIN_TOKEN: &str = "admin-token-file";
/// Permissions of the group and of all others.
const NOT_OWNER: u32 = 0o077;
/// Permissions of all others alone.
const OTHERS: u32 = 0o007;
const ROOT: u32 = 0;

/// Checks the files that the settings name.
pub(super) fn check(serve: &Serve) -> Vec<Finding> {
    let place = &serve.database.place;
    let secrets = [
        ("master-key-file", &serve.master_keys.master_key_file),
        ("database-url-file", &place.database_url_file),
        ("database-password-file", &place.database_password_file),
        ("tls-key-file", &serve.tls.tls_key_file),
        (ADMIN_TOKEN, &serve.listen.admin_token_file),
    ];
    let named: Vec<(&str, &Path)> =
        secrets.into_iter().filter_map(|(setting, path)| Some((setting, path.as_deref()?))).collect();
    let mut found: Vec<Finding> = named.iter().filter_map(|(setting, path)| one(setting, path)).collect();
    if let Some(path) = serve.listen.admin_token_file.as_deref()
        && let Err(error) = admin_token(path)
    {
        found.extend(Finding::of(CHECK, &error, "`countersign policy token --output FILE` makes one"));
    }
    if found.is_empty() {
        let what = if named.is_empty() { "no setting names one" } else { "each is for its owner alone" };
        found.push(Finding::ok(CHECK, what));
    }
    found
}

fn admin_token(path: &Path) -> Result<(), Error> {
    ServiceTokenHash::from_file_content(&read_file(ADMIN_TOKEN, path)?).map(drop)
}

/// The fault of a file's permissions; None if all is well.
fn one(setting: &str, path: &Path) -> Option<Finding> {
    let owners = fs::metadata(path).map(|file| (file.mode(), file.uid()));
    let (what, place) = (judge(owners, geteuid().as_raw())?, path.display());
    let remedy = format!("chown it to who runs the server, and chmod 600 {place}");
    Some(Finding::warning(CHECK, format_args!("{setting}: {place} {what}"), remedy))
}

/// Words about a file's mode and owner, for whoever is `me`; None if all is well. A file that cannot be opened is wrong too.
fn judge(file: io::Result<(u32, u32)>, me: u32) -> Option<String> {
    let (mode, owner) = match file {
        Ok(file) => file,
        Err(error) => return Some(format!("cannot be opened: {}", system_words(&error))),
    };
    if owner != me && owner != ROOT {
        return Some(format!("belongs to user {owner}, who may change it"));
    }
    let readers = match (mode & OTHERS != 0, mode & NOT_OWNER != 0) {
        (true, _) => "anybody on this machine",
        (false, true) => "its group",
        (false, false) => return None,
    };
    Some(format!("has mode {:o}: {readers} may open it", mode & 0o777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone() {
        let said = |mode, owner| judge(Ok((mode, owner)), 1000);
        assert_eq!(said(0o100_600, 1000), None);
        assert_eq!(said(0o100_400, 0), None);
        assert_eq!(said(0o100_640, 1000).as_deref(), Some("has mode 640: its group may open it"));
        assert_eq!(said(0o100_604, 0).as_deref(), Some("has mode 604: anybody on this machine may open it"));
        assert_eq!(said(0o100_600, 1001).as_deref(), Some("belongs to user 1001, who may change it"));
        assert!(judge(Err(io::ErrorKind::NotFound.into()), 1000).is_some());
    }
}
