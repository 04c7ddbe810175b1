//! Opening a session, where a user may have so many only too.

use std::sync::Arc;

use countersign_token::{
    ids::SessionId,
    moment::saturating_add,
    revocation::{Revocation, Subject},
};
use time::OffsetDateTime;

use super::{super::completion::to_completion, Sessions};
use crate::{
    audit::{self, call},
    domain::{
        audit::{Actor, Event, Kind},
        policy::{SessionLimit, SessionLimitAction},
        revocation::Reason,
        rotation::{Liveness, RotationState},
        session::{Session, SessionRequest},
    },
    error::Error,
    revocation::changes::Changes,
    store::{
        credentials::UserWithHash,
        proofs, retrying,
        sessions::{self, Opening},
        users,
    },
};

impl Sessions {
    /// A session of the user, as it is to be opened.
    pub(in crate::auth) fn draft(
        &self,
        credentials: &UserWithHash,
        wish: SessionRequest<'_>,
        now: OffsetDateTime,
    ) -> Session {
        let expires_at = saturating_add(now, self.policy.ttl);
        let idle_expires_at = saturating_add(now, self.policy.idle_ttl).min(expires_at);
        Session {
            id: SessionId::new(now),
            user_id: credentials.user.id,
            username: credentials.user.username.as_str().to_owned(),
            epoch: credentials.user.epoch,
            roles: credentials.user.roles.clone(),
            audience: wish.audience.to_vec(),
            client_id: wish.client_id.to_owned(),
            created_at: now,
            expires_at,
            idle_expires_at,
            rotation: RotationState {
                generation: 1,
                previous_generation: 0,
                rotated_at: now,
                liveness: Liveness::Until(idle_expires_at),
            },
            client: wish.client.clone(),
        }
    }

    /// Opens the session; None when password, epoch or status of the user changed since they were read.
    pub(in crate::auth) async fn open(
        self: &Arc<Self>,
        session: Session,
        credentials: UserWithHash,
    ) -> Result<Option<Session>, Error> {
        let all = Arc::clone(self);
        to_completion(async move {
            let opened = match all.policy.limit {
                Some(limit) => all.open_within(limit, &session, &credentials).await?,
                None => {
                    let mut conn = all.base.store.acquire_for_login().await?;
                    let opening = sessions::open(&mut conn, &session, &credentials, &call::names()).await?;
                    (opening == Opening::Opened).then_some(session)
                }
            };
            if let Some(session) = &opened {
                audit::log(&[Event {
                    session: Some(session.id),
                    client: session.client.clone(),
                    ..Event::new(Kind::LoginSucceeded, Actor::User).about(&credentials.user)
                }]);
            }
            Ok(opened)
        })
        .await
    }

    /// Opens the session if the user may have one more, or ends the oldest ones for it. None when password, epoch or
    /// status of the user changed since they were read.
    ///
    /// # Errors
    /// [`Error::SessionLimitReached`], [`Error::DatabaseUnavailable`].
    async fn open_within(
        &self,
        limit: SessionLimit,
        session: &Session,
        credentials: &UserWithHash,
    ) -> Result<Option<Session>, Error> {
        retrying(async || {
            let mut tx = self.base.store.acquire_for_login().await?;
            tx.begin().await?;
            // Before counting: whoever else logs this user in has committed what it opened, or waits.
            let user = match users::lock(&mut tx, session.user_id).await {
                Err(Error::UserNotFound) => return Ok(None),
                locked => locked?,
            };
            let now = self.base.clock.now();
            let mut surplus = sessions::live_but_newest(&mut tx, &user, limit.most.saturating_sub(1), now).await?;
            if limit.action == SessionLimitAction::Refuse && !surplus.is_empty() {
                proofs::commit(&mut tx).await?;
                return Err(Error::SessionLimitReached);
            }
            if sessions::open(&mut tx, session, credentials, &call::names()).await? == Opening::UserMoved {
                return tx.commit().await.map(|()| None);
            }
            if !surplus.is_empty() {
                // Those that somebody has ended meanwhile are not among them.
                surplus = sessions::revoke(&mut tx, &surplus, Reason::SessionLimit, now).await?;
            }
            let revocation = |id: &SessionId| (Revocation::new(Subject::Session(*id), now), Reason::SessionLimit);
            let revocations = surplus.iter().map(revocation).collect();
            let event = |id: &SessionId| {
                let ended = Event::new(Kind::SessionEnded, Actor::Server).about(&user);
                Event { session: Some(*id), reason: Reason::SessionLimit.as_str(), ..ended }
            };
            let events = surplus.iter().map(event).collect();
            self.base.log.commit(tx, Changes { revocations, events, ..Changes::default() }).await?;
            Ok(Some(session.clone()))
        })
        .await
    }
}
