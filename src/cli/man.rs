//! `countersign man`: the manual, a page for each command.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_mangen::Man;

use super::output::say;
use crate::{domain::text::system_words, error::Error};

#[derive(Args)]
pub(super) struct Manual {
    /// Directory for the pages, as /usr/local/share/man/man1; it is made if it is not there
    dir: PathBuf,
}

impl Manual {
    /// Writes the pages of this command and of those below it, over those of an earlier version.
    pub(super) fn run(self, command: Command) -> Result<(), Error> {
        let dir = &self.dir;
        let failed = |error: io::Error| Error::invalid("dir", format!("{}: {}", dir.display(), system_words(&error)));
        fs::create_dir_all(dir).map_err(failed)?;
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let command = with_short_synopsis(command);
        let count = write(&command, dir).map_err(failed)?;
        say(format_args!("{count} pages written to {}", dir.display()))
    }
}

/// The command and those below it with the usage that `--help` has: not every option by name.
fn with_short_synopsis(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    command.override_usage(usage).mut_subcommands(with_short_synopsis)
}

/// Writes the page of a command, and those of the commands below it. Gives their number.
fn write(command: &Command, dir: &Path) -> io::Result<usize> {
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        count += write(below, dir)?;
    }
    let man = Man::new(command.clone()).manual("Countersign");
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(dir.join(man.get_filename()), page)?;
    Ok(count)
}
