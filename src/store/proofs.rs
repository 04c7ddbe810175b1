//! Table `proofs`. An answer may rest on what was read, and not on a write of its own. Then it may come from a database
//! that has been left behind. A primary that was cut off answers reads for ever. So such an answer is given only when
//! the transaction that read it has also written, and was answered as committed (rule M1 in docs/revocation.md).

use super::Conn;
use crate::error::Error;

/// A statement that reads and, in the same transaction and snapshot, writes a row here: answered, it was committed after it
/// has read.
macro_rules! proving {
    ($($text:expr),+ $(,)?) => {
        concat!(
            "WITH proof AS (INSERT INTO proofs AS p (slot, count) VALUES ((SELECT floor(random() * 64)::integer), 1) \
             ON CONFLICT (slot) DO UPDATE SET count = p.count + 1) ",
            $($text),+
        )
    };
}
pub(super) use proving;

/// Commits a transaction that has read something, so that what it has read may be answered.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`]: nothing may be answered.
pub async fn commit(tx: &mut Conn) -> Result<(), Error> {
    tx.execute(sqlx::query(proving!("SELECT"))).await?;
    tx.commit().await
}
