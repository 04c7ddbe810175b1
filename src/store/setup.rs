//! Settings and questions for each new connection, by one statement after the start, and not by options of the start,
//! which poolers refuse. The server cuts short what we have given up on: the backend of a lost replica would hold its
//! locks until TCP notices.

use std::{fmt::Write as _, time::Duration};

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use super::address::Wanted;

/// Settings of all connections. Compiling a statement takes longer than any of ours; warnings are heard whatever the
/// role's settings say (`notice.rs`).
const FOR_ALL: [(&str, &str); 2] = [("jit", "off"), ("client_min_messages", "warning")];

/// The statement, and which server it is for.
#[derive(Clone)]
pub(super) struct Setup {
    statement: String,
    wanted: Wanted,
}

impl Setup {
    /// A setup with the server's deadlines, and `more`.
    pub(super) fn new(wanted: Wanted, deadline: Duration, more: &[(&str, &str)]) -> Self {
        let millis = i32::try_from(deadline.as_millis()).unwrap_or(i32::MAX).to_string();
        let deadlines =
            [("statement_timeout", millis.as_str()), ("idle_in_transaction_session_timeout", millis.as_str())];
        Self::of(wanted, FOR_ALL.iter().chain(&deadlines).chain(more))
    }

    /// A setup without any deadline of the server's.
    pub(super) fn patient(wanted: Wanted) -> Self {
        let none = [("statement_timeout", "0"), ("lock_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];
        Self::of(wanted, FOR_ALL.iter().chain(&none))
    }

    fn of<'s>(wanted: Wanted, settings: impl Iterator<Item = &'s (&'s str, &'s str)>) -> Self {
        let mut statement = String::new();
        for (name, value) in settings {
            // Writing to a string cannot fail.
            let _ = write!(statement, "SET {name} = '{value}'; ");
        }
        // What was answered as committed is on the standby that may be promoted, whatever the role's settings say.
        statement.push_str(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
             CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') \
               THEN set_config('synchronous_commit', 'on', false) END",
        );
        Self { statement, wanted }
    }

    /// Sets the connection up.
    ///
    /// # Errors
    /// Those of the statement, and one for a server that is not the wanted kind.
    pub(super) async fn apply(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let asked = sqlx::raw_sql(AssertSqlSafe(self.statement.clone()));
        let row = connection.fetch_one(asked).await?;
        let (standby, read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        match self.wanted {
            Wanted::Primary if standby => Err(unwanted("the server is a standby")),
            Wanted::ReadWrite if read_only => Err(unwanted("the server accepts no writes")),
            _ => Ok(()),
        }
    }
}

fn unwanted(why: &'static str) -> sqlx::Error {
    sqlx::Error::Configuration(why.into())
}
