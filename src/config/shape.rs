//! The shape of commands beyond what each says of itself. Settings that several have in common (clap's global ones) are
//! accepted before the subcommand too. Where a command has no use for one, it is not in its help, and giving it is an error.

use clap::{Arg, ArgMatches, Command, Id, builder::Resettable, parser::ValueSource};

/// The command with the settings in common at every level.
pub(super) fn shaped(command: Command) -> Command {
    let mut common = Vec::new();
    collect(&command, &mut common);
    common.iter().fold(command, place)
}

/// The settings in common of the commands below.
fn collect(command: &Command, common: &mut Vec<Arg>) {
    for below in command.get_subcommands() {
        let new = below.get_arguments().filter(|arg| arg.is_global_set());
        for arg in new {
            if common.iter().all(|known| known.get_id() != arg.get_id()) {
                common.push(arg.clone());
            }
        }
        collect(below, common);
    }
}

/// The command with this setting: shown where it or one below has a use for it, hidden elsewhere. Its variable and its default
/// are read where the use is: a variable that cannot be read is nothing to the others.
fn place(command: Command, arg: &Arg) -> Command {
    if has(&command, arg.get_id()) {
        return command;
    }
    let flag = arg.clone().env(Resettable::Reset).default_value(Resettable::Reset);
    if !has_below(&command, arg.get_id()) {
        return command.arg(flag.hide(true));
    }
    command.arg(flag).mut_subcommands(|below| place(below, arg))
}

fn has(command: &Command, id: &Id) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == id)
}

fn has_below(command: &Command, id: &Id) -> bool {
    command.get_subcommands().any(|below| has(below, id) || has_below(below, id))
}

/// The first flag that cannot have been meant, in words: one without a value, or one that the command has no use for.
pub(super) fn misused(command: &Command, matches: &ArgMatches) -> Option<String> {
    let below = matches.subcommand().and_then(|(name, below)| Some((command.find_subcommand(name)?, below)));
    let flags = command.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?)));
    let given = flags.filter(|(arg, _)| is_given(matches, arg));
    let complaint = |(arg, flag): (&Arg, &str)| {
        let mut values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
        if values.any(|value| value.is_empty()) {
            return Some(format!("--{flag} is empty: give it a value, or leave it away"));
        }
        let is_unused = below.is_none() && arg.is_hide_set() && arg.is_global_set();
        is_unused.then(|| format!("--{flag} has no effect on `{}`: leave it away", name(command)))
    };
    given.filter_map(complaint).next().or_else(|| misused(below?.0, below?.1))
}

/// The command with those that it is below.
fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

fn is_given(matches: &ArgMatches, arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}
