//! Sessions of browsers: the tokens are in cookies that no script reads. `/session` is for scripts of pages, `/login` for people.

mod client;
mod credentials;
mod endpoints;
mod language;
mod login;
mod origin;
mod page;
mod return_to;
mod session;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, Method, Uri},
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post},
};

use super::{named, readiness::Readiness};
use crate::domain::policy::{AuthzPolicy, BrowserSessions};

/// Bytes of a body: a name and a password.
const MAX_BODY: usize = 16 * 1024;

/// The routes that the deployment has chosen.
pub(super) fn routes(policy: &AuthzPolicy) -> Router<Readiness> {
    let mut routes = Router::new();
    if policy.browser_sessions >= BrowserSessions::Endpoints {
        let session =
            get(endpoints::show).post(endpoints::log_in).delete(endpoints::log_out).options(endpoints::preflight);
        let refresh = post(endpoints::refresh).options(endpoints::preflight);
        routes = routes.route("/session", session).route("/session/refresh", refresh);
    }
    if policy.browser_sessions >= BrowserSessions::LoginPage {
        routes = routes.route("/login", get(login::show).post(login::log_in)).route("/logout", post(login::log_out));
    }
    routes.layer(DefaultBodyLimit::max(MAX_BODY)).layer(from_fn(name))
}

/// Answers with the names of the request. These routes are paths as they stand.
async fn name(method: Method, uri: Uri, headers: HeaderMap, request: Request, next: Next) -> Response {
    named::answer(method.as_str(), uri.path(), &headers, next.run(request)).await
}
