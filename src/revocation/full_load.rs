//! The follower's reading of the whole log: at the start, and after a gap, when what is known is united with what is read and
//! what the database has lost is put back (REQUIREMENTS V4).

use super::{
    follower::{Follower, Following},
    index::Origin,
    restore,
};
use crate::{
    error::Error,
    store::{
        Conn, keys,
        revocation_log::{self, Extent},
    },
};

impl Follower {
    /// Reads the whole log, and takes its end for the place to go on from. Makes nothing fresh.
    pub(super) async fn load(&self, at: &mut Following) -> Result<(), Error> {
        let conn = at.conn()?;
        // In one transaction, because a pooler may give each a server of its own.
        conn.begin().await?;
        let extent = revocation_log::extent(conn).await?;
        if self.revocations.expect(extent.rows()) {
            // Nothing is known that the database could have lost.
            let apply = |page: Vec<_>| self.revocations.apply(&page, Origin::Log);
            revocation_log::read(conn, extent, 0, apply).await?;
            (self.install_keys)(keys::all(conn).await?.keys);
            conn.commit().await?;
        } else {
            self.unite(conn, extent).await?;
        }
        self.revocations.feed().reset(extent.newest);
        at.protocol.loaded(extent.log, extent.newest);
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
