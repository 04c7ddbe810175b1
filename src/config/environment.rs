//! The command line and the environment, as clap reads them: a variable that is empty is as if it were not there. Deployments
//! set variables to nothing to leave a setting at its default.

use std::env;

use clap::{
    ArgMatches, Command, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::shape::{misused, shaped};

/// The definition of a command, as it is read.
pub fn command<P: Parser>() -> Command {
    shaped(P::command())
}

/// Reads a command, whose help is dressed so. What cannot be read ends the process, as clap has it.
pub fn parse<P: Parser>(dress: fn(Command) -> Command) -> P {
    let mut command = without_empty(dress(command::<P>()));
    let matches =
        command.try_get_matches_from_mut(env::args_os()).unwrap_or_else(|error| without_secrets(error).exit());
    if let Some(what) = misused(&command, &matches) {
        command.error(ErrorKind::ArgumentConflict, what).exit();
    }
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The error without the passwords of URLs, which may stand where something else was expected.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(value)) = error.get(kind) {
            let shown = hidden(value);
            error.insert(kind, ContextValue::String(shown));
        }
    }
    error
}

/// The command and those below it, without the variables that are empty.
fn without_empty(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let variable = arg.get_env().and_then(env::var_os);
        let is_empty = variable.is_some_and(|value| value.to_string_lossy().trim().is_empty());
        if is_empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty)
}

/// The variables of all settings, of whatever command.
pub fn variables<P: Parser>() -> Vec<String> {
    let mut found = Vec::new();
    collect(&command::<P>(), &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn collect(command: &Command, found: &mut Vec<String>) {
    found.extend(command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned())));
    command.get_subcommands().for_each(|below| collect(below, found));
}

/// A setting as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The variable of the setting.
    pub variable: String,
    /// The value, without the secrets in it; None if there is none.
    pub value: Option<String>,
    /// The origin of the value.
    pub source: Source,
}

/// An origin of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody has given one.
    Default,
    /// The variable of the setting.
    Variable,
    /// The flag of the setting.
    Flag,
}

/// The settings of the command that this process runs, as they were given, in the order of their sections.
pub fn given<P: Parser>() -> Vec<Given> {
    let mut read = without_empty(command::<P>());
    let matches = read.get_matches_mut();
    // What was read has no variables that are empty, and is to be listed with them.
    let mut defined = command::<P>();
    defined.build();
    let (mut command, mut matches) = (&defined, &matches);
    let mut all = settings(command, matches);
    while let Some((name, below)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        // Global ones are found at every level.
        let further = settings(found, below);
        for one in further {
            if all.iter().all(|other| other.variable != one.variable) {
                all.push(one);
            }
        }
        (command, matches) = (found, below);
    }
    all
}

fn settings(command: &Command, matches: &ArgMatches) -> Vec<Given> {
    let with_variable = command.get_arguments().filter_map(|arg| Some((arg, arg.get_env()?.to_string_lossy())));
    let own = with_variable.filter(|(arg, _)| matches.try_contains_id(arg.get_id().as_str()).is_ok());
    own.map(|(arg, variable)| {
        let id = arg.get_id().as_str();
        let values: Vec<_> = matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy()).collect();
        let value = (!values.is_empty()).then(|| hidden(&values.join(",")));
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Variable,
            _ => Source::Default,
        };
        Given { variable: variable.into_owned(), value, source }
    })
    .collect()
}

/// A value without the passwords of a URL: that of its user, wherever it ends, and those among its parameters.
fn hidden(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let user = rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)));
    let shown = user.map_or_else(|| rest.to_owned(), |(name, host)| format!("{name}:***@{host}"));
    let parameters = shown.split_inclusive(['?', '&']).map(|part| match part.split_once("password=") {
        Some((before, secret)) => format!("{before}password=***{}", if secret.ends_with('&') { "&" } else { "" }),
        None => part.to_owned(),
    });
    format!("{scheme}://{}", parameters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_hidden_wherever_they_stand() {
        for (value, shown) in [
            ("postgres://ann:s3:cr@t@db/x", "postgres://ann:***@db/x"),
            ("postgres://ann@db/x?password=s3cret&sslmode=require", "postgres://ann@db/x?password=***&sslmode=require"),
            ("postgres://db/x", "postgres://db/x"),
            ("postgres://ann:12/x@y@db/z", "postgres://ann:***@db/z"),
            ("postgres://db/x?sslpassword=a&password=b", "postgres://db/x?sslpassword=***&password=***"),
            ("http://issuer.example", "http://issuer.example"),
            ("5m", "5m"),
        ] {
            assert_eq!(hidden(value), shown);
        }
    }
}
