//! The follower's reading of the whole log: at the start, and after a gap, when what is known is united with what is read and
//! what the database has lost is put back (REQUIREMENTS V4).

use super::{follower::Follower, index::Origin, restore};
use crate::{
    domain::revocation::Position,
    error::Error,
    store::{
        Conn, keys,
        revocation_log::{self, Extent},
    },
};

impl Follower {
    /// Reads the whole log, and gives the place after it. Makes nothing fresh.
    pub(super) async fn load(&self, conn: &mut Conn) -> Result<Position, Error> {
        let extent = revocation_log::extent(conn).await?;
        if self.revocations.expect(extent.rows()) {
            // Nothing is known that the database could have lost.
            let apply = |page: Vec<_>| self.revocations.apply(&page, Origin::Log);
            revocation_log::read(conn, extent, 0, apply).await?;
            (self.install_keys)(keys::all(conn).await?.keys);
        } else {
            self.unite(conn, extent).await?;
        }
        let position = Position { seq: extent.head, id: extent.newest };
        self.revocations.feed().reset(position);
        Ok(position)
    }

    async fn unite(&self, conn: &mut Conn, extent: Extent) -> Result<(), Error> {
        let mut logged = Vec::new();
        revocation_log::read(conn, extent, 0, |page| logged.extend(page)).await?;
        // After the head was read, so that what changes from now on is heard of.
        (self.install_keys)(keys::all(conn).await?.keys);
        let known = self.revocations.live();
        self.revocations.apply(&logged, Origin::Log);
        let hint = self.hints.are_on();
        let restored = restore::put_back(conn, known, (extent, &logged), self.clock.now(), hint).await?;
        if restored > 0 {
            tracing::error!(restored, "the database has lost revocations that were acknowledged: they were put back");
        }
        Ok(())
    }
}
