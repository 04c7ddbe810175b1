//! The follower: the task that keeps this replica's revocations fresh. With each beat, one statement reports how far the
//! replica has read and reads what is new. Woken by a hint, and at least once a second.
//!
//! When the log says that the keys have changed they are read again, before the new state counts as known.
//!
//! Any gap (a new connection, a row that is not the one that was known, numbers that do not follow on) means a full load;
//! what is known is united with what is loaded, and what the database has lost is put back (REQUIREMENTS V4).

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use super::{Revocations, feed::Position, restore};
use crate::{
    clock::{Boot, Clock},
    config::Hints,
    domain::revocation::{LogEntry, Subject},
    error::Error,
    store::{
        Conn, Store,
        keys::{self, StoredKey},
        replicas::{self, Beat},
        revocations,
    },
};

/// The longest pause between two beats, with hints and without.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_WITHOUT_HINTS: Duration = Duration::from_millis(100);
/// The pause after the first failure and the longest one, so that a database that comes back is noticed soon and not
/// flooded.
const BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// How long the hints' connection may be silent before it is made anew.
const SILENCE: Duration = Duration::from_secs(60);
/// Beats between two collections of the index.
const COLLECT_EVERY: u32 = 60;

/// Takes over the keys as they are stored now. Opening them is not the business of this module.
pub type InstallKeys = Box<dyn Fn(Vec<StoredKey>) + Send + Sync>;

/// Keeps [`Revocations`] fresh.
pub struct Follower {
    /// This replica on the list.
    pub replica: Uuid,
    /// The database.
    pub store: Store,
    /// What it keeps fresh.
    pub revocations: Arc<Revocations>,
    /// The time.
    pub clock: Clock,
    /// Wakes it before its pause is over.
    pub wake: Arc<Notify>,
    /// Whether hints are listened for.
    pub hints: Hints,
    /// Called when the keys have changed.
    pub install_keys: InstallKeys,
}

/// The last statement that moved this replica's counter.
#[derive(Clone, Copy, Debug)]
struct Beaten {
    sent_at: Boot,
    position: Position,
    next: Next,
}

/// When the next beat is due.
#[derive(Clone, Copy, Debug)]
enum Next {
    AtOnce,
    AfterAPause,
}

impl Follower {
    /// Follows until `stop` resolves, and then takes the replica off the list. An outage is logged once when it begins
    /// and once when it ends.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (mut healthy, mut back_off) = (true, BACK_OFF);
        loop {
            let Err(error) = self.follow(stop.as_mut(), &mut healthy).await else {
                return;
            };
            if std::mem::replace(&mut healthy, false) {
                tracing::error!(%error, "the revocation log cannot be followed; verifying goes on until the bound");
                back_off = BACK_OFF;
            }
            tokio::select! {
                () = stop.as_mut() => return,
                _ = timeout(self.jittered(back_off), self.wake.notified()) => {}
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Turns hints into wake-ups until it is dropped. Without hints the follower polls.
    pub async fn listen(&self) {
        if self.hints == Hints::Off {
            return;
        }
        loop {
            if let Ok(mut listener) = self.store.listen().await {
                self.wake.notify_one();
                // A connection that has been silent for long may be dead without knowing it.
                while let Ok(Ok(())) = timeout(SILENCE, listener.hint()).await {
                    self.wake.notify_one();
                }
            }
            tokio::time::sleep(self.jittered(PAUSE)).await;
        }
    }

    /// Ends without an error when `stop` has resolved.
    async fn follow(&self, mut stop: Pin<&mut impl Future<Output = ()>>, healthy: &mut bool) -> Result<(), Error> {
        let mut conn = self.store.connect().await?;
        let sent_at = self.clock.boot();
        // On the list before the first beat is sent, so that a Revoke either counts this replica's bound or is read by
        // that beat.
        replicas::register(&mut conn, self.report(0)).await?;
        let mut last = Beaten { sent_at, position: self.load(&mut conn).await?, next: Next::AtOnce };
        for beats in 1_u32.. {
            last = self.beat(&mut conn, last).await?;
            if !std::mem::replace(healthy, true) {
                tracing::info!("the revocation log is followed again");
            }
            if beats.is_multiple_of(COLLECT_EVERY) {
                self.revocations.collect();
            }
            let pause = match last.next {
                Next::AtOnce => Duration::ZERO,
                // After a slow answer at once, because what it said is old already.
                Next::AfterAPause => self.pause().saturating_sub(self.clock.boot().since(last.sent_at)),
            };
            tokio::select! {
                () = stop.as_mut() => {
                    // If it fails, the others wait for the bound.
                    drop(replicas::leave(&mut conn, self.replica).await);
                    return Ok(());
                }
                _ = timeout(pause, self.wake.notified()) => {}
            }
        }
        Ok(())
    }

    /// Only a beat makes the state fresh, because only a beat commits a write: a database that accepts none is not the
    /// one that revocations are written to (REQUIREMENTS V9).
    ///
    /// And only a beat that was answered within the bound since the last one was sent. Others may have taken this replica
    /// for silent, and confirmed what this beat was too early to read; the next one reads it.
    async fn beat(&self, conn: &mut Conn, last: Beaten) -> Result<Beaten, Error> {
        let sent_at = self.clock.boot();
        let Position { seq: applied, .. } = last.position;
        let heard = replicas::beat(conn, self.report(applied)).await?;
        let silent_for = self.clock.boot().since(last.sent_at);
        if !follows_on(last.position, heard.head, &heard.entries) {
            tracing::warn!(applied, head = heard.head, "gap in the revocation log: loading it in full");
            return Ok(Beaten { sent_at, position: self.load(conn).await?, next: Next::AtOnce });
        }
        if heard.entries.iter().any(|entry| entry.seq > applied && entry.revocation.subject == Subject::Keys) {
            (self.install_keys)(keys::all(conn).await?.keys);
        }
        self.revocations.apply(heard.entries.iter().map(|entry| &entry.revocation));
        let position = at(heard.head, &heard.entries);
        self.revocations.feed().extend(heard.entries.into_iter().filter(|entry| entry.seq > applied), position);
        let broke_silence = silent_for > self.revocations.max_staleness;
        if !broke_silence {
            self.revocations.publish(sent_at);
        }
        // What is new is reported at once, because somebody may wait for it.
        let at_once = broke_silence || heard.head > applied;
        let next = if at_once { Next::AtOnce } else { Next::AfterAPause };
        Ok(Beaten { sent_at, position, next })
    }

    async fn load(&self, conn: &mut Conn) -> Result<Position, Error> {
        let (head, entries) = revocations::load(conn, 0, self.clock.now()).await?;
        // After the head was read, so that what changes from now on is heard of.
        (self.install_keys)(keys::all(conn).await?.keys);
        let known = self.revocations.live();
        self.revocations.apply(entries.iter().map(|entry| &entry.revocation));
        let restored = restore::put_back(conn, known, (head, &entries), self.clock.now()).await?;
        if restored > 0 {
            tracing::error!(restored, "the database has lost revocations that were acknowledged: they were put back");
        }
        let position = at(head, &entries);
        self.revocations.feed().reset(position);
        Ok(position)
    }

    fn report(&self, applied_seq: i64) -> Beat {
        Beat { replica: self.replica, applied_seq, max_staleness: self.revocations.max_staleness }
    }

    fn pause(&self) -> Duration {
        match self.hints {
            Hints::On => PAUSE,
            Hints::Off => PAUSE_WITHOUT_HINTS,
        }
    }

    /// Half of it to all of it, each replica its own part, so that they do not come back in step.
    fn jittered(&self, pause: Duration) -> Duration {
        let [.., last] = self.replica.into_bytes();
        pause / 2 + pause / 2 * u32::from(last) / 255
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// The position after the row `head`.
fn at(head: i64, entries: &[LogEntry]) -> Position {
    Position { seq: head, id: entries.iter().find(|entry| entry.seq == head).map(|entry| entry.id) }
}

/// Whether `entries` are exactly the known row and those after it up to `head`.
fn follows_on(position: Position, head: i64, entries: &[LogEntry]) -> bool {
    let (known, new) = match entries.split_first() {
        Some((first, rest)) if first.seq == position.seq => (Some(first.id), rest),
        _ => (None, entries),
    };
    known == position.id && position.seq <= head && new.iter().map(|entry| entry.seq).eq(position.seq + 1..=head)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::domain::{
        ids::{SessionId, new_v7},
        revocation::Revocation,
    };

    /// Rows with these numbers, whose ids begin a new log at `generation`.
    fn entries(seqs: &[i64], generation: u128) -> Vec<LogEntry> {
        let now = OffsetDateTime::UNIX_EPOCH;
        let entry = |seq: &i64| LogEntry {
            seq: *seq,
            id: Uuid::from_u128(generation + u128::from(seq.unsigned_abs())),
            revocation: Revocation { subject: Subject::Session(SessionId(new_v7(now))), expires_at: now },
        };
        seqs.iter().map(entry).collect()
    }

    #[test]
    fn v4_a_gap_of_any_kind_is_noticed() {
        let (start, fourth) = (at(0, &[]), at(4, &entries(&[4], 0)));
        for (position, head, seqs, expected) in [
            (start, 0, &[][..], true),
            (start, 2, &[1, 2], true),
            (start, 2, &[2], false),
            (fourth, 4, &[4], true),
            (fourth, 6, &[4, 5, 6], true),
            (fourth, 4, &[], false),
            (fourth, 6, &[5, 6], false),
            (fourth, 6, &[4, 6], false),
            (fourth, 6, &[4, 5], false),
            (fourth, 6, &[4], false),
            (fourth, 7, &[4, 5, 7], false),
            (fourth, 3, &[], false),
        ] {
            assert_eq!(follows_on(position, head, &entries(seqs, 0)), expected, "{position:?} {head} {seqs:?}");
            // The same numbers in a log that was written anew.
            let known = position.seq == 0;
            assert_eq!(follows_on(position, head, &entries(seqs, 1000)), expected && known);
        }
    }
}
