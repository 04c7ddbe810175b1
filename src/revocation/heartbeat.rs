//! The follower's statements: what each step of the protocol sends, and what becomes of the answer.

use countersign_token::{ids::new_v7, index::Origin, revocation::Subject};

use super::{
    follower::{Follower, Following},
    protocol::{Outcome, Reply},
};
use crate::{
    domain::{
        replica,
        revocation::{LogEntry, Position},
    },
    error::Error,
    store::{
        Conn, identity,
        keys::{self, StoredKey},
        replicas::{self, HeartbeatReply, Member},
        revocations,
    },
};

impl Follower {
    pub(super) async fn connect(&self, at: &mut Following) -> Result<(), Error> {
        let began_at = self.clock.moment();
        at.conn = Some(self.store.connect().await?);
        at.protocol.connected(began_at);
        Ok(())
    }

    pub(super) async fn register(&self, at: &mut Following) -> Result<(), Error> {
        let (sent_at, report) = (self.clock.moment(), at.protocol.report());
        let name = new_v7(self.clock.now());
        let origin = replicas::register(at.conn()?, self.member(), report, name).await?;
        at.protocol.registered(sent_at, origin.log);
        self.heard_of(origin, at);
        Ok(())
    }

    pub(super) async fn heartbeat(&self, at: &mut Following) -> Result<bool, Error> {
        let (sent_at, report) = (self.clock.moment(), at.protocol.report());
        let applied = at.protocol.position();
        let heard = replicas::heartbeat(at.conn()?, self.member(), report).await?;
        let answered_at = self.clock.moment();
        self.revocations.note_clock(self.clock.distance_from(heard.clock, sent_at, answered_at));
        let (origin, rows) = (heard.origin, positions(&heard));
        let keys = self.new_keys(at, &heard).await?;
        // From here on nothing waits: what the protocol calls applied is applied.
        let reply = Reply { log: origin.log, head: heard.head, rows: &rows };
        let outcome = at.protocol.heartbeat_answered(sent_at, self.clock.moment(), reply);
        self.apply_reply(at, outcome, (applied, heard), keys);
        if self.heard_of(origin, at) {
            return Ok(false);
        }
        if let Outcome::Fresh(as_of) = outcome {
            self.revocations.publish(as_of);
        }
        self.settle(at, origin).await?;
        Ok(matches!(outcome, Outcome::Fresh(_)))
    }

    /// Makes nothing fresh. Says whether what was read followed on what was known.
    pub(super) async fn read(&self, at: &mut Following) -> Result<bool, Error> {
        let applied = at.protocol.position();
        let heard = replicas::read(at.conn()?, self.replica, applied).await?;
        let rows = positions(&heard);
        let keys = self.new_keys(at, &heard).await?;
        let reply = Reply { log: heard.origin.log, head: heard.head, rows: &rows };
        let outcome = at.protocol.read_answered(reply);
        self.apply_reply(at, outcome, (applied, heard), keys);
        Ok(outcome != Outcome::Gap)
    }

    /// The keys, if what was heard says that they have changed. Read before anything of it is applied, from the log that said
    /// so.
    async fn new_keys(&self, at: &mut Following, heard: &HeartbeatReply) -> Result<Option<Vec<StoredKey>>, Error> {
        let applied = at.protocol.position().seq;
        let is_news = |entry: &&LogEntry| entry.seq > applied && entry.revocation.subject == Subject::Keys;
        let Some(changed) = heard.entries.iter().rev().find(is_news) else {
            return Ok(None);
        };
        let stored = keys::all_since(at.conn()?, changed.position()).await?;
        let stored = stored.ok_or_else(|| Error::DatabaseUnavailable("the keys are of another log".into()))?;
        Ok(Some(stored.keys))
    }

    /// Applies what was heard, unless it does not follow on what was `applied`.
    fn apply_reply(
        &self,
        at: &Following,
        outcome: Outcome,
        (applied, heard): (Position, HeartbeatReply),
        keys: Option<Vec<StoredKey>>,
    ) {
        if outcome == Outcome::Gap {
            tracing::warn!(applied = applied.seq, head = heard.head, "gap in the revocation log: loading it in full");
            return;
        }
        if let Some(keys) = keys {
            (self.install_keys)(keys);
        }
        let mut new = heard.entries;
        new.retain(|entry| entry.seq > applied.seq);
        self.revocations.state().apply(new.iter().map(|entry| &entry.revocation), Origin::Log);
        let now = self.clock.now();
        new.iter().for_each(|entry| self.metrics.read_after(entry.age(now)));
        self.revocations.extend_feed(new, at.protocol.position());
    }

    /// Gives up all connections that were made so far, this one too, when the log is another than before. They may lead
    /// to the log before. Says whether the log is another.
    fn heard_of(&self, origin: replica::Origin, at: &mut Following) -> bool {
        let moved = self.confirmations.heard(origin);
        if moved {
            self.metrics.moves.inc();
            tracing::warn!("the database is another one than before: a standby was promoted, or a backup was restored");
            self.store.retire_connections();
            at.disconnect();
        }
        moved
    }

    /// Notes in the database that confirmations count on this log, so that replicas that start later need not find out again.
    async fn settle(&self, at: &mut Following, origin: replica::Origin) -> Result<(), Error> {
        if self.confirmations.settle().is_some() {
            tracing::info!("revocations are confirmed again");
        }
        if !origin.settled && self.confirmations.counts_on(origin.log) {
            identity::settle(at.conn()?, origin.log).await?;
        }
        Ok(())
    }

    /// Wakes the followers of all replicas.
    pub(super) async fn announce(&self, conn: &mut Conn) -> Result<(), Error> {
        if self.policy.notifications.are_on() { revocations::notify(conn, Some(self.replica)).await } else { Ok(()) }
    }

    fn member(&self) -> Member {
        Member { replica: self.replica, max_staleness: self.revocations.state().max_staleness() }
    }
}

fn positions(heard: &HeartbeatReply) -> Vec<Position> {
    heard.entries.iter().map(LogEntry::position).collect()
}
