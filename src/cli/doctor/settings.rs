//! The settings: the checks of `serve`, and variables of our name that no setting has.

use super::finding::Finding;
use crate::cli::serve::Serve;

/// Variables that are read and are no setting of a flag.
const NO_FLAG: [&str; 3] = ["COUNTERSIGN_MASTER_KEY", "COUNTERSIGN_POSTGRES_BIN", "COUNTERSIGN_BENCH_PASSWORD"];
const PREFIX: &str = "COUNTERSIGN_";

/// Checks the settings as `countersign config check` does.
pub(super) fn check(serve: Serve) -> Vec<Finding> {
    match serve.check() {
        Ok(()) => vec![Finding::ok("settings", "`serve` would start with them")],
        Err(error) => Finding::of("settings", &error, "docs/settings.md has each setting and its range"),
    }
}

/// Judges the variables of the environment by those that are known.
pub(super) fn variables(set: impl Iterator<Item = String>, known: &[String]) -> Vec<Finding> {
    let is_known = |name: &str| known.iter().any(|it| it == name) || NO_FLAG.contains(&name);
    let mut unknown: Vec<String> =
        set.filter(|name| name.starts_with(PREFIX) && !is_known(name) && !is_of_kubernetes(name)).collect();
    unknown.sort_unstable();
    let names = known.iter().map(String::as_str).chain(NO_FLAG);
    let mut found: Vec<Finding> = Vec::new();
    for name in &unknown {
        let nearest = names.clone().min_by_key(|it| distance(name, it)).unwrap_or_default();
        let remedy = format!("perhaps {nearest} is meant; else remove it");
        found.push(Finding::warning(
            "settings.variables",
            format_args!("{name} is no setting, and has no effect"),
            remedy,
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok("settings.variables", "each variable of ours is a setting"));
    }
    found
}

/// True for what Kubernetes sets in pods beside a Service named `countersign`.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    let is_port = rest.strip_prefix("PORT_").is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    is_port || rest == "PORT" || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT")
}

/// The number of characters that are to be put in, taken out or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, diagonal), above) in b.chars().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;

    #[test]
    fn a_slip_of_the_pen_is_named_with_what_was_meant() {
        let known = ["COUNTERSIGN_ISSUER", "COUNTERSIGN_AUDIENCE"].map(str::to_owned);
        let judge = |names: &[&str]| variables(names.iter().map(|name| (*name).to_owned()), &known);
        let found = judge(&["PATH", "COUNTERSIGN_ISUER", "COUNTERSIGN_AUDIENCE"]);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
        assert!(found[0].what.starts_with("COUNTERSIGN_ISUER ") && found[0].remedy.contains("COUNTERSIGN_ISSUER "));
        let fine = ["COUNTERSIGN_MASTER_KEY", "COUNTERSIGN_SERVICE_HOST", "COUNTERSIGN_PORT_50051_TCP_ADDR"];
        assert_eq!(judge(&fine)[0].severity, Severity::Ok);
        assert_eq!(judge(&["COUNTERSIGN_PORT_"])[0].severity, Severity::Warning);
    }

    #[test]
    fn names_are_as_far_apart_as_they_differ() {
        for (a, b, expected) in [("", "", 0), ("abc", "abc", 0), ("abc", "ac", 1), ("abc", "axcd", 2), ("", "ab", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
