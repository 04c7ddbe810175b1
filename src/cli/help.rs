//! The help of commands: the commands in groups, those that are used most first, and a short form (`-h`) with the settings that
//! most need. `--help` has all of them, in the sections of docs/settings.md.

use std::{ffi::OsStr, fmt::Write as _};

use clap::{Arg, Command};

/// The commands by what they are for.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Run a server", &["dev", "serve", "migrate", "config", "doctor", "top", "healthcheck"]),
    ("Administer", &["user", "sessions", "keys", "audit"]),
    ("Let services and proxies in", &["policy", "mesh", "descriptors"]),
    ("This machine", &["hash", "completions", "man", "help"]),
];
/// Settings that the short form has.
const OFTEN: [&str; 15] = [
    "COUNTERSIGN_DATABASE_URL",
    "COUNTERSIGN_DATABASE_URL_FILE",
    "COUNTERSIGN_MASTER_KEY_FILE",
    "COUNTERSIGN_DATA_DIR",
    "COUNTERSIGN_GRPC_ADDR",
    "COUNTERSIGN_HTTP_ADDR",
    "COUNTERSIGN_ADMIN_TOKEN_FILE",
    "COUNTERSIGN_POLICY_FILE",
    "COUNTERSIGN_TLS_CERT_FILE",
    "COUNTERSIGN_TLS_KEY_FILE",
    "COUNTERSIGN_PLAINTEXT",
    "COUNTERSIGN_ISSUER",
    "COUNTERSIGN_AUDIENCE",
    "COUNTERSIGN_ACCESS_TOKEN_TTL",
    "COUNTERSIGN_LOG",
];
/// The place of an option after all others.
const LAST: usize = 100;
const MORE: &str = "All settings, in their sections: --help";

/// The command with its help so.
pub(super) fn dress(command: Command) -> Command {
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\n{}\n{{options}}{{after-help}}",
        groups(&command),
        heading(&command, "Options")
    );
    // The options of the program itself stand in one list: those of the database before those of the log.
    let command = command.mut_args(|arg| {
        let is_of_log = arg.get_help_heading() == Some("Log");
        if is_of_log { arg.display_order(LAST) } else { arg }
    });
    brief(command).help_template(template)
}

/// The command and those below it, without the settings of long lists in the short form.
fn brief(command: Command) -> Command {
    let has_rare = command.get_arguments().any(is_rare);
    let command = command.mut_args(|arg| {
        let is_rare = is_rare(&arg);
        arg.hide_short_help(is_rare)
    });
    let command = if has_rare { command.after_help(MORE).after_long_help("") } else { command };
    command.mut_subcommands(brief)
}

/// True for a setting of a section that few need to give.
fn is_rare(arg: &Arg) -> bool {
    let is_often = |variable: &OsStr| OFTEN.iter().any(|often| variable == *often);
    arg.get_help_heading().is_some() && arg.get_env().is_some_and(|variable| !is_often(variable))
}

/// The groups, with what each of their commands says of itself.
fn groups(command: &Command) -> String {
    let mut text = String::new();
    let width = command.get_subcommands().map(|below| below.get_name().len()).max().unwrap_or_default();
    for (group, names) in GROUPS {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}\n", heading(command, group));
        for name in names {
            let found = command.find_subcommand(name).and_then(Command::get_about);
            let about =
                found.map_or_else(|| "Print this message, or the help of a command".to_owned(), ToString::to_string);
            let style = command.get_styles().get_literal();
            let _ = writeln!(text, "  {style}{name:width$}{style:#}  {about}");
        }
    }
    text
}

fn heading(command: &Command, text: &str) -> String {
    let style = command.get_styles().get_header();
    format!("{style}{text}:{style:#}")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// The help of the command that these words name.
    fn help(words: &[&str]) -> String {
        let command = dress(crate::config::command::<Cli>());
        let error = command.try_get_matches_from([&["countersign"], words].concat()).expect_err("a help is no command");
        error.render().to_string()
    }

    #[test]
    fn every_command_is_in_one_group_and_fits_on_a_line() {
        let named: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let text = help(&["--help"]);
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert_eq!(named.iter().filter(|found| **found == name).count(), 1, "{name}");
            let line = format!("  {name:11}  {}\n", command.get_about().expect("an about"));
            assert!(text.contains(&line) && line.len() <= 101, "{line}{text}");
        }
        let at = |heading: &str| text.find(heading).unwrap_or_else(|| panic!("{heading}: {text}"));
        assert!(at("\nRun a server:\n") < at("\nAdminister:\n") && at("\nAdminister:\n") < at("\nOptions:\n"));
        assert!(text.contains("--database-url <"), "{text}");
    }

    #[test]
    fn the_short_help_of_serve_is_short_and_the_long_one_has_all_in_sections() {
        let (short, long) = (help(&["serve", "-h"]), help(&["serve", "--help"]));
        assert!(short.lines().count() < 60, "{} lines:\n{short}", short.lines().count());
        assert!(short.contains(MORE) && !short.contains("--hash-lanes"), "{short}");
        assert!(!long.contains(MORE) && long.contains("--hash-lanes"));
        let sections = ["Database", "Keys", "Server", "TLS", "Tokens", "Sessions", "Passwords", "Audit", "Log"];
        let places: Vec<_> = sections.iter().map(|section| long.find(&format!("\n{section}:\n"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
        assert!(short.find("\nDatabase:\n") < short.find("\nServer:\n") && short.contains("--master-key-file"));
    }

    #[test]
    fn a_setting_that_a_command_has_no_use_for_is_not_in_its_help() {
        for (words, has) in [
            (&["user", "list", "--help"][..], true),
            (&["migrate", "-h"], true),
            (&["keys", "rotate", "-h"], true),
            (&["dev", "--help"], false),
            (&["hash", "calibrate", "--help"], false),
            (&["mesh", "envoy-config", "--help"], false),
            (&["mesh", "status", "--help"], true),
        ] {
            assert_eq!(help(words).contains("--database-url"), has, "{words:?}");
        }
    }
}
