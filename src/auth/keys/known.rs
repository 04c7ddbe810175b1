//! The stored keys that this replica has read, and what it keeps of them when the database has them no more. After a
//! restore from an old backup, tokens that were signed since are still good. Pure.

use countersign_token::clock::BootInstant;

use crate::{
    domain::key::{Key, Purpose, RETIRED_KEY_TTL, Stage},
    store::keys::StoredKey,
};

/// A stored key that this replica has read.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) stored: StoredKey,
    /// The key's presence in the database.
    presence: Presence,
    /// The moment since which this replica has known that the key signs no more.
    silent_since: Option<BootInstant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Stored,
    Gone,
}

/// Unites the keys that are stored with those that were known before and are stored no more. What is dead stays dead,
/// whatever is stored.
pub(super) fn unite(known: &[Known], stored: Vec<StoredKey>, boot: BootInstant) -> Vec<Known> {
    let (mut gone, mut united) = (Vec::new(), Vec::with_capacity(stored.len()));
    for old in known.iter().filter(|old| !stored.iter().any(|s| is_same(&s.key, &old.stored.key))) {
        gone.extend(outlive(old, boot));
    }
    for mut stored in stored {
        let before = known.iter().find(|k| is_same(&k.stored.key, &stored.key));
        if before.is_some_and(|old| old.stored.key.stage == Stage::Killed) {
            stored.key.stage = Stage::Killed;
        }
        let signs = matches!(stored.key.stage, Stage::Next | Stage::Active);
        let silent_since = if signs { None } else { before.and_then(|old| old.silent_since).or(Some(boot)) };
        united.push(Known { stored, presence: Presence::Stored, silent_since });
    }
    // First, so that what is stored wins.
    gone.append(&mut united);
    gone
}

/// A key that the database has no more, because its time was over or because it was lost.
fn outlive(old: &Known, boot: BootInstant) -> Option<Known> {
    let mut kept = Known { presence: Presence::Gone, ..old.clone() };
    kept.silent_since.get_or_insert(boot);
    match kept.stored.key.stage {
        Stage::Next => return None,
        Stage::Active => {
            let kid = &kept.stored.key.kid;
            tracing::error!(kid, "the database has lost a key that was in use: what it made is accepted for a while");
            kept.stored.key.stage = Stage::Retired;
        }
        Stage::Retired | Stage::Killed => {}
    }
    Some(kept).filter(|kept| !is_over(kept, boot))
}

/// True if a key that is gone has no token left. Sessions may live for years; and what is dead stays so.
pub(super) fn is_over(key: &Known, boot: BootInstant) -> bool {
    let retired = key.stored.key.stage == Stage::Retired && key.stored.key.purpose == Purpose::AccessToken;
    let silent_for = key.silent_since.map(|since| boot.since(since));
    key.presence == Presence::Gone && retired && silent_for.is_some_and(|silent| silent >= RETIRED_KEY_TTL)
}

pub(super) fn is_same(one: &Key, other: &Key) -> bool {
    (one.purpose, &one.kid) == (other.purpose, &other.kid)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;

    fn key(purpose: Purpose, number: u16, stage: Stage) -> StoredKey {
        let key = Key { purpose, number, kid: number.to_string(), stage, age: Duration::ZERO };
        let created_at = OffsetDateTime::UNIX_EPOCH;
        StoredKey { key, algorithm: "x".to_owned(), sealed_key: vec![], created_at }
    }

    fn at(hours: u64) -> BootInstant {
        BootInstant::from_nanos(hours * 3_600_000_000_000)
    }

    fn stages(known: &[Known]) -> Vec<(u16, Stage)> {
        known.iter().map(|k| (k.stored.key.number, k.stored.key.stage)).collect()
    }

    #[test]
    fn what_the_database_lost_verifies_for_hours_and_what_is_dead_stays_so() {
        use Stage::{Active, Killed, Next, Retired};
        let access = |number, stage| key(Purpose::AccessToken, number, stage);
        let stored = vec![access(1, Retired), access(2, Killed), access(3, Active), access(4, Next)];
        let known = unite(&[], stored, at(0));
        let lost = unite(&known, vec![], at(1));
        assert_eq!(stages(&lost), [(1, Retired), (2, Killed), (3, Retired)]);
        let later = unite(&lost, vec![], at(4));
        assert_eq!(stages(&later), [(2, Killed), (3, Retired)], "the first had signed no more since the beginning");
        assert_eq!(stages(&unite(&later, vec![], at(5))), [(2, Killed)]);
        let united = unite(&later, vec![access(2, Active), access(3, Active)], at(4));
        assert_eq!(stages(&united), [(2, Killed), (3, Active)]);
    }

    #[test]
    fn p2_a_key_of_refresh_tokens_is_never_forgotten() {
        let known = unite(&[], vec![key(Purpose::RefreshToken, 1, Stage::Active)], at(0));
        let lost = unite(&unite(&known, vec![], at(1)), vec![], at(1000));
        assert_eq!(stages(&lost), [(1, Stage::Retired)]);
    }
}
