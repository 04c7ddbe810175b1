//! Decisions of an operator after the database was restored from a backup that is older than what the replicas
//! remember. Sessions that had ended since are live rows again.

use countersign_token::{
    moment::{at, unix},
    revocation::{Revocation, Subject},
};
use time::OffsetDateTime;

use super::Sessions;
use crate::{
    domain::{
        audit::{Event, Kind},
        revocation::Reason,
    },
    error::Error,
    revocation::changes::{Changes, Committed},
    store::{retrying, session_floor},
};

impl Sessions {
    /// Ends all sessions that were opened before a moment, in whole seconds and rounded up. That is one row of the log:
    /// none of their rows is touched.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a moment in the future; [`Error::DatabaseUnavailable`].
    pub async fn end_opened_before(&self, before: OffsetDateTime) -> Result<Committed, Error> {
        let now = self.base.clock.now();
        if before > now {
            return Err(Error::invalid("before", "a moment that has passed"));
        }
        let moment = unix(before).saturating_add(u64::from(before.nanosecond() > 0));
        let revocation = Revocation::new(Subject::OpenedBefore(moment), now);
        retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            session_floor::date(&mut tx).await?;
            session_floor::raise(&mut tx, at(moment)).await?;
            let event =
                Event::new(Kind::SessionsEnded, self.base.operator).detail(format!("opened before {}", at(moment)));
            let event = Event { reason: Reason::Revoked.as_str(), ..event };
            let revocations = vec![(revocation.clone(), Reason::Revoked)];
            self.base.log.commit(tx, Changes { revocations, events: vec![event], ..Changes::default() }).await
        })
        .await
    }

    /// Lets the sessions live that a restored database shows. Says whether there was anything to decide.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn accept_restore(&self) -> Result<bool, Error> {
        retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            session_floor::date(&mut tx).await?;
            let undecided = session_floor::accept(&mut tx).await?;
            let event = Event::new(Kind::RestoreAccepted, self.base.operator);
            let events = undecided.then_some(event).into_iter().collect();
            self.base.log.commit(tx, Changes::only(events)).await?;
            Ok(undecided)
        })
        .await
    }
}
