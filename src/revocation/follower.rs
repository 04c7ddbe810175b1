//! The follower: the task that keeps this replica's revocations fresh. At least once a second it beats: one statement
//! reports how far the replica has read, reads what is new, and commits. In between, when a hint says that there is something
//! new, it reads that and reports it by statements that commit nothing which has to last, and so wait for no disk.
//!
//! When the log says that the keys have changed they are read again, before the new state counts as known.
//!
//! Any gap (a new connection, a row that is not the one that was known, numbers that do not follow on) means a full load
//! (`full_load.rs`).

use std::{
    fmt,
    future::pending,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use super::{Revocations, index::Origin};
use crate::{
    clock::{Boot, Clock},
    config::Hints,
    domain::revocation::{LogEntry, Position, Subject},
    error::Error,
    store::{
        Conn, Store,
        keys::{self, StoredKey},
        replicas::{self, Beat, Heard},
    },
};

/// The longest pause between two beats, with hints and without.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_WITHOUT_HINTS: Duration = Duration::from_millis(100);
/// The shortest, however often one is asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// The pause after the first failure and the longest one, so that a database that comes back is noticed soon and not
/// flooded.
const BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// How long the hints' connection may be silent before it is made anew.
const SILENCE: Duration = Duration::from_secs(60);
/// The time between two collections of the index.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

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
    /// Asks for a beat before it is due.
    pub wake: Arc<Notify>,
    /// Whether hints are listened for.
    pub hints: Hints,
    /// There may be something new.
    pub hinted: Notify,
    /// How many statements have moved this replica's counter.
    pub beats: AtomicI64,
    /// Called when the keys have changed.
    pub install_keys: InstallKeys,
}

/// How far it has come on its connection.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// When the last statement was sent that moved this replica's counter.
    beaten_at: Boot,
    /// What is applied.
    position: Position,
    /// Up to where that has been reported.
    reported: i64,
}

/// The next statement.
#[derive(Clone, Copy, Debug)]
enum Step {
    Beat,
    Read,
}

impl Follower {
    /// Follows until `stop` resolves, and then takes the replica off the list. An outage is logged once when it begins
    /// and once when it ends.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.follow_until(stop) => {}
            () = self.listen() => {}
        }
    }

    async fn follow_until(&self, stop: impl Future<Output = ()>) {
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
                () = stop.as_mut() => return self.revocations.end(),
                () = sleep(self.jittered(back_off)) => {}
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Turns hints into wake-ups until it is dropped. Without hints the follower polls.
    async fn listen(&self) {
        if !self.hints.are_on() {
            return pending().await;
        }
        loop {
            if let Ok(mut listener) = self.store.listen().await {
                self.hinted.notify_one();
                // A connection that has been silent for long may be dead without knowing it: the next one at once.
                while let Ok(heard) = timeout(SILENCE, listener.hint()).await {
                    self.hinted.notify_one();
                    if heard.is_err() {
                        sleep(self.jittered(PAUSE)).await;
                        break;
                    }
                }
            } else {
                sleep(self.jittered(PAUSE)).await;
            }
        }
    }

    /// Ends without an error when `stop` has resolved.
    async fn follow(&self, mut stop: Pin<&mut impl Future<Output = ()>>, healthy: &mut bool) -> Result<(), Error> {
        let mut conn = self.store.connect().await?;
        let beaten_at = self.clock.boot();
        // On the list before the first beat is sent, so that a Revoke either counts this replica's bound or is read by
        // that beat.
        replicas::register(&mut conn, self.report(0)).await?;
        let mut progress = Progress { beaten_at, position: self.load(&mut conn).await?, reported: 0 };
        let (mut step, mut sent_at) = (Step::Beat, Instant::now());
        let (mut due, mut collected_at) = (sent_at, sent_at);
        loop {
            let whole = match step {
                Step::Beat => {
                    // From when it is sent: what a slow answer says is old already.
                    sent_at = Instant::now();
                    due = sent_at + self.pause();
                    if collected_at.elapsed() > COLLECT_EVERY {
                        self.revocations.collect();
                        collected_at = sent_at;
                    }
                    self.beat(&mut conn, &mut progress).await?
                }
                Step::Read => self.read(&mut conn, &mut progress).await?,
            };
            if !whole {
                due = Instant::now();
            }
            if !std::mem::replace(healthy, true) {
                tracing::info!("the revocation log is followed again");
            }
            step = tokio::select! {
                biased;
                () = stop.as_mut() => {
                    // Nobody waits for this replica from now on; if that cannot be said, the others wait for the bound.
                    self.revocations.end();
                    drop(replicas::leave(&mut conn, self.replica).await);
                    return Ok(());
                }
                () = sleep_until(due) => Step::Beat,
                () = self.asked_for_a_beat(sent_at) => Step::Beat,
                () = self.something_to_do(progress) => Step::Read,
            };
        }
    }

    async fn asked_for_a_beat(&self, last: Instant) {
        sleep_until(last + LEAST_PAUSE).await;
        self.wake.notified().await;
    }

    /// What is new is reported at once, because somebody may wait for it.
    async fn something_to_do(&self, progress: Progress) {
        if progress.reported == progress.position.seq {
            self.hinted.notified().await;
        }
    }

    /// Only a beat makes the state fresh, because only a beat commits a write: a database that accepts none is not the
    /// one that revocations are written to (REQUIREMENTS V9).
    ///
    /// And only a beat that was answered within the bound since the last one was sent. Others may have taken this replica
    /// for silent, and confirmed what this beat was too early to read; the next one reads it. Says whether it made fresh.
    async fn beat(&self, conn: &mut Conn, progress: &mut Progress) -> Result<bool, Error> {
        let sent_at = self.clock.boot();
        let heard = replicas::beat(conn, self.report(progress.position.seq)).await?;
        let broke_silence = self.clock.boot().since(progress.beaten_at) > self.revocations.max_staleness;
        progress.beaten_at = sent_at;
        let whole = self.take_over(conn, progress, heard).await? && !broke_silence;
        if whole {
            self.revocations.publish(sent_at);
        }
        Ok(whole)
    }

    /// Makes nothing fresh. Says whether what was read followed on what was known.
    async fn read(&self, conn: &mut Conn, progress: &mut Progress) -> Result<bool, Error> {
        let heard = replicas::read(conn, self.replica, progress.position.seq).await?;
        self.take_over(conn, progress, heard).await
    }

    /// Applies what was read, or loads everything if it does not follow on what is known: then it says false.
    async fn take_over(&self, conn: &mut Conn, progress: &mut Progress, heard: Heard) -> Result<bool, Error> {
        let applied = progress.position.seq;
        progress.reported = applied;
        if !follows_on(progress.position, heard.head, &heard.entries) {
            tracing::warn!(applied, head = heard.head, "gap in the revocation log: loading it in full");
            progress.position = self.load(conn).await?;
            return Ok(false);
        }
        if heard.entries.iter().any(|entry| entry.seq > applied && entry.revocation.subject == Subject::Keys) {
            (self.install_keys)(keys::all(conn).await?.keys);
        }
        self.revocations.apply(heard.entries.iter().map(|entry| &entry.revocation), Origin::Log);
        progress.position = at(heard.head, &heard.entries);
        self.revocations.extend_feed(heard.entries.into_iter().filter(|entry| entry.seq > applied), progress.position);
        Ok(true)
    }

    fn report(&self, applied_seq: i64) -> Beat {
        // Counted here: a counter that the database has lost must not come back to a number that it has had.
        let count = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        Beat { replica: self.replica, applied_seq, count, max_staleness: self.revocations.max_staleness }
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
