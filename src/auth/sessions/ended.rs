//! What a transaction has ended, until it commits.

use crate::{
    error::Error,
    revocation::log::{Changes, RevocationLog, Revoked},
    store::Conn,
};

/// What a transaction ended.
#[derive(Debug, Default)]
pub(in crate::auth) struct Ended {
    /// How many live sessions.
    pub(in crate::auth) sessions: usize,
    /// What it changed.
    pub(in crate::auth) changes: Changes,
}

impl Ended {
    /// Commits the transaction.
    pub(in crate::auth) async fn commit(self, log: &RevocationLog, tx: Conn) -> Result<Revoked, Error> {
        Ok(Revoked { sessions: self.sessions, committed: log.commit(tx, self.changes).await? })
    }
}
