//! The stored keys: whether the master keys open them, and what comes next in their lives. No secret is said.

use std::time::Duration;

use super::finding::Finding;
use crate::{
    auth::keys::{Inspected, inspect, stored},
    cli::settings::master_keys,
    config::MasterKeySettings,
    domain::{
        key::{Key, KeyRotation, Purpose, Stage, publication_remaining},
        policy::{KeyPolicy, PepperMode},
    },
    error::Error,
    store::{Store, decoy_secret, keys::StoredKeys},
};

/// Time after which a change of keys that is due is late: servers look after them all the time.
const LATE: Duration = Duration::from_secs(3600);

/// Checks the keys. Without a policy, because settings are wrong, what comes next is not known.
pub(super) async fn check(store: &Store, settings: &MasterKeySettings, policy: Option<KeyPolicy>) -> Vec<Finding> {
    let read = async {
        let sealed = decoy_secret::find(&mut store.acquire().await?).await?;
        Ok((stored(store).await?, sealed))
    };
    let (stored, decoys) = match read.await {
        Ok(read) => read,
        Err(error) => return Finding::of("keys.read", &error as &Error, "see database.grants"),
    };
    let mut found = match master_keys(settings) {
        Ok(master) => opened(&inspect(master, &stored, decoys.as_deref()), stored.keys.len()),
        Err(error) => Finding::of("keys.master", &error, "`countersign keys generate-master` makes one"),
    };
    let all: Vec<Key> = keys(&stored);
    if let Some(policy) = policy {
        found.extend(
            [Purpose::AccessToken, Purpose::RefreshToken].map(|purpose| next_change(&all, purpose, policy.rotation)),
        );
        found.push(pepper(&all, policy.pepper));
    }
    found
}

fn keys(stored: &StoredKeys) -> Vec<Key> {
    stored.keys.iter().map(|stored| stored.key.clone()).collect()
}

fn opened(inspected: &Inspected, count: usize) -> Vec<Finding> {
    const CHECK: &str = "keys.master";
    let Inspected { unusable, older } = inspected;
    let mut found = Vec::new();
    if !unusable.is_empty() {
        let what = format!("no master key opens: {}", unusable.join("; "));
        let remedy = "give the master key that sealed them; only if it is lost, `countersign keys kill` or start anew";
        found.push(Finding::error(CHECK, what, remedy));
    }
    if !older.is_empty() {
        let what = format!("another master key than the first has sealed: {}", older.join("; "));
        found.push(Finding::hint(CHECK, what, "run `countersign keys reseal` once all servers have the first"));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, format_args!("the first master key has sealed all {count} stored keys")));
    }
    found
}

fn next_change(keys: &[Key], purpose: Purpose, policy: KeyRotation) -> Finding {
    let check = if purpose == Purpose::RefreshToken { "keys.refresh_token" } else { "keys.access_token" };
    let at = |stage| keys.iter().find(|key| key.purpose == purpose && key.stage == stage);
    let Some(active) = at(Stage::Active) else {
        return Finding::hint(check, "no key signs yet", "start a server, which makes the first");
    };
    let kid = &active.kid;
    let Some(next) = at(Stage::Next) else {
        return Finding::hint(
            check,
            format_args!("{kid} signs, and no next one is made"),
            "a server that runs makes it",
        );
    };
    let left = policy.lifetime.saturating_sub(active.age).max(publication_remaining(next, policy));
    let late = active.age.saturating_sub(policy.lifetime);
    if left.is_zero() && late > LATE {
        let remedy = "look at the servers' log for why it does not rotate";
        return Finding::warning(check, format_args!("{kid} should have been replaced {} ago", rounded(late)), remedy);
    }
    Finding::ok(check, format_args!("{kid} signs; {} takes over in {}", next.kid, rounded(left)))
}

/// A time in whole minutes.
fn rounded(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs() / 60 * 60)).to_string()
}

fn pepper(keys: &[Key], mode: PepperMode) -> Finding {
    const CHECK: &str = "keys.pepper";
    let peppers: Vec<&Key> = keys.iter().filter(|key| key.purpose == Purpose::Pepper).collect();
    let active = peppers.iter().find(|key| key.stage == Stage::Active);
    let count = peppers.len();
    match (mode.is_on(), active) {
        (true, Some(active)) => {
            Finding::ok(CHECK, format_args!("{} goes into new password hashes; {count} in all", active.kid))
        }
        (true, None) => Finding::hint(CHECK, "no pepper is made yet", "start a server, which makes it"),
        (false, None) => Finding::ok(CHECK, "off"),
        (false, Some(_)) => Finding::hint(
            CHECK,
            format_args!("off here, though there are {count} peppers: Logins replace the hashes that have them"),
            "give all servers and commands the same COUNTERSIGN_PASSWORD_PEPPER",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;

    const HOUR: Duration = Duration::from_secs(3600);
    const POLICY: KeyRotation = KeyRotation { publish_lead: HOUR, lifetime: Duration::from_secs(36_000) };

    fn key(purpose: Purpose, stage: Stage, hours: u32) -> Key {
        Key { purpose, number: 1, kid: stage.as_str().to_uppercase(), stage, age: hours * HOUR }
    }

    #[test]
    fn keys_that_no_master_key_opens_are_named() {
        assert_eq!(opened(&Inspected::default(), 4)[0].severity, Severity::Ok);
        let inspected = Inspected { unusable: vec!["refresh_token 3".to_owned()], older: vec!["pepper x".to_owned()] };
        let found = opened(&inspected, 4);
        assert_eq!([found[0].severity, found[1].severity], [Severity::Error, Severity::Hint]);
        assert!(found[0].what.ends_with("refresh_token 3") && found[1].what.ends_with("pepper x"));
    }

    #[test]
    fn the_next_change_is_told_or_that_it_is_late() {
        let of = |stage, hours| key(Purpose::AccessToken, stage, hours);
        let judge = |keys: &[Key]| next_change(keys, Purpose::AccessToken, POLICY);
        let told = judge(&[of(Stage::Active, 4), of(Stage::Next, 4)]);
        assert_eq!((told.severity, told.what.as_str()), (Severity::Ok, "ACTIVE signs; NEXT takes over in 6h"));
        assert_eq!(judge(&[of(Stage::Active, 4)]).severity, Severity::Hint);
        assert_eq!(judge(&[key(Purpose::RefreshToken, Stage::Active, 4)]).severity, Severity::Hint);
        assert_eq!(judge(&[of(Stage::Active, 12), of(Stage::Next, 12)]).severity, Severity::Warning);
        assert_eq!(
            judge(&[of(Stage::Active, 12), of(Stage::Next, 0)]).severity,
            Severity::Ok,
            "not published for long"
        );
    }

    #[test]
    fn peppers_go_by_the_setting() {
        let one = [key(Purpose::Pepper, Stage::Active, 1)];
        let judge = |keys: &[Key], mode| pepper(keys, mode).severity;
        assert_eq!([judge(&one, PepperMode::On), judge(&[], PepperMode::Off)], [Severity::Ok, Severity::Ok]);
        assert_eq!([judge(&[], PepperMode::On), judge(&one, PepperMode::Off)], [Severity::Hint, Severity::Hint]);
    }
}
