//! Logging a browser in and out, for the endpoints and the page alike.

use axum::http::HeaderMap;

use super::{super::forward_auth::set_cookie, client::Browser, credentials::Credentials};
use crate::{
    auth::{
        login::{LoggedIn, LoginRequest},
        refresh::{Delivery, RefreshRequest},
        revoke::{CONFIRM_WITHIN, Target},
        tokens::TokenPair,
    },
    authz::{
        AskedRequest, BROWSER_CLIENT_ID, Decision, Renewal,
        cookies::{self, HeldToken},
    },
    crypto::secret::Secret,
    domain::route::Demand,
    error::Error,
};

impl Browser {
    /// Logs in with what was typed. The answer gets the cookies.
    ///
    /// # Errors
    /// As [`Auth::login`](crate::auth::Auth::login).
    pub(super) async fn log_in(&self, credentials: &Credentials, answer: &mut HeaderMap) -> Result<TokenPair, Error> {
        let (username, password) = credentials.parse()?;
        // Of several hints none is one.
        let hint = self.cookies().ok().and_then(|cookies| cookies.device).unwrap_or_default();
        let request = LoginRequest {
            username,
            password,
            audience: Vec::new(),
            client: self.client.clone(),
            client_id: BROWSER_CLIENT_ID.to_owned(),
            device_hint: Secret::new(hint.to_owned()),
            until: None,
        };
        let LoggedIn { tokens, device_hint } = self.authorizer.auth.login(request).await?;
        self.keep(&tokens, answer);
        set_cookie(answer, &[cookies::set_device(&device_hint)]);
        Ok(tokens)
    }

    /// Exchanges the refresh token. The answer gets the new cookies; those of a token that was used twice are taken away.
    ///
    /// # Errors
    /// As [`Auth::refresh`](crate::auth::Auth::refresh).
    pub(super) async fn refresh(&self, answer: &mut HeaderMap) -> Result<TokenPair, Error> {
        let token = self.cookies().ok().and_then(|cookies| cookies.refresh).ok_or(Error::RefreshTokenInvalid)?;
        let request = RefreshRequest {
            refresh_token: Secret::new(token.to_owned()),
            access_token: None,
            client: Some(self.client.clone()),
            caller: self.authorizer.browser(),
            delivery: Delivery::Answer,
        };
        match self.authorizer.auth.refresh(request).await {
            Ok(refreshed) => {
                self.keep(&refreshed.tokens, answer);
                Ok(refreshed.tokens)
            }
            Err(Error::CallerNotAllowed) => Err(Error::RefreshTokenInvalid),
            Err(error) => {
                if let Error::RefreshTokenReused = error {
                    self.forget(answer);
                }
                Err(error)
            }
        }
    }

    /// Ends the sessions of all cookies, everywhere, and takes them away.
    ///
    /// # Errors
    /// As [`Auth::revoke`](crate::auth::Auth::revoke): then the session lives, and the cookies stay.
    pub(super) async fn log_out(&self, answer: &mut HeaderMap) -> Result<Ended, Error> {
        let auth = &self.authorizer.auth;
        let mut ended = Ended { ended: false, confirmed: true };
        for token in cookies::all_tokens(&self.cookie_headers(), &self.authorizer.policy) {
            let revoked = match token {
                HeldToken::Refresh(token) => auth.revoke(Target::RefreshToken(token)).await?,
                HeldToken::Access(token) => auth.revoke(Target::AccessToken(token)).await?,
            };
            if revoked.sessions > 0 {
                ended.ended = true;
                ended.confirmed &= auth.base.log.confirm(&revoked.committed, CONFIRM_WITHIN).await.confirmed;
            }
        }
        self.forget(answer);
        Ok(ended)
    }

    /// The decision about the session of this request, which goes on if its access token has expired.
    ///
    /// # Errors
    /// As [`Authorizer::decide`](crate::authz::Authorizer::decide).
    pub(super) async fn session(&self) -> Result<Decision, Error> {
        let mut asked = AskedRequest::default();
        for (name, value) in &self.headers {
            asked.note(name.as_str().as_bytes(), value.as_bytes());
        }
        self.authorizer.decide(&asked, &Demand::default(), Renewal { until: None, delivery: Delivery::Answer }).await
    }

    /// Puts tokens into cookies.
    pub(super) fn keep(&self, tokens: &TokenPair, answer: &mut HeaderMap) {
        set_cookie(answer, &cookies::set(tokens, &self.authorizer.policy, self.authorizer.auth.base.clock.now()));
    }

    /// Takes the cookies away.
    pub(super) fn forget(&self, answer: &mut HeaderMap) {
        set_cookie(answer, &cookies::clear(&self.authorizer.policy));
    }
}

/// The outcome of a logout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// Was there a session that lived?
    pub ended: bool,
    /// Does every replica know?
    pub confirmed: bool,
}
