//! The command line: one file per subcommand. What fails is said in one line on standard error, with exit code 1.

mod admin_token;
mod audit;
mod completions;
mod config;
mod descriptors;
mod dev;
mod doctor;
mod hash;
mod healthcheck;
mod help;
mod keys;
mod man;
mod mesh;
mod migrate;
mod output;
mod policy;
mod process;
mod progress;
mod reload;
mod secret_file;
mod serve;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod top;
mod traces;
mod user;
mod user_export;
mod user_file;
mod user_import;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use self::output::{OutputClosed, said};
pub use self::{
    output::say,
    process::{block_on, stop_signals},
    progress::Progress,
    secret_file::create_secret_file,
    settings::{checked_store, require_schema, store},
    user::read_line,
};
use crate::{
    config::{LogSettings, command, given, parse, variables},
    error::Error,
    telemetry,
};

/// Authentication for internal microservices: sessions that end everywhere, verified in memory, over gRPC.
#[derive(Parser)]
#[command(name = "countersign", version)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine with no set-up: a private Postgres, keys, a demo user
    Dev(Box<dev::Dev>),
    /// Run the service against a Postgres of yours
    Serve(Box<serve::Serve>),
    /// Bring the database's schema up to date
    Migrate(migrate::Migrate),
    /// Administer users
    User(Box<user::User>),
    /// End all sessions, or decide about them after a restore
    Sessions(Box<sessions::Sessions>),
    /// Show, rotate and kill the keys that sign tokens, and the peppers of passwords
    Keys(Box<keys::Keys>),
    /// Show who logged in, what was refused, ended and changed, and by whom
    Audit(audit::Audit),
    /// Check a policy file and explain it, and make service tokens
    Policy(policy::Policy),
    /// Print configuration of proxies that verify tokens by themselves
    Mesh(mesh::Mesh),
    /// Find out what a password hash may cost on this machine
    Hash(hash::Hash),
    /// Check the settings of serve, and print them
    Config(config::Config),
    /// Check that a deployment is sound: exit code 0 if so, 1 for warnings, 2 for errors
    Doctor(Box<doctor::Doctor>),
    /// Show on a terminal what servers do: calls, logins, the queue, freshness, keys, events
    Top(Box<top::Top>),
    /// Write the descriptors of the services, for tools without reflection
    Descriptors(descriptors::Descriptors),
    /// Ask a running server whether it serves: exit code 0 or 1
    Healthcheck(healthcheck::Healthcheck),
    /// Print what a shell needs to complete these commands
    Completions(completions::Completions),
    /// Write the manual, a page for each command
    Man(man::Manual),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli: Cli = parse(help::dress);
    let mut verdict = ExitCode::SUCCESS;
    let is_quiet = matches!(&cli.command, Command::Top(top) if top.takes_the_terminal());
    let started = if is_quiet { Ok(()) } else { telemetry::start(&cli.log) };
    let result = started.and_then(|()| match cli.command {
        Command::Dev(command) => command.run(),
        Command::Serve(command) => block_on(command.run()),
        Command::Migrate(command) => block_on(command.run()),
        Command::User(command) => block_on(command.run()),
        Command::Sessions(command) => block_on(command.run()),
        Command::Keys(command) => block_on(command.run()),
        Command::Audit(command) => block_on(command.run()),
        Command::Policy(command) => command.run(),
        Command::Mesh(command) => block_on(command.run()),
        Command::Hash(command) => block_on(command.run()),
        Command::Config(command) => block_on(command.run(&given::<Cli>())),
        Command::Doctor(command) => block_on(async {
            verdict = command.run(&variables::<Cli>()).await?;
            Ok(())
        }),
        Command::Top(command) => block_on(async {
            verdict = command.run().await?;
            Ok(())
        }),
        Command::Descriptors(command) => command.run(),
        Command::Healthcheck(command) => block_on(command.run()),
        Command::Completions(wanted) => wanted.run(command::<Cli>()),
        Command::Man(manual) => manual.run(command::<Cli>()),
    });
    if result.is_ok() { verdict } else { exit("countersign", result) }
}

/// The exit code of a program of ours, which says on standard error why it failed.
pub fn exit(program: &str, result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Internal(source)) if source.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "{program}: {}", said(&error)));
            ExitCode::FAILURE
        }
    }
}
