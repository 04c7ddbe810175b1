//! What an operator decides after the database was restored from a backup that is older than what the replicas remember:
//! sessions that had ended since are live rows again.

use time::OffsetDateTime;

use super::{
    Accounts,
    revoke::{Ended, Revoked},
};
use crate::{
    domain::{
        audit::{Event, Kind},
        claims::{at, unix},
        moment::later,
        revocation::{RETENTION, Reason, Revocation, Subject},
    },
    error::Error,
    store::{retrying, session_floor},
};

impl Accounts {
    /// Ends all sessions that were opened before a moment, in whole seconds and rounded up, as one row of the log: none of
    /// their rows is touched.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a moment in the future; [`Error::DatabaseUnavailable`].
    pub async fn end_sessions_opened_before(&self, before: OffsetDateTime) -> Result<Revoked, Error> {
        let now = self.clock.now();
        if before > now {
            return Err(Error::invalid("before", "a moment that has passed"));
        }
        let moment = unix(before).saturating_add(u64::from(before.nanosecond() > 0));
        let revocation = Revocation { subject: Subject::OpenedBefore(moment), expires_at: later(now, RETENTION) };
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            session_floor::date(&mut tx).await?;
            session_floor::raise(&mut tx, at(moment)).await?;
            let event = Event::new(Kind::SessionsEnded, self.operator).detail(format!("opened before {}", at(moment)));
            let event = Event { reason: Reason::Revoked.as_str(), ..event };
            let logged = vec![(revocation.clone(), Reason::Revoked)];
            self.commit(tx, Ended { logged, events: vec![event], ..Ended::default() }).await
        })
        .await
    }

    /// Lets the sessions live that a restored database shows. Says whether there was anything to decide.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn accept_restore(&self) -> Result<bool, Error> {
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            session_floor::date(&mut tx).await?;
            let undecided = session_floor::accept(&mut tx).await?;
            let event = Event::new(Kind::RestoreAccepted, self.operator);
            let events = undecided.then_some(event).into_iter().collect();
            self.commit(tx, Ended { events, ..Ended::default() }).await?;
            Ok(undecided)
        })
        .await
    }
}
