//! The follower's reading of the whole log: at the start, and after a gap, when what is known is united with what is read and
//! what the database has lost is put back (REQUIREMENTS V4).

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    follower::{Follower, Following},
    index::Origin,
    protocol::Evidence,
    restore,
};
use crate::{
    config::AfterRestore,
    domain::{
        claims::{at, unix},
        revocation::{RETENTION, Reason, Revocation, Subject},
    },
    error::Error,
    store::{
        Conn, keys,
        revocation_log::{self, Extent},
        revocations, session_floor,
    },
};

impl Follower {
    /// Reads the whole log, and takes its end for the place to go on from. Makes nothing fresh.
    pub(super) async fn load(&self, at: &mut Following) -> Result<(), Error> {
        let (remembers, known) = (at.protocol.has_loaded(), at.protocol.position());
        let conn = at.conn()?;
        // In one transaction, because a pooler may give each a server of its own.
        conn.begin().await?;
        let extent = revocation_log::extent(conn, known).await?;
        if self.revocations.reserve_if_empty(extent.rows()) {
            // Nothing is known that the database could have lost.
            let apply = |page: Vec<_>| self.revocations.apply(&page, Origin::Log);
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

    /// Sessions may have come back to life that nobody remembers to have ended: the operator decides, now or beforehand.
    async fn doubt(&self, conn: &mut Conn, age: Duration) -> Result<(), Error> {
        let age = age.as_secs();
        match self.after_restore {
            AfterRestore::Ask => {
                session_floor::suspect(conn).await?;
                tracing::error!(
                    age,
                    "the database was restored from a backup that is so many seconds old: sessions that had ended since may be \
                     live again, and none that was opened before is refreshed until you decide by `countersign sessions end-all` \
                     or `countersign sessions accept-restore`"
                );
            }
            AfterRestore::EndAll => {
                let now = self.clock.now();
                end_opened_before(conn, now).await?;
                self.announce(conn).await?;
                tracing::error!(
                    age,
                    "the database was restored from a backup: all sessions were ended, as the setting says"
                );
            }
            AfterRestore::Accept => {
                tracing::error!(age, "the database was restored from a backup: its sessions live, as the setting says");
            }
        }
        Ok(())
    }

    async fn unite(&self, conn: &mut Conn, extent: Extent) -> Result<(), Error> {
        let mut logged = Vec::new();
        revocation_log::read(conn, extent, 0, |page| logged.extend(page)).await?;
        // After the head was read, so that what changes from now on is heard of.
        let stored = keys::all(conn).await?;
        conn.commit().await?;
        (self.install_keys)(stored.keys);
        let known = self.revocations.live();
        self.revocations.apply(&logged, Origin::Log);
        let restored = restore::put_back(conn, known, (extent, &logged), self.clock.now()).await?;
        if restored > 0 {
            tracing::error!(restored, "the database has lost revocations that were acknowledged: they were put back");
            self.announce(conn).await?;
        }
        Ok(())
    }
}

/// Ends the sessions that were opened before this moment.
async fn end_opened_before(conn: &mut Conn, now: OffsetDateTime) -> Result<(), Error> {
    // In whole seconds, as tokens say when their session was opened.
    let moment = unix(now) + 1;
    let subject = Subject::OpenedBefore(moment);
    conn.begin().await?;
    session_floor::raise(conn, at(moment)).await?;
    revocations::append(conn, &[(Revocation { subject, expires_at: now + RETENTION }, Reason::Restored)], now).await?;
    conn.commit().await
}
