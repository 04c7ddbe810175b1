//! The follower's reading of the whole log, at the start and after a gap. What is known is then united with what is
//! read, and what the database has lost is put back (REQUIREMENTS V4).

use std::time::Duration;

use countersign_token::{
    index::Origin,
    moment::{at, unix},
    revocation::{Revocation, Subject},
};
use time::OffsetDateTime;

use super::{
    follower::{Follower, Following},
    protocol::Evidence,
    restore,
};
use crate::{
    domain::{
        audit::{Actor, CallNames, Event, Kind},
        policy::AfterRestore,
        revocation::Reason,
    },
    error::Error,
    metrics::FullLoad,
    store::{
        Conn, audit, keys,
        revocation_log::{self, Extent},
        revocations, session_floor,
    },
};

impl Follower {
    /// Reads the whole log, and takes its end for the place to go on from. Makes nothing fresh.
    pub(super) async fn load(&self, at: &mut Following) -> Result<(), Error> {
        let (remembers, known) = (at.protocol.has_loaded(), at.protocol.position());
        self.metrics.full_loads.count(if remembers { FullLoad::Gap } else { FullLoad::Start });
        let conn = at.conn()?;
        // In one transaction, because a pooler may give each a server of its own.
        conn.begin().await?;
        let extent = revocation_log::extent(conn, known).await?;
        if self.revocations.state().reserve_if_empty(extent.rows()) {
            // Nothing is known that the database could have lost.
            let apply = |page: Vec<_>| self.revocations.state().apply(&page, Origin::Log);
            revocation_log::read(conn, extent, 0, apply).await?;
            (self.install_keys)(keys::all(conn).await?.keys);
            conn.commit().await?;
        } else {
            self.unite(conn, extent).await?;
        }
        let Extent { holds_known: continues, is_settled, age, .. } = extent;
        if (Evidence { remembers, continues, is_settled, age }).is_of_a_restore() {
            self.doubt(conn, age).await?;
        }
        self.revocations.feed().reset(extent.newest);
        at.protocol.loaded(extent.log, extent.newest);
        Ok(())
    }

    /// Sessions may have come back to life that nobody remembers to have ended: the operator decides, now or beforehand. One
    /// replica deals with it for all.
    async fn doubt(&self, conn: &mut Conn, age: Duration) -> Result<(), Error> {
        let age = age.as_secs();
        conn.begin().await?;
        let claimed = session_floor::claim(conn).await?;
        match self.policy.after_restore {
            AfterRestore::Ask => {
                session_floor::suspect(conn).await?;
                tracing::error!(
                    age,
                    "the database was restored from a backup that is so many seconds old: sessions that had ended since may be \
                     live again, and none that was opened before is refreshed until you decide by `countersign sessions end-all` \
                     or `countersign sessions accept-restore`"
                );
            }
            AfterRestore::EndAll if claimed => {
                end_opened_before(conn, self.clock.now()).await?;
                tracing::error!(
                    age,
                    "the database was restored from a backup: all sessions were ended, as the setting says"
                );
            }
            AfterRestore::EndAll => {}
            AfterRestore::Accept => {
                tracing::error!(age, "the database was restored from a backup: its sessions live, as the setting says");
            }
        }
        conn.commit().await?;
        self.announce(conn).await
    }

    async fn unite(&self, conn: &mut Conn, extent: Extent) -> Result<(), Error> {
        let mut logged = Vec::new();
        revocation_log::read(conn, extent, 0, |page| logged.extend(page)).await?;
        // After the head was read, so that what changes from now on is heard of.
        let stored = keys::all(conn).await?;
        conn.commit().await?;
        (self.install_keys)(stored.keys);
        let known = self.revocations.state().snapshot().flatten().collect();
        self.revocations.state().apply(&logged, Origin::Log);
        let restored = restore::restore_lost(conn, known, extent, &logged, self.clock.now()).await?;
        if restored > 0 {
            self.metrics.put_back.inc_by(restored as u64);
            tracing::error!(restored, "the database has lost revocations that were acknowledged: they were put back");
            self.announce(conn).await?;
        }
        Ok(())
    }
}

/// Ends the sessions that were opened before this moment.
async fn end_opened_before(tx: &mut Conn, now: OffsetDateTime) -> Result<(), Error> {
    // In whole seconds, as tokens say when their session was opened.
    let moment = unix(now) + 1;
    let subject = Subject::OpenedBefore(moment);
    session_floor::raise(tx, at(moment)).await?;
    let event = Event::new(Kind::SessionsEnded, Actor::Server).detail(format!("opened before {}", at(moment)));
    audit::insert(tx, &[Event { reason: Reason::Restored.as_str(), ..event }], &CallNames::default(), now).await?;
    let revocation = Revocation::new(subject, now);
    revocations::append(tx, &[(revocation, Reason::Restored)], now).await.map(drop)
}
