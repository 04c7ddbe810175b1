//! The command line and the environment, as clap reads them: a variable that is empty is as if it were not there. Deployments
//! set variables to nothing to leave a setting at its default.

use std::env;

use clap::{Command, Parser, builder::Resettable};

/// Reads a command. What cannot be read ends the process, as clap has it.
pub fn parse<P: Parser>() -> P {
    let matches = without_empty(P::command()).get_matches();
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut P::command()).exit())
}

/// The command and those below it, without the variables that are empty.
fn without_empty(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let variable = arg.get_env().and_then(env::var_os);
        if variable.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty)
}
