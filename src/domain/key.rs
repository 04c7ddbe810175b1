//! The life of a key: made ahead and published, then active, then verifying only, then deleted; killed at any time. What
//! is due next is a pure function of the keys. A pepper is active at once, is retired by hand alone, and then stays: a
//! hash that was made with it cannot be checked without.
//!
//! ```text
//! Next -- after the publish lead, when the active one is old --> Active -- when the next takes over --> Retired --> deleted
//!   \_____________________________________ Killed <________________/_____________________________________/
//! ```
//!
//! Ages are witnessed: counted in the database, by replicas that watched the count stand still for so long. They watch
//! by a clock that does not jump (`auth/keys/service_clock.rs`). An age is never more than what has passed (but for a
//! millisecond at each change of a key), whatever wall clocks say.

use std::{fmt, str::FromStr, time::Duration};

use countersign_token::revocation::{MAX_STALENESS, RETENTION};

/// Time for which caches may keep a key set, as its Cache-Control says.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);

/// Time for which a key that signs no more is kept. A replica that has not heard of its end signs with it until the
/// replica's bound at most.
pub const RETIRED_KEY_TTL: Duration = Duration::from_secs(RETENTION.as_secs() + MAX_STALENESS.as_secs());

/// The purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Signs access tokens.
    AccessToken,
    /// Makes refresh tokens.
    RefreshToken,
    /// Goes into password hashes.
    Pepper,
}

/// The stage of a key's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Published, and signs nothing yet.
    Next,
    /// The key signs.
    Active,
    /// The key verifies what it has signed.
    Retired,
    /// The key is dead, and so are its tokens.
    Killed,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The purpose of the key.
    pub purpose: Purpose,
    /// 1, 2, 3 and so on for each purpose.
    pub number: u16,
    /// The name of the key in tokens.
    pub kid: String,
    /// The stage of its life.
    pub stage: Stage,
    /// Time for which at least the key has been at this stage.
    pub age: Duration,
}

/// The policy by which keys rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    /// Time for which a key is published before it signs.
    pub publish_lead: Duration,
    /// Time for which a key signs.
    pub lifetime: Duration,
}

/// A step that is due in the life of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Make the first key, which signs at once: nobody can have fetched another.
    First,
    /// Make the next key.
    Next,
    /// Let the key `next` take over from the key `active`.
    Rotate {
        /// The number of the key that signs.
        active: u16,
        /// The number of the one that shall.
        next: u16,
    },
    /// Delete a key that can verify nothing any more.
    Delete {
        /// The number of the key.
        number: u16,
    },
}

/// The step that is due for the keys of `purpose`.
pub fn due(keys: &[Key], purpose: Purpose, policy: KeyRotation) -> Option<Due> {
    let at = |stage: Stage| keys.iter().rev().find(move |key| key.purpose == purpose && key.stage == stage);
    let Some(active) = at(Stage::Active) else {
        return Some(Due::First);
    };
    if purpose == Purpose::Pepper {
        return None;
    }
    let Some(next) = at(Stage::Next) else {
        return Some(Due::Next);
    };
    if active.age >= policy.lifetime && publication_remaining(next, policy).is_zero() {
        return Some(Due::Rotate { active: active.number, next: next.number });
    }
    keys.iter().find(|key| key.purpose == purpose && is_over(key)).map(|key| Due::Delete { number: key.number })
}

/// Time until every replica has published `next` for the lead and no cache holds an older set. By then each replica has
/// read of it within the largest bound, or accepts and signs nothing until it has.
pub fn publication_remaining(next: &Key, policy: KeyRotation) -> Duration {
    (policy.publish_lead + MAX_STALENESS + JWKS_MAX_AGE).saturating_sub(next.age)
}

/// True if the last token that a key has signed is over. Keys of refresh tokens stay: sessions may live for years, and
/// a number is not used twice. Killed ones stay too: whoever has slept must not take one for lost.
fn is_over(key: &Key) -> bool {
    key.purpose == Purpose::AccessToken && key.stage == Stage::Retired && key.age >= RETIRED_KEY_TTL
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::RefreshToken, Self::Pepper];

    /// The name of the purpose as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
            Self::Pepper => "pepper",
        }
    }
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 4] = [Self::Next, Self::Active, Self::Retired, Self::Killed];

    /// The name of the stage as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Killed => "killed",
        }
    }
}

/// A name that is none of those that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a known name")
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Purpose {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name).ok_or(UnknownName)
    }
}

impl FromStr for Stage {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let all = [Self::Next, Self::Active, Self::Retired, Self::Killed];
        all.into_iter().find(|stage| stage.as_str() == name).ok_or(UnknownName)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const POLICY: KeyRotation =
        KeyRotation { publish_lead: Duration::from_secs(3600), lifetime: Duration::from_secs(7200) };

    fn key(number: u16, stage: Stage, minutes: u32) -> Key {
        Key { purpose: Purpose::AccessToken, number, kid: number.to_string(), stage, age: minutes * MINUTE }
    }

    #[test]
    fn each_state_has_one_thing_that_is_due() {
        use Stage::{Active, Killed, Next, Retired};
        let rotate = Some(Due::Rotate { active: 1, next: 2 });
        for (keys, expected) in [
            (vec![], Some(Due::First)),
            (vec![key(1, Killed, 0)], Some(Due::First)),
            (vec![key(1, Active, 0)], Some(Due::Next)),
            (vec![key(1, Active, 119), key(2, Next, 500)], None),
            (vec![key(1, Active, 500), key(2, Next, 69)], None),
            (vec![key(1, Active, 120), key(2, Next, 70)], rotate),
            (vec![key(1, Retired, 184), key(2, Active, 0), key(3, Next, 0)], None),
            (vec![key(1, Retired, 185), key(2, Active, 0), key(3, Next, 0)], Some(Due::Delete { number: 1 })),
            (vec![key(1, Killed, 999), key(2, Active, 0), key(3, Next, 0)], None),
            // Rotation comes before cleaning.
            (vec![key(0, Retired, 999), key(1, Active, 120), key(2, Next, 70)], rotate),
        ] {
            assert_eq!(due(&keys, Purpose::AccessToken, POLICY), expected, "{keys:?}");
        }
    }

    #[test]
    fn keys_of_refresh_tokens_are_not_deleted_and_purposes_do_not_mix() {
        let of = |key: Key| Key { purpose: Purpose::RefreshToken, ..key };
        let keys = [
            of(key(1, Stage::Retired, 1 << 20)),
            of(key(2, Stage::Active, 0)),
            of(key(3, Stage::Next, 0)),
            key(1, Stage::Active, 0),
        ];
        assert_eq!(due(&keys, Purpose::RefreshToken, POLICY), None);
        assert_eq!(due(&keys, Purpose::AccessToken, POLICY), Some(Due::Next));
    }

    /// A hash is replaced only when its owner logs in: age is no reason to replace or to delete its pepper.
    #[test]
    fn a_pepper_is_made_once_and_never_rotates_or_goes_by_itself() {
        let pepper = |number, stage| Key { purpose: Purpose::Pepper, ..key(number, stage, 1 << 20) };
        let keys = [pepper(1, Stage::Retired), pepper(2, Stage::Active)];
        assert_eq!(due(&keys, Purpose::Pepper, POLICY), None);
        assert_eq!(due(&keys[..1], Purpose::Pepper, POLICY), Some(Due::First));
    }

    #[test]
    fn names_are_read_back() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.as_str().parse(), Ok(purpose));
        }
        for stage in [Stage::Next, Stage::Active, Stage::Retired, Stage::Killed] {
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
        for bad in ["", "none", "Active", "killed "] {
            assert_eq!(bad.parse::<Stage>(), Err(UnknownName));
        }
    }

    proptest! {
        /// No key signs that was not published for the lead, whatever replicas do and when. None is deleted while a
        /// token of it may be alive.
        #[test]
        fn no_key_signs_before_its_lead_is_over(pauses in prop::collection::vec(0_u32..90, 1..200)) {
            let mut keys = vec![key(1, Stage::Active, 0)];
            for pause in pauses {
                for key in &mut keys {
                    key.age += pause * MINUTE;
                }
                while let Some(step) = due(&keys, Purpose::AccessToken, POLICY) {
                    let newest = keys.iter().map(|key| key.number).max().unwrap_or(0);
                    match step {
                        Due::First => prop_assert!(false, "there is always an active key"),
                        Due::Next => keys.push(key(newest + 1, Stage::Next, 0)),
                        Due::Rotate { active, next } => {
                            for key in &mut keys {
                                if key.number == next {
                                    prop_assert!(key.age > POLICY.publish_lead);
                                    (key.stage, key.age) = (Stage::Active, Duration::ZERO);
                                } else if key.number == active {
                                    (key.stage, key.age) = (Stage::Retired, Duration::ZERO);
                                }
                            }
                        }
                        Due::Delete { number } => {
                            let over = |key: &Key| key.number != number || key.age > RETENTION;
                            prop_assert!(keys.iter().all(over));
                            keys.retain(|key| key.number != number);
                        }
                    }
                }
                let active = keys.iter().filter(|key| key.stage == Stage::Active).count();
                prop_assert_eq!((active, keys.len() < 6), (1, true));
            }
        }
    }
}
