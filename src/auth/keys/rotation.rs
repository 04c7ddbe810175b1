//! The life of the keys: made, published, rotated and deleted by whichever replica is first (`domain/key.rs` says what is
//! due).

use std::time::Duration;

use super::{Keys, change::MAX_STEPS};
use crate::{
    domain::{
        audit::Kind,
        key::{Due, Key, KeyRotation, Purpose, Stage, due, publication_remaining},
        revocation::Reason,
    },
    error::Error,
    store::{
        Conn,
        keys::{self, StoredKey, StoredKeys},
    },
};

/// Time between two looks of a replica at its keys.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Seconds until the key that signs access tokens is due to be replaced; negative when that is late.
fn rotation_due(keys: &[Key], policy: KeyRotation) -> f64 {
    let of = |stage| keys.iter().rev().find(|key| key.purpose == Purpose::AccessToken && key.stage == stage);
    let age = of(Stage::Active).map_or(Duration::ZERO, |key| key.age);
    let published = of(Stage::Next).map_or(Duration::ZERO, |next| publication_remaining(next, policy));
    (policy.lifetime.as_secs_f64() - age.as_secs_f64()).max(published.as_secs_f64())
}

impl Keys {
    /// Reads the keys and makes those that are missing. Replicas that start together end with the same.
    ///
    /// # Errors
    /// [`Error::Internal`] when a key that is needed cannot be used; [`Error::DatabaseUnavailable`].
    pub async fn start(&self) -> Result<(), Error> {
        for purpose in self.kept_purposes() {
            let stored = self.stored().await?;
            if stored.of(purpose).all(|s| s.key.stage != Stage::Active) {
                self.take(Due::First, purpose, &stored).await?;
            }
        }
        let stored = self.stored().await?;
        let unusable = self.install(stored.keys);
        if let Some((_, error)) = unusable.into_iter().find(|(key, _)| key.stage == Stage::Active) {
            return Err(error);
        }
        self.choose_algorithm().await?;
        // What hinders a rotation does not hinder a start.
        if let Err(error) = self.look_after().await {
            tracing::error!(%error, "the keys could not be looked after");
        }
        Ok(())
    }

    /// Looks after the keys until it is dropped.
    pub async fn keep(&self) {
        loop {
            if let Err(error) = self.look_after().await {
                tracing::warn!(%error, "the keys could not be looked after");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Moves the service's clock on, and does what is due.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`], [`Error::Internal`].
    pub async fn look_after(&self) -> Result<(), Error> {
        self.service_clock.witness(&self.base).await?;
        self.forget();
        let stored = self.stored().await?;
        self.watch_damage(&stored.keys);
        for kid in self.unkilled_in_database(&stored.keys) {
            tracing::error!(kid, "the database has lost that this key was killed: killing it again");
            if let Err(error) = self.kill(&kid).await {
                tracing::warn!(%error, "another replica may have killed it first");
            }
        }
        let mut done = self.put_peppers_back().await;
        for purpose in self.kept_purposes() {
            // What hinders the one does not hinder the other.
            done = done.and(self.do_what_is_due(purpose).await);
        }
        // What was done has moved the clock: it is watched from here.
        self.service_clock.witness(&self.base).await?;
        done
    }

    /// The purposes that are to have a key: there is no pepper unless one is wanted.
    fn kept_purposes(&self) -> impl Iterator<Item = Purpose> {
        let pepper = self.policy.pepper.is_on();
        Purpose::ALL.into_iter().filter(move |purpose| pepper || *purpose != Purpose::Pepper)
    }

    async fn do_what_is_due(&self, purpose: Purpose) -> Result<(), Error> {
        for _ in 0..MAX_STEPS {
            let stored = self.stored().await?;
            let keys: Vec<Key> = stored.keys.iter().map(|s| s.key.clone()).collect();
            let Some(step) = due(&keys, purpose, self.policy.rotation) else {
                if purpose == Purpose::AccessToken {
                    self.base.metrics.gauges.set_next_rotation(rotation_due(&keys, self.policy.rotation));
                }
                break;
            };
            self.take(step, purpose, &stored).await?;
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
            Due::First => Some(self.make(purpose, stored, Stage::Active).await?),
            Due::Next => Some(self.make(purpose, stored, Stage::Next).await?),
            Due::Rotate { .. } | Due::Delete { .. } => None,
        };
        let mut tx = self.begin().await?;
        let (done, event) = match (step, &made) {
            (Due::Rotate { active, next }, _) => {
                let (active, next) = (with(active)?, with(next)?);
                (self.hand_over(&mut tx, &active.key, next).await?, self.event(Kind::KeyActivated, &next.key))
            }
            (Due::Delete { number }, _) => {
                let key = &with(number)?.key;
                (keys::delete(&mut tx, key).await?, self.event(Kind::KeyDeleted, key))
            }
            (Due::First | Due::Next, Some(made)) => {
                (keys::insert(&mut tx, made).await?, self.event(Kind::KeyCreated, &made.key))
            }
            (Due::First | Due::Next, None) => return Ok(()),
        };
        if done {
            self.commit(tx, Reason::KeysRotated, vec![event]).await?;
        }
        Ok(())
    }

    /// The next key takes over. The first statement decides: it holds for one replica alone.
    async fn hand_over(&self, tx: &mut Conn, active: &Key, next: &StoredKey) -> Result<bool, Error> {
        // What this replica cannot use it must not put into force.
        self.vault.try_open(next)?;
        Ok(keys::advance(tx, active, Stage::Retired).await? && keys::advance(tx, &next.key, Stage::Active).await?)
    }

    /// The settings say how the next key signs; one that was made by other settings has signed nothing yet.
    async fn choose_algorithm(&self) -> Result<(), Error> {
        let stored = self.stored().await?;
        let wanted = self.policy.algorithm.as_str();
        let is_other = |s: &&StoredKey| s.key.stage == Stage::Next && s.algorithm != wanted;
        let Some(other) = stored.of(Purpose::AccessToken).find(is_other) else {
            return Ok(());
        };
        let made = self.make(Purpose::AccessToken, &stored, Stage::Next).await?;
        let mut tx = self.begin().await?;
        if keys::delete(&mut tx, &other.key).await? && keys::insert(&mut tx, &made).await? {
            let events = vec![self.event(Kind::KeyDeleted, &other.key), self.event(Kind::KeyCreated, &made.key)];
            self.commit(tx, Reason::KeysRotated, events).await?;
            tracing::warn!(before = other.algorithm, now = wanted, "the next key signs otherwise: it was made anew");
        }
        Ok(())
    }

    /// Lets the next key of `purpose` take over now, or a fresh pepper. Gives its name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it has not been published for long enough, and when there is no pepper;
    /// [`Error::DatabaseUnavailable`].
    pub async fn rotate(&self, purpose: Purpose) -> Result<String, Error> {
        if purpose == Purpose::Pepper {
            return self.rotate_pepper().await;
        }
        let stored = self.prove().await?;
        let at = |stage: Stage| stored.of(purpose).find(|s| s.key.stage == stage);
        let (Some(active), Some(next)) = (at(Stage::Active), at(Stage::Next)) else {
            return Err(Error::invalid("rotate", "there is no next key yet: a running server makes one"));
        };
        let wait = publication_remaining(&next.key, self.policy.rotation);
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
        if self.stored().await?.of(purpose).any(signs) { Ok(kid) } else { Err(Error::Conflict) }
    }
}
