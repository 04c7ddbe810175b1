//! Replication as far as it can be seen from a connection: settings and counts. Whether a commit survives a failover cannot be
//! seen: that depends on which node is promoted.

use sqlx::query_as;

use super::Conn;
use crate::error::Error;

/// Replication as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Replication {
    /// The setting `synchronous_standby_names`: which standbys a commit waits for; empty for none.
    pub synchronous_standby_names: String,
    /// The standbys that are connected.
    pub standbys: i64,
}

/// The meaning of the settings for promise P1, as README says for each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Commits wait for a standby.
    Waiting,
    /// There are standbys, and no commit waits for them.
    NotWaiting,
    /// There is no standby.
    Alone,
}

impl Replication {
    /// The case of these settings.
    pub fn seen(&self) -> Seen {
        match (self.synchronous_standby_names.trim(), self.standbys) {
            ("", 0) => Seen::Alone,
            ("", _) => Seen::NotWaiting,
            _ => Seen::Waiting,
        }
    }
}

/// Looks at the server of this connection.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn look(conn: &mut Conn) -> Result<Replication, Error> {
    let statement = query_as::<_, Replication>(
        "SELECT current_setting('synchronous_standby_names') AS synchronous_standby_names, \
         (SELECT count(*) FROM pg_stat_replication) AS standbys",
    );
    conn.fetch_optional(statement).await?.ok_or_else(|| Error::internal("the database does not say how it replicates"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commits_wait_for_is_seen_and_nothing_more() {
        for (names, standbys, expected) in [
            ("", 0, Seen::Alone),
            ("", 1, Seen::NotWaiting),
            (" ", 1, Seen::NotWaiting),
            ("ANY 1 (a, b)", 2, Seen::Waiting),
            ("a", 0, Seen::Waiting),
        ] {
            let replication = Replication { synchronous_standby_names: names.to_owned(), standbys };
            assert_eq!(replication.seen(), expected, "{names:?} {standbys}");
        }
    }
}
