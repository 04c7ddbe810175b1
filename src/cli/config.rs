//! `countersign config check`: what `serve` would run with, before it does.

use clap::{Args, Subcommand};

use super::{output::say, serve::Serve};
use crate::{
    config::{Given, Source},
    error::Error,
};

#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the settings of serve and the files that they name, and print them, secrets hidden; opens no port
    Check(Box<Serve>),
}

impl Config {
    /// Checks, and prints the settings as they were `given`.
    pub(super) async fn run(self, given: &[Given]) -> Result<(), Error> {
        let Command::Check(serve) = self.command;
        serve.check()?;
        say(table(given))
    }
}

/// The settings, one on each line: variable, value, and where the value comes from.
fn table(settings: &[Given]) -> String {
    let row = |Given { variable, value, source }: &Given| {
        let source = match source {
            Source::Default => "default",
            Source::Variable => "variable",
            Source::Flag => "flag",
        };
        format!("{variable:<44} {:<36} {source}", value.as_deref().unwrap_or("-"))
    };
    settings.iter().map(row).collect::<Vec<_>>().join("\n")
}
