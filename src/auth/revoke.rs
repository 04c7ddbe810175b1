//! Revoke: which sessions a target names.

use std::{sync::Arc, time::Duration};

use countersign_token::{
    error::Rejection,
    ids::{SessionId, UserId},
};

use super::{Auth, completion::detached};
use crate::{
    crypto::secret::Secret,
    domain::revocation::Reason,
    error::Error,
    revocation::changes::{Committed, Revoked},
};

/// The sessions that a Revoke ends.
#[derive(Debug)]
pub enum Target {
    /// The session of a refresh token, as it came.
    RefreshToken(Secret),
    /// The session of an access token, as it came.
    AccessToken(Secret),
    /// A session.
    Session(SessionId),
    /// All sessions of a user, perhaps but one.
    User(UserId, Option<SessionId>),
}

/// Time that a caller waits for the other replicas if it does not say.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

impl Auth {
    /// Ends sessions. Ending what has ended is fine, and so is a token that means nothing (RFC 7009 section 2.2).
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]; [`Error::RevocationsStale`] for a token whose key this replica may not have heard of.
    pub async fn revoke(self: &Arc<Self>, target: Target) -> Result<Revoked, Error> {
        detached(self, |auth| async move { auth.end(target).await }).await
    }

    async fn end(&self, target: Target) -> Result<Revoked, Error> {
        let (session, reason) = match target {
            Target::User(user, keep) => return self.sessions.end_of_user(user, keep).await,
            Target::Session(id) => (Some(id), Reason::Revoked),
            Target::RefreshToken(token) => {
                let token = self.read_refresh_token(token.expose()).await?;
                (token.map(|t| t.session_id), Reason::LoggedOut)
            }
            Target::AccessToken(token) => (self.session_of(token.expose()).await?, Reason::LoggedOut),
        };
        if let Some(id) = session {
            return self.sessions.end(id, reason.into()).await;
        }
        // That it means nothing can be said only by who knows all keys (REQUIREMENTS R37).
        self.revocations().state().fresh(None)?;
        Ok(Revoked { sessions: 0, committed: Committed::NOTHING })
    }

    /// The session of an access token; None for what is none of ours.
    async fn session_of(&self, token: &str) -> Result<Option<SessionId>, Error> {
        let mut identified = self.identify(token);
        if let Err(Error::Rejected(Rejection::KeyUnknown)) = identified {
            self.base.log.wait_for_key_update().await?;
            identified = self.identify(token);
        }
        match identified {
            Ok(principal) => Ok(Some(principal.session_id)),
            Err(Error::Rejected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
