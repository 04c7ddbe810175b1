//! Answers that verifiers ask for by the issuer's name (RFC 8414, OpenID Connect Discovery 1.0). They are the issuer,
//! the address of the public keys, and the algorithms that sign tokens. There are no authorization endpoints, and none
//! are claimed.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::readiness::{Built, Readiness};

pub(super) const JWKS_PATH: &str = "/.well-known/jwks.json";
/// The header Cache-Control, with the time that `domain::key::JWKS_MAX_AGE` counts on.
pub(super) const CACHED: &str = "public, max-age=300";

/// Names that mean the machine of whoever uses them.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const UNKNOWN_HOST: &str =
    "asked for by a name that is not known: COUNTERSIGN_PUBLIC_URL says how verifiers reach this port\n";

#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    jwks_uri: String,
    response_types_supported: [&'a str; 0],
    subject_types_supported: [&'a str; 1],
    /// Algorithms of the access tokens, which are the only ones: libraries take from here which algorithms to allow.
    id_token_signing_alg_values_supported: Vec<&'a str>,
}

pub(super) async fn metadata(State(readiness): State<Readiness>, Built(auth): Built, request: HeaderMap) -> Response {
    let policy = &auth.token_policy;
    // What depends on the asked host must not be kept for those who ask for another.
    let (base, cache) = match (&policy.public_url, asked_host(&request)) {
        (Some(url), _) => (url.clone(), CACHED),
        (None, Some(host)) => (format!("{}://{host}", if readiness.speaks_tls { "https" } else { "http" }), "no-store"),
        (None, None) => return (StatusCode::MISDIRECTED_REQUEST, UNKNOWN_HOST).into_response(),
    };
    let metadata = Metadata {
        issuer: &policy.issuer,
        jwks_uri: format!("{base}{JWKS_PATH}"),
        response_types_supported: [],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: auth.keys.ring().algorithms().iter().map(|a| a.as_str()).collect(),
    };
    match serde_json::to_string(&metadata) {
        Ok(json) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, cache)], json).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The host and port that the caller has asked for, if that is this machine by a name of its own. Any other name is whatever
/// a caller wrote: keys must not be fetched from there.
fn asked_host(request: &HeaderMap) -> Option<Authority> {
    let host: Authority = request.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    (OWN_NAMES.contains(&host.host()) && !host.as_str().contains('@')).then_some(host)
}
