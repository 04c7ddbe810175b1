//! Findings: what was checked, how bad it is, and what to do. They are said on a line each, to people or as JSON.

use std::{fmt::Display, process::ExitCode};

use clap::builder::styling::{AnsiColor, Style};
use serde_json::json;

use crate::error::Error;

/// The severity of a finding, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// All is well.
    Ok,
    /// Something could be better.
    Hint,
    /// Something will go wrong, or is not as it should be.
    Warning,
    /// The service cannot work, or does not keep its promises.
    Error,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The name of the check: its group and what it looks at.
    pub check: &'static str,
    /// The severity of what was found.
    pub severity: Severity,
    /// Description of what was found.
    pub what: String,
    /// The thing to do; empty where nothing has to be done.
    pub remedy: String,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Hint => AnsiColor::Cyan.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Error => AnsiColor::Red.on_default().bold(),
        }
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Display) -> Self {
        Self { check, severity: Severity::Ok, what: what.to_string(), remedy: String::new() }
    }

    pub(super) fn hint(check: &'static str, what: impl Display, remedy: impl Display) -> Self {
        Self { check, severity: Severity::Hint, what: what.to_string(), remedy: remedy.to_string() }
    }

    pub(super) fn warning(check: &'static str, what: impl Display, remedy: impl Display) -> Self {
        Self { severity: Severity::Warning, ..Self::hint(check, what, remedy) }
    }

    pub(super) fn error(check: &'static str, what: impl Display, remedy: impl Display) -> Self {
        Self { severity: Severity::Error, ..Self::hint(check, what, remedy) }
    }

    /// The findings of an error: one for each thing that is wrong.
    pub(super) fn of(check: &'static str, error: &Error, remedy: &str) -> Vec<Self> {
        match error {
            Error::InvalidArgument(violations) => violations
                .iter()
                .map(|it| Self::error(check, format_args!("{}: {}", it.field, it.description), remedy))
                .collect(),
            // The reason for which there is no connection is a sentence already.
            Error::DatabaseUnavailable(source) => vec![Self::error(check, source, remedy)],
            error => vec![Self::error(check, error, remedy)],
        }
    }

    /// The line for people.
    pub(super) fn line(&self, paint: Paint) -> String {
        let style = if paint == Paint::Colours { self.severity.style() } else { Style::new() };
        let (severity, check, what) = (self.severity.as_str(), self.check, plain(&self.what));
        let line = format!("{style}{severity:7}{style:#}  {check:24}  {what}");
        if self.remedy.is_empty() { line } else { format!("{line} -> {}", plain(&self.remedy)) }
    }

    /// The line for machines.
    pub(super) fn json(&self) -> serde_json::Value {
        let remedy = (!self.remedy.is_empty()).then_some(self.remedy.as_str());
        json!({"check": self.check, "severity": self.severity.as_str(), "what": self.what, "remedy": remedy})
    }
}

/// A choice of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// The severity has a colour.
    Colours,
    /// There is text alone.
    Plain,
}

/// A text on one line: a terminal might obey what a server or a file has said.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

/// The exit code of the worst of them.
pub(super) fn verdict(findings: &[Finding]) -> ExitCode {
    match worst(findings) {
        Severity::Ok | Severity::Hint => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(1),
        Severity::Error => ExitCode::from(2),
    }
}

/// The worst severity.
pub(super) fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_a_terminal_obeys_nothing_of_it() {
        let finding = Finding::warning("database.x", "it said \u{1b}[2J\nand \"more\"", "do this");
        assert_eq!(
            finding.line(Paint::Plain),
            "warning  database.x                it said \\u{1b}[2J\\nand \"more\" -> do this"
        );
        assert!(finding.line(Paint::Colours).starts_with("\u{1b}[33mwarning\u{1b}[0m  database.x"));
        let fine = Finding::ok("a", "b");
        assert_eq!(
            (fine.line(Paint::Plain).ends_with("  b"), &fine.json()["remedy"]),
            (true, &serde_json::Value::Null)
        );
        assert_eq!(finding.json()["severity"], "warning");
    }

    #[test]
    fn the_worst_of_them_counts() {
        let [ok, hint] = [Finding::ok("a", "b"), Finding::hint("a", "b", "c")];
        let [warning, error] = [Finding::warning("a", "b", "c"), Finding::error("a", "b", "c")];
        for (findings, expected) in [
            (vec![], Severity::Ok),
            (vec![hint.clone(), ok.clone()], Severity::Hint),
            (vec![warning.clone(), hint], Severity::Warning),
            (vec![ok, error, warning], Severity::Error),
        ] {
            assert_eq!(worst(&findings), expected);
        }
        let codes = [Severity::Hint, Severity::Warning, Severity::Error]
            .map(|severity| format!("{:?}", verdict(&[Finding { severity, ..Finding::ok("a", "b") }])));
        assert_eq!(codes, [ExitCode::SUCCESS, ExitCode::from(1), ExitCode::from(2)].map(|code| format!("{code:?}")));
    }

    #[test]
    fn each_violation_is_a_finding() {
        let error = Error::invalid("a", "b");
        assert_eq!(Finding::of("settings", &error, "r"), [Finding::error("settings", "a: b", "r")]);
        let error = Error::DatabaseUnavailable("the database at x refused the connection".into());
        assert_eq!(
            Finding::of("c", &error, "r"),
            [Finding::error("c", "the database at x refused the connection", "r")]
        );
    }
}
