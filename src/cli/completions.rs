//! `countersign completions`: what a shell needs to complete our commands and flags.

use std::io::{self, Write as _};

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::unwritten;
use crate::error::Error;

#[derive(Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints what completes this command.
    pub(super) fn run(self, command: Command) -> Result<(), Error> {
        let mut stdout = io::stdout();
        stdout.write_all(&script(self.shell, command)).and_then(|()| stdout.flush()).map_err(unwritten)
    }
}

fn script(shell: Shell, mut command: Command) -> Vec<u8> {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::{cli::Cli, config::command};

    #[test]
    fn every_shell_is_told_of_every_command() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script(*shell, command::<Cli>())).expect("text");
            for name in ["healthcheck", "export-peppers", "database-url", "accept-restore"] {
                assert!(text.contains(name), "{shell}: {name}");
            }
        }
    }
}
