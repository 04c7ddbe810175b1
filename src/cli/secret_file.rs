//! Files with secrets that commands write: for their owner alone, whatever the umask, and never over one that is there.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use clap::Args;

use super::output::say;
use crate::{domain::text::system_words, error::Error};

const OWNER_ONLY: u32 = 0o600;
/// Permissions of those who are neither the owner nor of the group.
const OTHERS: u32 = 0o007;

/// The place of a secret that a command prints.
#[derive(Args)]
pub(super) struct SecretOutput {
    /// A new file, which its owner alone may read; standard output if it is not given
    #[arg(long)]
    output: Option<PathBuf>,
}

impl SecretOutput {
    /// Writes lines.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a file that is there already, or cannot be written.
    pub(super) fn write(&self, lines: &str) -> Result<(), Error> {
        let lines = lines.trim_end();
        match &self.output {
            None => {
                warn_if_stdout_is_open();
                if lines.is_empty() { Ok(()) } else { say(lines) }
            }
            Some(path) => {
                let end = if lines.is_empty() { "" } else { "\n" };
                let mut file = create_secret_file("output", path)?;
                let written = file
                    .write_all(lines.as_bytes())
                    .and_then(|()| file.write_all(end.as_bytes()))
                    .and_then(|()| file.sync_all());
                written.map_err(|error| {
                    // Part of a secret is none.
                    drop(fs::remove_file(path));
                    Error::invalid("output", format!("{} cannot be written: {}", path.display(), system_words(&error)))
                })
            }
        }
    }
}

/// Makes a new file for its owner alone.
///
/// # Errors
/// [`Error::InvalidArgument`] for `setting`, also when there is a file already.
pub fn create_secret_file(setting: &'static str, path: &Path) -> Result<File, Error> {
    create(path).map_err(|error| {
        let place = path.display();
        Error::invalid(
            setting,
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    format!("{place} is there already, and stays as it is: name a new file")
                }
                io::ErrorKind::NotFound => format!("{place} cannot be created: its directory is not there"),
                _ => format!("{place} cannot be created: {}", system_words(&error)),
            },
        )
    })
}

fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    // A umask may take even that from the owner.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    Ok(file)
}

/// The fate of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Former {
    /// The file stays, and nothing is written.
    Kept,
    /// The file is replaced.
    Replaced,
}

/// Writes a file for its owner alone, whole or not at all, by way of a draft beside it.
pub(super) fn write_whole(path: &Path, content: &[u8], former: Former) -> io::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    match former {
        Former::Replaced => fs::rename(&draft, path)?,
        Former::Kept => {
            let linked = fs::hard_link(&draft, path);
            fs::remove_file(&draft)?;
            linked?;
        }
    }
    // The name too must survive a power cut: what a key seals is durable.
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Says in the log if standard output is a file that anybody on this machine may open.
pub(super) fn warn_if_stdout_is_open() {
    let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(|stdout| File::from(stdout).metadata());
    if stdout.is_ok_and(|stdout| stdout.is_file() && stdout.permissions().mode() & OTHERS != 0) {
        tracing::warn!(
            "anybody on this machine may open the file that standard output is: --output FILE makes one for you alone"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    #[test]
    fn a_secret_is_its_owners_and_what_is_there_stays() {
        let path = env::temp_dir().join(format!("countersign-secret-{}", process::id()));
        let output = SecretOutput { output: Some(path.clone()) };
        output.write("secret\n").expect("written");
        let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((fs::read_to_string(&path).expect("text").as_str(), mode()), ("secret\n", 0o600));
        let refused = output.write("another").expect_err("it is there").to_string();
        assert!(refused.ends_with("is there already, and stays as it is: name a new file"), "{refused}");
        let kept = write_whole(&path, b"another", Former::Kept).expect_err("it is there");
        assert_eq!(kept.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("text"), "secret\n");
        write_whole(&path, b"another", Former::Replaced).expect("written");
        assert_eq!((fs::read_to_string(&path).expect("text").as_str(), mode()), ("another", 0o600));
        fs::remove_file(&path).expect("removed");
        write_whole(&path, b"a new one", Former::Kept).expect("written");
        assert!(!path.with_extension("new").exists(), "the draft is gone");
        fs::remove_file(path).expect("removed");
    }
}
