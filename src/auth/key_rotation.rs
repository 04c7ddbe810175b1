//! The life of the keys: made, published, rotated and deleted by whichever replica is first (`domain/key.rs` says what is
//! due), and killed by the operator. Each change goes into the revocation log, so that it reaches every replica within
//! the bound.
//!
//! No wall clock decides. The service's clock is a number in the database that a replica moves on by as much as it has
//! watched it stand still, by its own clock that does not jump; only one can, because the number must be what it saw.

use std::time::Duration;

use super::{Auth, keys::Witness};
use crate::{
    domain::{
        audit::{Actor, Event, Kind},
        key::{Due, Key, Purpose, Stage, due, unpublished_for},
        revocation::{Reason, Revocation, Subject},
    },
    error::Error,
    revocation::log::{Changes, Committed},
    store::{
        Conn,
        keys::{self, Date, StoredKey, StoredKeys},
    },
};

/// How often a replica looks after the keys.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// The least by which the service's clock is moved on.
const TICK: Duration = Duration::from_secs(30);
/// More changes than can be due at once.
pub(super) const MAX_STEPS: usize = 8;

impl Auth {
    /// Reads the keys and makes those that are missing. Replicas that start together end with the same.
    ///
    /// # Errors
    /// [`Error::Internal`] when a key that is needed cannot be used; [`Error::DatabaseUnavailable`].
    pub async fn start_keys(&self) -> Result<(), Error> {
        for purpose in self.kept_purposes() {
            let stored = self.stored_keys().await?;
            if stored.of(purpose).all(|s| s.key.stage != Stage::Active) {
                self.take(Due::First, purpose, &stored).await?;
            }
        }
        let stored = self.stored_keys().await?;
        let unusable = self.keys.install(stored.keys, &self.accounts);
        if let Some((_, error)) = unusable.into_iter().find(|(key, _)| key.stage == Stage::Active) {
            return Err(error);
        }
        self.choose_algorithm().await?;
        // What hinders a rotation does not hinder a start.
        if let Err(error) = self.look_after_keys().await {
            tracing::error!(%error, "the keys could not be looked after");
        }
        Ok(())
    }

    /// Looks after the keys until it is dropped.
    pub async fn keep_keys(&self) {
        loop {
            if let Err(error) = self.look_after_keys().await {
                tracing::warn!(%error, "the keys could not be looked after");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Moves the service's clock on, and does what is due.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`], [`Error::Internal`].
    pub async fn look_after_keys(&self) -> Result<(), Error> {
        self.witness().await?;
        self.keys.forget(&self.accounts);
        for kid in self.keys.revived(&self.stored_keys().await?.keys) {
            tracing::error!(kid, "the database has lost that this key was killed: killing it again");
            if let Err(error) = self.kill_key(&kid).await {
                tracing::warn!(%error, "another replica may have killed it first");
            }
        }
        let mut done = self.put_peppers_back().await;
        for purpose in self.kept_purposes() {
            // What hinders the one does not hinder the other.
            done = done.and(self.do_what_is_due(purpose).await);
        }
        // What was done has moved the clock: it is watched from here.
        self.witness().await?;
        done
    }

    /// Those that are to have a key: there is no pepper unless one is wanted.
    fn kept_purposes(&self) -> impl Iterator<Item = Purpose> {
        let pepper = self.accounts.policy.pepper.is_on();
        Purpose::ALL.into_iter().filter(move |purpose| pepper || *purpose != Purpose::Pepper)
    }

    async fn do_what_is_due(&self, purpose: Purpose) -> Result<(), Error> {
        for _ in 0..MAX_STEPS {
            let stored = self.stored_keys().await?;
            let keys: Vec<Key> = stored.keys.iter().map(|s| s.key.clone()).collect();
            let Some(step) = due(&keys, purpose, self.accounts.policy.keys) else {
                break;
            };
            self.take(step, purpose, &stored).await?;
        }
        Ok(())
    }

    async fn witness(&self) -> Result<(), Error> {
        let mut witness = self.keys.witness.lock().await;
        let mut conn = self.accounts.store.acquire().await?;
        let stands_at = keys::all(&mut conn).await?.witnessed_ms;
        let boot = self.accounts.clock.boot();
        let Some(seen) = witness.filter(|seen| seen.seen_ms == stands_at) else {
            *witness = Some(Witness { seen_ms: stands_at, seen_at: boot });
            return Ok(());
        };
        let passed = boot.since(seen.seen_at);
        if passed >= TICK {
            let passed_ms = i64::try_from(passed.as_millis()).map_err(Error::internal)?;
            // Followed since it was seen: by then it is known whether the database was restored.
            let followed = self.accounts.revocations.fresh(None).is_ok_and(|f| f.as_of_boot() >= seen.seen_at);
            let date = if followed { Date::Today } else { Date::Unknown };
            let moved = keys::witness(&mut conn, stands_at, passed_ms, date).await?;
            // Read after the answer, so that no moment is counted twice.
            let seen_at = self.accounts.clock.boot();
            *witness = moved.then_some(Witness { seen_ms: stands_at + passed_ms, seen_at });
        }
        Ok(())
    }

    /// Takes a step, unless another replica has been first.
    async fn take(&self, step: Due, purpose: Purpose, stored: &StoredKeys) -> Result<(), Error> {
        let with = |number: u16| {
            let found = stored.of(purpose).find(|s| s.key.number == number);
            found.ok_or_else(|| Error::internal("a key vanished"))
        };
        // Before the transaction: it takes time.
        let made = match step {
            Due::First => Some(self.make_key(purpose, stored, Stage::Active).await?),
            Due::Next => Some(self.make_key(purpose, stored, Stage::Next).await?),
            Due::Rotate { .. } | Due::Delete { .. } => None,
        };
        let mut tx = self.begin_change().await?;
        let (done, event) = match (step, &made) {
            (Due::Rotate { active, next }, _) => {
                let (active, next) = (with(active)?, with(next)?);
                (self.hand_over(&mut tx, &active.key, next).await?, self.key_event(Kind::KeyActivated, &next.key))
            }
            (Due::Delete { number }, _) => {
                let key = &with(number)?.key;
                (keys::delete(&mut tx, key).await?, self.key_event(Kind::KeyDeleted, key))
            }
            (Due::First | Due::Next, Some(made)) => {
                (keys::insert(&mut tx, made).await?, self.key_event(Kind::KeyCreated, &made.key))
            }
            (Due::First | Due::Next, None) => return Ok(()),
        };
        if done {
            self.commit_keys(tx, Reason::KeysRotated, vec![event]).await?;
        }
        Ok(())
    }

    pub(super) async fn begin_change(&self) -> Result<Conn, Error> {
        let mut tx = self.accounts.store.acquire().await?;
        tx.begin().await?;
        keys::touch_clock(&mut tx).await?;
        Ok(tx)
    }

    /// The next key takes over. The first statement decides: it holds for one replica alone.
    async fn hand_over(&self, tx: &mut Conn, active: &Key, next: &StoredKey) -> Result<bool, Error> {
        // What this replica cannot use it must not put into force.
        self.keys.try_open(next)?;
        Ok(keys::advance(tx, active, Stage::Retired).await? && keys::advance(tx, &next.key, Stage::Active).await?)
    }

    /// The settings say how the next key signs; one that was made by other settings has signed nothing yet.
    async fn choose_algorithm(&self) -> Result<(), Error> {
        let stored = self.stored_keys().await?;
        let wanted = self.accounts.policy.signing_algorithm.as_str();
        let is_other = |s: &&StoredKey| s.key.stage == Stage::Next && s.algorithm != wanted;
        let Some(other) = stored.of(Purpose::AccessToken).find(is_other) else {
            return Ok(());
        };
        let made = self.make_key(Purpose::AccessToken, &stored, Stage::Next).await?;
        let mut tx = self.begin_change().await?;
        if keys::delete(&mut tx, &other.key).await? && keys::insert(&mut tx, &made).await? {
            let events =
                vec![self.key_event(Kind::KeyDeleted, &other.key), self.key_event(Kind::KeyCreated, &made.key)];
            self.commit_keys(tx, Reason::KeysRotated, events).await?;
            tracing::warn!(before = other.algorithm, now = wanted, "the next key signs otherwise: it was made anew");
        }
        Ok(())
    }

    /// Lets the next key of `purpose` take over now, or a fresh pepper. Gives its name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it has not been published for long enough, and when there is no pepper;
    /// [`Error::DatabaseUnavailable`].
    pub async fn rotate_key(&self, purpose: Purpose) -> Result<String, Error> {
        if purpose == Purpose::Pepper {
            return self.rotate_pepper().await;
        }
        let stored = self.prove_keys().await?;
        let at = |stage: Stage| stored.of(purpose).find(|s| s.key.stage == stage);
        let (Some(active), Some(next)) = (at(Stage::Active), at(Stage::Next)) else {
            return Err(Error::invalid("rotate", "there is no next key yet: a running server makes one"));
        };
        let wait = unpublished_for(&next.key, self.accounts.policy.keys);
        if !wait.is_zero() {
            let wait = humantime::format_duration(Duration::from_secs(wait.as_secs() + 1));
            let advice = "a key that is compromised can be killed at once";
            return Err(Error::invalid(
                "rotate",
                format!("verifiers may not have the next key yet, for {wait}; {advice}"),
            ));
        }
        let (active, kid, next) = (active.key.number, next.key.kid.clone(), next.key.number);
        self.take(Due::Rotate { active, next }, purpose, &stored).await?;
        let signs = |s: &StoredKey| s.key.stage == Stage::Active && s.key.kid == kid;
        if self.stored_keys().await?.of(purpose).any(signs) { Ok(kid) } else { Err(Error::Conflict) }
    }

    pub(super) async fn stored_keys(&self) -> Result<StoredKeys, Error> {
        super::keys::stored(&self.accounts.store).await
    }

    /// The keys as an operator may be told of them.
    pub(super) async fn prove_keys(&self) -> Result<StoredKeys, Error> {
        keys::prove_all(&mut self.accounts.store.acquire().await?).await
    }

    pub(super) async fn make_key(
        &self,
        purpose: Purpose,
        stored: &StoredKeys,
        stage: Stage,
    ) -> Result<StoredKey, Error> {
        // A key that nobody else can open would stop everybody.
        if !self.keys.fits(stored) {
            return Err(Error::invalid(
                "master-key-file",
                "it opens none of the stored keys: is it that of the servers?",
            ));
        }
        let number = self.next_number(purpose, stored)?;
        let place = Key { purpose, number, kid: String::new(), stage, age: Duration::ZERO };
        self.keys.make(place, &self.accounts.policy, self.accounts.clock.now()).await
    }

    /// A number that no key has had, not even one that the database has lost.
    pub(super) fn next_number(&self, purpose: Purpose, stored: &StoredKeys) -> Result<u16, Error> {
        let newest = stored.of(purpose).map(|s| s.key.number).max().unwrap_or(0);
        newest.max(self.keys.newest(purpose)).checked_add(1).ok_or_else(|| Error::internal("key numbers are used up"))
    }

    pub(super) async fn commit_keys(&self, tx: Conn, reason: Reason, events: Vec<Event>) -> Result<Committed, Error> {
        let changed = Revocation::new(Subject::Keys, self.accounts.clock.now());
        let revocations = vec![(changed, reason)];
        self.accounts.log.commit(tx, Changes { revocations, events, ..Changes::default() }).await
    }

    pub(super) fn key_event(&self, kind: Kind, key: &Key) -> Event {
        // Servers change keys by themselves, and operators by the command line alone.
        let actor = match self.accounts.operator {
            Actor::CommandLine => Actor::CommandLine,
            _ => Actor::Server,
        };
        Event::new(kind, actor).detail(format!("{} {}", key.purpose.as_str(), key.kid))
    }
}

impl StoredKeys {
    pub(super) fn of(&self, purpose: Purpose) -> impl Iterator<Item = &StoredKey> {
        self.keys.iter().filter(move |s| s.key.purpose == purpose)
    }
}
