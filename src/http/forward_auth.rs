//! Forward auth: a proxy asks by a request of its own whether another request may pass. The answer is 200, 401, 403, 429 or 503,
//! with one Set-Cookie at most. So the strictest of the proxies that ask need it (nginx, Envoy, Caddy, Traefik).

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::any,
};
use countersign_token::claims::Principal;
use tokio::time::Instant;

use super::{
    named,
    readiness::{Built, Readiness},
    refusal,
};
use crate::{
    auth::tokens::TokenPair,
    authz::{
        AskedRequest, Authorizer, Decision, Denial, Extensions,
        cookies::{self, SetCookies},
        identity,
    },
    crypto::secret::Secret,
    domain::policy::ForwardAuth,
    edge::{CalledBy, Failures},
    error::Error,
    net::Peer,
};

const PATH: &str = "/forward-auth";
/// The time, in milliseconds, for which Envoy waits.
const ENVOY_WAITS: &str = "x-envoy-expected-rq-timeout-ms";

/// Headers by which a proxy names the method, the target and the host of a request.
const X_ORIGINAL: [&str; 3] = ["x-original-method", "x-original-uri", "x-original-host"];
const X_FORWARDED: [&str; 3] = ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"];

pub(super) fn routes() -> Router<Readiness> {
    let below = [format!("{PATH}/"), format!("{PATH}/{{*rest}}")];
    below.iter().fold(Router::new().route(PATH, any(answer)), |routes, path| routes.route(path, any(answer)))
}

async fn answer(Built(authorizer): Built, request: Parts) -> Response {
    named::answer(request.method.as_str(), PATH, &request.headers, decide(&authorizer, &request)).await
}

async fn decide(authorizer: &Authorizer, request: &Parts) -> Response {
    let asked = read(request, authorizer.policy.forward_auth);
    let until = waits(&request.headers).map(|time| Instant::now() + time);
    match authorizer.authorize(&asked, Extensions::default(), until).await {
        Ok(Decision::Allowed(allowed)) => {
            let set = one_cookie(authorizer, allowed.renewed.as_ref(), allowed.clears_cookies);
            pass(authorizer, allowed.token.as_ref().map(|token| &token.principal), &set)
        }
        Ok(Decision::Denied(denial)) => deny(authorizer, &denial),
        Err(error) => {
            let peer = request.extensions.get::<Peer>().and_then(|peer| peer.addr);
            unavailable(&authorizer.failures, &CalledBy::peer(peer), &error)
        }
    }
}

/// The answer that lets a request pass: all headers that say whose it is.
fn pass(authorizer: &Authorizer, principal: Option<&Principal>, set_cookies: &[Secret]) -> Response {
    let mut response = (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response();
    let headers = response.headers_mut();
    for (name, value) in identity::NAMES.into_iter().zip(identity::values(principal)) {
        let name = HeaderName::try_from(format!("{}{name}", authorizer.policy.header_prefix));
        // Both were checked, or are made of visible ASCII.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    set_cookie(headers, set_cookies);
    response
}

fn deny(authorizer: &Authorizer, denial: &Denial) -> Response {
    let mut response = refusal::denied(denial);
    let headers = response.headers_mut();
    if let Some(Ok(login)) = denial.login.as_deref().map(HeaderValue::from_str) {
        headers.insert(header::LOCATION, login);
    }
    set_cookie(headers, &one_cookie(authorizer, denial.renewed.as_deref(), denial.clears_cookies));
    response
}

/// The one cookie of an answer: new tokens, or none where they are worth nothing any more.
fn one_cookie(authorizer: &Authorizer, renewed: Option<&TokenPair>, clears: bool) -> SetCookies {
    let policy = &authorizer.policy;
    match renewed {
        Some(tokens) => cookies::set_in_one(tokens, policy, authorizer.auth.base.clock.now()),
        // Without the refresh cookie, what is left lives for as long as an access token.
        None if clears => cookies::clear(policy).into_iter().next_back().into_iter().collect(),
        None => SetCookies::new(),
    }
}

/// Trouble of ours is 503, whatever it is: a proxy must not take it for a denial.
fn unavailable(failures: &Failures, by: &CalledBy, error: &Error) -> Response {
    let mut response = refusal::of(failures, "forward_auth", by, error);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    response
}

/// Adds cookies to an answer.
pub(super) fn set_cookie(headers: &mut HeaderMap, cookies: &[Secret]) {
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::from_str(cookie.expose()) {
            value.set_sensitive(true);
            headers.append(header::SET_COOKIE, value);
        }
    }
}

fn read(request: &Parts, by: ForwardAuth) -> AskedRequest<'_> {
    let headers = &request.headers;
    let named = |[method, target, host]: [&str; 3]| {
        Some((only(headers, method)?, only(headers, target)?, only(headers, host)?))
    };
    let named = match by {
        ForwardAuth::Off | ForwardAuth::Token => None,
        ForwardAuth::XOriginal => named(X_ORIGINAL),
        ForwardAuth::XForwarded => named(X_FORWARDED),
        ForwardAuth::Path => {
            let target = request.uri.path_and_query().map_or("", |target| target.as_str());
            let target = target.strip_prefix(PATH).filter(|target| target.starts_with('/'));
            Some((request.method.as_str(), target.unwrap_or("/"), only(headers, "host").unwrap_or_default()))
        }
    };
    // A request that is not named has an empty path, which no rule can be relied on for.
    let (method, target, host) = named.unwrap_or_default();
    let mut asked = AskedRequest { method, host, target, ..AskedRequest::default() };
    for (name, value) in headers {
        asked.note(name.as_str().as_bytes(), value.as_bytes());
    }
    asked
}

/// The value of a header that comes once, as text.
fn only<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The time for which the proxy waits, if it says so, less what an answer takes.
fn waits(headers: &HeaderMap) -> Option<Duration> {
    let millis = only(headers, ENVOY_WAITS)?.parse().ok()?;
    Some(Duration::from_millis(millis).saturating_sub(Duration::from_millis(50)))
}
