//! Findings: things that are wrong, as one replica can tell from its own metrics. For the status page and `countersign top`.

use super::window::Recent;

/// Distance of the clocks that is worth a word, in seconds.
const CLOCK_DISTANCE: f64 = 5.0;
/// Logins that go wrong within a minute, and for each that goes well, that are a flood.
const FLOOD: f64 = 60.0;
const FLOOD_SHARE: f64 = 5.0;

/// Metrics that grow when the database does not answer: those of statements, waits for a connection, heartbeats.
const UNANSWERED: [(&str, &[(&str, &str)]); 3] = [
    ("countersign_database_statement_seconds", &[("outcome", "unavailable")]),
    ("countersign_database_acquire_failures_total", &[]),
    ("countersign_revocation_follow_failures_total", &[]),
];

/// The weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nobody is refused for it yet.
    Warning,
    /// Callers are refused.
    Error,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The weight.
    pub severity: Severity,
    /// The thing that is wrong, as a sentence without its end.
    pub what: String,
    /// Sentences on what to do.
    pub remedy: &'static str,
}

/// The findings, the gravest first.
pub fn findings(recent: &Recent) -> Vec<Finding> {
    let mut found: Vec<Finding> = [freshness, database, replicas, keys, clock, logins, hashing, revocations]
        .iter()
        .filter_map(|look| look(recent))
        .collect();
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn error(what: String, remedy: &'static str) -> Option<Finding> {
    Some(Finding { severity: Severity::Error, what, remedy })
}

fn warning(what: String, remedy: &'static str) -> Option<Finding> {
    Some(Finding { severity: Severity::Warning, what, remedy })
}

fn freshness(recent: &Recent) -> Option<Finding> {
    let age = recent.value("countersign_revocation_freshness_age_seconds", &[]);
    let bound = recent.value("countersign_revocation_freshness_bound_seconds", &[]);
    let remedy = "Is the database reachable from here, and does it accept writes? Other replicas may be well: requests are better \
                  sent there.";
    if age > bound {
        let known = if age.is_finite() { format!("is {age:.0} s old") } else { "is not there".to_owned() };
        return error(
            format!("What is known of revocations {known}: Verify refuses (the bound is {bound:.0} s)"),
            remedy,
        );
    }
    let half = bound / 2.0;
    (age > half).then(|| warning(format!("What is known of revocations is {age:.0} s old, of {bound:.0} s"), remedy))?
}

fn database(recent: &Recent) -> Option<Finding> {
    let most = |growths: [f64; 3]| growths.into_iter().fold(0.0, f64::max);
    let answered = recent.growth_lately("countersign_database_statement_seconds", &[("outcome", "ok")]);
    if answered == 0.0 && most(UNANSWERED.map(|(name, labels)| recent.growth_lately(name, labels))) > 0.0 {
        let remedy = "Is it up, is it the primary, are its connections used up? Nobody logs in or refreshes meanwhile; Verify goes on \
                      until the bound.";
        return error("The database does not answer".to_owned(), remedy);
    }
    let failed = most(UNANSWERED.map(|(name, labels)| recent.growth(name, labels)));
    let remedy = "It answers again, or does so now and then: its log, and its load, say more.";
    (failed > 0.0)
        .then(|| warning(format!("The database did not answer {failed:.0} times in the last minute"), remedy))?
}

fn replicas(recent: &Recent) -> Option<Finding> {
    let silent = recent.value("countersign_replicas", &[("state", "silent")]);
    let remedy = "It is cut off from the database, paused or killed. It refuses by itself after its bound; until then Revoke waits \
                  for it.";
    let who = if silent > 1.0 { format!("{silent:.0} replicas have") } else { "1 replica has".to_owned() };
    (silent > 0.0).then(|| warning(format!("{who} been silent"), remedy))?
}

fn keys(recent: &Recent) -> Option<Finding> {
    let unusable = recent.value("countersign_keys_unusable", &[]);
    if unusable > 0.0 {
        let keys = if unusable > 1.0 { "keys" } else { "key" };
        let remedy = "Damaged, or the master key is missing that sealed it: the log says which (see countersign keys list). A replica \
                      that opened it before goes on with it, so do not restart those; another one is undecided about its tokens.";
        return error(format!("{unusable:.0} stored {keys} cannot be opened"), remedy);
    }
    let due = recent.value("countersign_key_rotation_due_seconds", &[]);
    let remedy = "No replica could rotate the keys: the log says why.";
    (due < -3600.0)
        .then(|| warning(format!("The signing key is due to be replaced since {:.0} h", -due / 3600.0), remedy))?
}

fn clock(recent: &Recent) -> Option<Finding> {
    let distance = recent.value("countersign_clock_distance_seconds", &[]);
    let remedy =
        "Is the time of this machine, or of the database's, kept by NTP? Far apart, no tokens are signed here.";
    let far = distance > CLOCK_DISTANCE;
    far.then(|| warning(format!("This machine's clock and the database's are {distance:.0} s apart"), remedy))?
}

fn logins(recent: &Recent) -> Option<Finding> {
    let of = |result| recent.per_second("countersign_logins_total", &[("result", result)]);
    let grown = |result| recent.growth("countersign_logins_total", &[("result", result)]);
    let bad = ["invalid_credentials", "throttled", "overloaded", "cancelled"];
    let (refused, many) = (bad.map(of).iter().sum::<f64>(), bad.map(grown).iter().sum::<f64>());
    let flood = many > FLOOD && refused > FLOOD_SHARE * of("ok");
    let remedy = "Somebody guesses passwords, or a client is set up wrong. Guesses are throttled; who it is: countersign audit tail.";
    flood.then(|| warning(format!("{refused:.1} logins a second are refused, {:.1} go well", of("ok")), remedy))?
}

fn hashing(recent: &Recent) -> Option<Finding> {
    let shed = recent.growth("countersign_password_hash_shed_total", &[]);
    let remedy = "More passwords come than the hashing threads can look at. More replicas, or fewer logins.";
    (shed > 0.0).then(|| warning(format!("{shed:.0} passwords were not looked at in the last minute"), remedy))?
}

fn revocations(recent: &Recent) -> Option<Finding> {
    let unconfirmed = recent.growth("countersign_revocation_confirmation_seconds", &[("confirmed", "false")]);
    let remedy =
        "A replica or a proxy has not said that it heard. What was revoked is refused everywhere after the bound.";
    (unconfirmed > 0.0).then(|| warning(format!("{unconfirmed:.0} revocations were not confirmed in time"), remedy))?
}
