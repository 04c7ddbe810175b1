//! `/session`, for scripts of pages: what they know of the session, and logging in and out. They never see a token.

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use countersign_token::{claims::Principal, verifier::Requirements};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{super::refusal, client::Browser, credentials::Credentials, origin};
use crate::{auth::tokens::TokenPair, authz::Decision, error::Error};

/// A session as scripts are told of it.
#[derive(Serialize)]
struct Session<'p> {
    user_id: String,
    username: &'p str,
    session_id: String,
    roles: &'p [String],
    audience: &'p [String],
    /// End of the access token; the session goes on by itself.
    expires_at: Option<String>,
    /// End of the session if it is not used before. Said where the tokens are new.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_expires_at: Option<String>,
}

/// The outcome of a logout, as scripts are told of it.
#[derive(Serialize)]
struct LoggedOut {
    ended: bool,
    confirmed: bool,
}

/// The answer to the question of a browser whether a page of a listed origin may ask.
pub(super) async fn preflight(browser: Browser) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    origin::allow(&[Method::GET, Method::POST, Method::DELETE], response.headers_mut());
    browser.shared(response)
}

/// The session of the cookies, or of a bearer token.
pub(super) async fn show(browser: Browser) -> Response {
    let mut set = HeaderMap::new();
    let response = match browser.session().await {
        Ok(Decision::Allowed(allowed)) => {
            if let Some(tokens) = &allowed.renewed {
                browser.keep(tokens, &mut set);
            }
            let end = allowed.renewed.as_ref().map(|tokens| tokens.refresh_token_expires_at);
            allowed.token.map_or_else(
                || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                |token| described(&token.principal, end),
            )
        }
        Ok(Decision::Denied(denial)) => {
            if denial.clears_cookies {
                browser.forget(&mut set);
            }
            refusal::denied(&denial)
        }
        Err(error) => refusal::of(&browser.authorizer.failures, "session", &browser.by, &error),
    };
    browser.shared(with(response, set))
}

/// Logs in.
pub(super) async fn log_in(browser: Browser, request: Request) -> Response {
    let response = match browser.refused_page() {
        Some(refused) => refused,
        None => match Credentials::read(request).await {
            Err(unreadable) => {
                let expected = "username and password as application/json or application/x-www-form-urlencoded";
                refusal::refusal(unreadable.status(), "INVALID_ARGUMENT", expected, None)
            }
            Ok(credentials) => {
                let mut set = HeaderMap::new();
                let tokens = browser.log_in(&credentials, &mut set).await;
                browser.about(tokens, "login", set)
            }
        },
    };
    browser.shared(response)
}

/// Exchanges the refresh token.
pub(super) async fn refresh(browser: Browser) -> Response {
    let response = match browser.refused_page() {
        Some(refused) => refused,
        None => {
            let mut set = HeaderMap::new();
            let tokens = browser.refresh(&mut set).await;
            browser.about(tokens, "refresh", set)
        }
    };
    browser.shared(response)
}

/// Logs out: the session ends everywhere.
pub(super) async fn log_out(browser: Browser) -> Response {
    let response = match browser.refused_page() {
        Some(refused) => refused,
        None => {
            let mut set = HeaderMap::new();
            match browser.log_out(&mut set).await {
                Ok(ended) => with(json(LoggedOut { ended: ended.ended, confirmed: ended.confirmed }), set),
                Err(error) => refusal::of(&browser.authorizer.failures, "logout", &browser.by, &error),
            }
        }
    };
    browser.shared(response)
}

impl Browser {
    /// The answer to a page of somebody else.
    fn refused_page(&self) -> Option<Response> {
        let origin::CrossOrigin = origin::check(&self.headers, &self.authorizer.policy.allowed_origins).err()?;
        let message = "the page is of another origin: COUNTERSIGN_ALLOWED_ORIGIN lists those that may";
        Some(refusal::refusal(StatusCode::FORBIDDEN, "CROSS_ORIGIN", message, None))
    }

    /// An answer that pages of listed origins may read.
    fn shared(&self, mut response: Response) -> Response {
        origin::share(&self.headers, &self.authorizer.policy.allowed_origins, response.headers_mut());
        response
    }

    /// The answer about new tokens, or about why there are none.
    fn about(&self, tokens: Result<TokenPair, Error>, call: &'static str, set: HeaderMap) -> Response {
        let described = tokens.and_then(|tokens| {
            let (verified, _) = self.authorizer.auth.verify(tokens.access_token.expose(), Requirements::default())?;
            Ok(described(&verified.principal, Some(tokens.refresh_token_expires_at)))
        });
        with(described.unwrap_or_else(|error| refusal::of(&self.authorizer.failures, call, &self.by, &error)), set)
    }
}

fn described(principal: &Principal, session_end: Option<OffsetDateTime>) -> Response {
    let seconds = i64::try_from(principal.expires_at).ok();
    let end = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = |at: OffsetDateTime| at.format(&Rfc3339).ok();
    json(Session {
        user_id: principal.user_id.to_string(),
        username: principal.username.as_deref().unwrap_or_default(),
        session_id: principal.session_id.to_string(),
        roles: &principal.roles,
        audience: &principal.audience,
        expires_at: end.and_then(text),
        session_expires_at: session_end.and_then(text),
    })
}

fn json(content: impl Serialize) -> Response {
    let mut response = Json(content).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer with these headers, too.
fn with(mut response: Response, headers: HeaderMap) -> Response {
    response.headers_mut().extend(headers);
    response
}
