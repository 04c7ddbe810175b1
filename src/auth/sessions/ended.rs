//! The sessions that a transaction has ended, until it commits.

use crate::{
    error::Error,
    revocation::{
        changes::{Changes, Revoked},
        log::RevocationLog,
    },
    store::Conn,
};

/// The sessions that a transaction ended.
#[derive(Debug, Default)]
pub(in crate::auth) struct Ended {
    /// Number of sessions that were live.
    pub(in crate::auth) sessions: usize,
    /// Changes that the transaction writes to the log.
    pub(in crate::auth) changes: Changes,
}

impl Ended {
    /// Commits the transaction.
    pub(in crate::auth) async fn commit(self, log: &RevocationLog, tx: Conn) -> Result<Revoked, Error> {
        Ok(Revoked { sessions: self.sessions, committed: log.commit(tx, self.changes).await? })
    }
}
