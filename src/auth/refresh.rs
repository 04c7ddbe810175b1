//! Refresh: exchanges a refresh token. The decision is that of `domain/rotation.rs`. Here are the look-up, the one
//! conditional write, and the way back when another request was faster (promise P2).

use std::sync::Arc;

use countersign_token::{error::Rejection, ids::SessionId};
use time::OffsetDateTime;

use super::{Auth, completion::detached, tokens::TokenPair};
use crate::{
    crypto::{refresh_token::RefreshToken, secret::Secret},
    domain::{
        audit::Cause,
        caller_policy::RefreshingCaller,
        revocation::Reason,
        rotation::{Decision, GenerationChange, Liveness, decide},
        session::{ClientInfo, Session},
    },
    error::Error,
    metrics,
    store::sessions::RotationUpdate,
};

/// Times that a Refresh looks again because another one moved the session meanwhile. Each look means that the session
/// went forward, so the second one ends in a replay.
const ATTEMPTS: u32 = 8;

/// The input of a Refresh.
#[derive(Debug)]
pub struct RefreshRequest {
    /// The refresh token as it came.
    pub refresh_token: Secret,
    /// An access token of the same session, perhaps expired.
    pub access_token: Option<Secret>,
    /// The client that ListSessions shows from now on.
    pub client: Option<ClientInfo>,
    /// The caller, which may not refresh the bound sessions of others.
    pub caller: RefreshingCaller,
    /// The way of the new tokens to the client.
    pub delivery: Delivery,
}

/// The way of new tokens to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The answer to a request of the client.
    Answer,
    /// The answer to a proxy, which may be set up so that it hands no cookie on. Then the client shows its old token again and
    /// again: that is no sign of theft, and must not end its session (promise P2).
    ByProxy,
}

/// Successors that nobody has used after which a proxy is taken for one that hands no cookies on.
const UNDELIVERED: u32 = 6;

/// The result of a Refresh.
#[derive(Debug)]
pub struct Refreshed {
    /// The new tokens.
    pub tokens: TokenPair,
    /// The exchange was new, or one of a token that had been exchanged before.
    pub exchange: Exchange,
}

/// Distinguishes a new exchange from those of a token that had been exchanged before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The token was exchanged by this call.
    New,
    /// The token had been exchanged before, and its successor was never used: another was handed out.
    Skipped,
    /// The token had been exchanged before; its successor was handed out again.
    Replayed,
}

impl Auth {
    /// Exchanges a refresh token for the session's next pair.
    ///
    /// # Errors
    /// [`Error::RefreshTokenInvalid`], [`Error::RefreshTokenReused`], [`Error::Rejected`] for the access token.
    /// [`Error::CallerNotAllowed`] for a session that is bound to another client, [`Error::DatabaseUnavailable`],
    /// [`Error::RevocationsStale`], [`Error::ClockWrong`], [`Error::RestoreUndecided`]: nothing is lost then, the same
    /// token may be tried again.
    pub async fn refresh(self: &Arc<Self>, request: RefreshRequest) -> Result<Refreshed, Error> {
        detached(self, |auth| async move {
            let answer = auth.exchange_token(request).await;
            auth.base.metrics.outcomes.refreshes.count(match &answer {
                Ok(Refreshed { exchange: Exchange::New, .. }) => metrics::Refresh::Rotated,
                Ok(Refreshed { exchange: Exchange::Skipped, .. }) => metrics::Refresh::Skipped,
                Ok(Refreshed { exchange: Exchange::Replayed, .. }) => metrics::Refresh::Replayed,
                Err(error) => metrics::Refresh::failed(error),
            });
            answer
        })
        .await
    }

    async fn exchange_token(&self, request: RefreshRequest) -> Result<Refreshed, Error> {
        // Who has not heard of the keys for long may take a new one for none.
        self.may_sign()?;
        // A token that was never issued ends here, before any statement.
        let token = self.read_refresh_token(request.refresh_token.expose()).await?;
        let token = token.ok_or(Error::RefreshTokenInvalid)?;
        if let Some(access_token) = &request.access_token {
            self.check_session(access_token, token.session_id)?;
        }
        let now = self.base.clock.now();
        let (session, exchange) = self.exchange(token, request, now).await?;
        // The database may have lost what this replica knows; then it is put back soon.
        if self.revocations().has_ended(&session) {
            return Err(Error::RefreshTokenInvalid);
        }
        let tokens = self.token_pair(&session, now)?;
        Ok(Refreshed { tokens, exchange })
    }

    /// An access token that comes along must be of the same session. One that outlived its key says nothing, and must not
    /// end the session of an owner who slept (promise P2).
    fn check_session(&self, access_token: &Secret, session: SessionId) -> Result<(), Error> {
        match self.identify(access_token.expose()) {
            Ok(principal) if principal.session_id == session => Ok(()),
            Ok(_) => Err(Error::RefreshTokenInvalid),
            Err(Error::Rejected(Rejection::KeyUnknown | Rejection::Revoked) | Error::KeyUnusable) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn exchange(
        &self,
        token: RefreshToken,
        request: RefreshRequest,
        now: OffsetDateTime,
    ) -> Result<(Session, Exchange), Error> {
        let RefreshRequest { client, caller, delivery, .. } = request;
        // Nearly every token is the current one, and comes from the client that logged in: try that first, without a look.
        let mut only_of = caller.only();
        let mut exchange = Exchange::New;
        let mut step = GenerationChange::rotation(token.generation).ok_or(Error::RefreshTokenInvalid)?;
        for _ in 0..ATTEMPTS {
            let advance = RotationUpdate {
                session_id: token.session_id,
                step,
                now,
                idle_expires_at: self.sessions.idle_end(now),
                client: client.clone(),
                only_of: only_of.take(),
            };
            if let Some(session) = self.sessions.rotate(advance).await? {
                return Ok((session, exchange));
            }
            // Whatever is answered from here on rests on what is read.
            let session = self.sessions.prove(token.session_id).await?;
            let session = session.ok_or(Error::RefreshTokenInvalid)?;
            // Whoever is told so knows nothing more of the token than before, and the session goes on (REQUIREMENTS R33).
            if !caller.may_refresh(&session.client_id) {
                return Err(Error::CallerNotAllowed);
            }
            // It may have ended while this one waited.
            if matches!(session.rotation.liveness, Liveness::Until(end) if end <= self.base.clock.now()) {
                return Err(Error::RefreshTokenInvalid);
            }
            let rotation = &session.rotation;
            let unused = rotation.generation.saturating_sub(rotation.previous_generation);
            let is_former = token.generation == rotation.previous_generation;
            match decide(rotation, token.generation, self.sessions.policy().rotation, now) {
                Decision::Skip(_) | Decision::Reuse
                    if delivery == Delivery::ByProxy && is_former && unused > UNDELIVERED =>
                {
                    tracing::debug!(session_id = %session.id, "no successor was used: is Set-Cookie handed on?");
                    return Err(Error::RefreshTokenInvalid);
                }
                Decision::Rotate(next) => (step, exchange) = (next, Exchange::New),
                Decision::Skip(next) => (step, exchange) = (next, Exchange::Skipped),
                Decision::Replay => return Ok((session, Exchange::Replayed)),
                Decision::Reuse => return Err(self.end_reused(&session, client).await),
                Decision::Refuse => return Err(Error::RefreshTokenInvalid),
                Decision::Undecided => return Err(Error::RestoreUndecided),
            }
        }
        Err(Error::Conflict)
    }

    /// Ends the session of a token that was used twice; what could not be ended is not called reused.
    async fn end_reused(&self, session: &Session, client: Option<ClientInfo>) -> Error {
        let cause = Cause { client: client.unwrap_or_default(), ..Cause::from(Reason::Reuse) };
        if let Err(error) = self.sessions.end(session.id, cause).await {
            return error;
        }
        tracing::warn!(session_id = %session.id, user_id = %session.user_id, "refresh token reused: session ended");
        Error::RefreshTokenReused
    }
}
