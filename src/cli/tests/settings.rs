//! The settings of docs/settings.md. Each section has a table, and each setting a row of it, with the default and the range
//! that `--help` has.

use std::collections::BTreeMap;

use clap::{Arg, Command, CommandFactory as _};

use crate::cli::Cli;

const SETTINGS: &str = include_str!("../../../docs/settings.md");
/// Variables without a flag, because they hold secrets.
const NO_FLAG: [&str; 1] = ["COUNTERSIGN_MASTER_KEY"];

/// A row of a section's table.
struct Row {
    section: &'static str,
    default: &'static str,
    range: &'static str,
}

fn rows() -> BTreeMap<&'static str, Row> {
    let (mut rows, mut section) = (BTreeMap::new(), "");
    for line in SETTINGS.lines() {
        if line.starts_with('#') {
            section = line.trim_start_matches('#').trim();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", variable, default, range, _, ""] = cells[..] else {
            continue;
        };
        if let Some(variable) = variable.strip_prefix('`').and_then(|v| v.strip_suffix('`')) {
            let former = rows.insert(variable, Row { section, default, range });
            assert!(former.is_none(), "{variable} has two rows");
        }
    }
    rows
}

/// The arguments of all commands that have a variable.
fn settings(command: &Command, found: &mut Vec<Arg>) {
    found.extend(command.get_arguments().filter(|arg| arg.get_env().is_some()).cloned());
    for command in command.get_subcommands() {
        settings(command, found);
    }
}

fn variable(setting: &Arg) -> String {
    setting.get_env().expect("a variable").to_string_lossy().into_owned()
}

/// The range at the end of the help, or the names that there are.
fn range(setting: &Arg) -> String {
    let help = setting.get_help().expect("a help").to_string();
    if let Some((_, range)) = help.split_once("[range: ") {
        return range.trim_end_matches(']').to_owned();
    }
    let names = setting.get_possible_values().into_iter().map(|value| value.get_name().to_owned());
    names.collect::<Vec<_>>().join(", ")
}

/// True if a cell says this default, perhaps with a remark, or that of another command too.
fn has_default(cell: &str, setting: &Arg) -> bool {
    let default = match setting.get_default_values() {
        [] if setting.is_required_set() => "needed".to_owned(),
        [] => "none".to_owned(),
        values => values.join(",".as_ref()).to_string_lossy().into_owned(),
    };
    cell.split([' ', '(', ')']).any(|word| word == default)
}

fn complaints(setting: &Arg, rows: &BTreeMap<&'static str, Row>) -> Vec<String> {
    let variable = variable(setting);
    let Some(row) = rows.get(variable.as_str()) else {
        return vec![format!("{variable}: no row")];
    };
    let (heading, range) = (setting.get_help_heading(), range(setting));
    let checks = [
        (heading.is_none_or(|heading| heading == row.section), format!("not in {heading:?} but in {}", row.section)),
        (has_default(row.default, setting), format!("{:?} is not {}", setting.get_default_values(), row.default)),
        (range == row.range, format!("{range:?} is not {:?}", row.range)),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| format!("{variable}: {what}")).collect()
}

#[test]
fn every_setting_is_in_the_table_of_its_section_with_its_default_and_its_range() {
    let (rows, mut all) = (rows(), Vec::new());
    settings(&Cli::command(), &mut all);
    assert!(all.len() > 40, "{}", all.len());
    let mut complaints: Vec<String> = all.iter().flat_map(|setting| complaints(setting, &rows)).collect();
    let known = |name: &str| NO_FLAG.contains(&name) || all.iter().any(|setting| variable(setting) == name);
    complaints.extend(rows.keys().filter(|name| !known(name)).map(|name| format!("{name}: no such setting")));
    complaints.sort();
    complaints.dedup();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn serve_and_dev_have_no_setting_outside_a_section() {
    for name in ["serve", "dev"] {
        let mut all = Vec::new();
        settings(Cli::command().find_subcommand(name).expect("a command"), &mut all);
        let outside: Vec<String> = all.iter().filter(|arg| arg.get_help_heading().is_none()).map(variable).collect();
        assert!(outside.is_empty(), "{name}: {outside:?}");
    }
}
