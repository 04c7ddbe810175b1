//! The user that Postgres runs as. Postgres refuses root, so root hands it to `postgres`, or to
//! `nobody` where no package has made that user; anybody else runs it as themselves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

use super::error::LaunchError;

const PASSWD: &str = "/etc/passwd";

/// An unprivileged user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// The account as which root runs Postgres; `None` for everybody else.
    pub(crate) fn for_postgres() -> Result<Option<Self>, LaunchError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string(PASSWD).map_err(LaunchError::io("read", Path::new(PASSWD)))?;
        let found = find(&passwd, "postgres").or_else(|| find(&passwd, "nobody"));
        found.map(Some).ok_or(LaunchError::NoAccount)
    }

    /// Fails on the first directory from the root down to `path` that this user cannot enter.
    pub(crate) fn check_can_enter(&self, path: &Path) -> Result<(), LaunchError> {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        for directory in way {
            let metadata = fs::metadata(directory).map_err(LaunchError::io("read", directory))?;
            if metadata.mode() & self.search_bit(&metadata) == 0 {
                return Err(LaunchError::Closed { parent: directory.to_owned(), user: self.name.clone() });
            }
        }
        Ok(())
    }

    /// The one bit of the mode that decides for this user: POSIX looks at the first class that
    /// matches only.
    fn search_bit(&self, metadata: &fs::Metadata) -> u32 {
        if metadata.uid() == self.uid {
            0o100
        } else if metadata.gid() == self.gid {
            0o010
        } else {
            0o001
        }
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    let entries = passwd.lines().map(|line| line.split(':'));
    entries.filter_map(|entry| account(entry, name)).next()
}

/// One entry: name, password, uid, gid and more. Never a second name of root.
fn account<'a>(mut fields: impl Iterator<Item = &'a str>, name: &str) -> Option<Account> {
    fields.next().filter(|field| *field == name)?;
    let uid = id(fields.nth(1)?)?;
    let gid = id(fields.next()?)?;
    let name = name.to_owned();
    (uid != 0).then_some(Account { name, uid, gid })
}

/// macOS writes the ids of `nobody` as -2.
fn id(field: &str) -> Option<u32> {
    let signed = || field.parse::<i32>().ok().map(i32::cast_unsigned);
    field.parse().ok().or_else(signed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tests::ScratchDir;

    #[test]
    fn an_account_is_read_from_its_line() {
        let passwd = "root:x:0:0::/root:/bin/sh\nmypostgres:x:7:7::/:\n\
                      postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n\
                      nobody:*:-2:-2::/var/empty:\ntoor:x:0:0::/:\nbroken:x:\n";
        let table = [
            ("postgres", Some((101, 104))),
            ("nobody", Some((u32::MAX - 1, u32::MAX - 1))),
            ("toor", None),
            ("broken", None),
            ("absent", None),
        ];
        for (name, expected) in table {
            let found = find(passwd, name).map(|a| (a.uid, a.gid));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_closed_parent_is_named() {
        let scratch = ScratchDir::new();
        let closed = scratch.path().join("closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let name = "stranger".to_owned();
        let stranger = Account { name, uid: 4_000_001, gid: 4_000_001 };

        let line = stranger.check_can_enter(&closed.join("inner")).unwrap_err().to_string();

        assert!(line.contains("stranger") && line.contains("/closed:"), "{line}");
    }
}
