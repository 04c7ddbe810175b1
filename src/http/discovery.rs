//! Answers that verifiers ask for by the issuer's name (RFC 8414, OpenID Connect Discovery 1.0). They are the issuer,
//! the address of the public keys, and the algorithms that sign tokens. There are no authorization endpoints, and none
//! are claimed.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::{
    jwks::{CACHED, jwks},
    readiness::{Built, Readiness},
};

const JWKS_PATH: &str = "/.well-known/jwks.json";
/// OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.
const METADATA_PATHS: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

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

pub(super) fn routes() -> Router<Readiness> {
    let routes = Router::new().route(JWKS_PATH, get(jwks));
    METADATA_PATHS.into_iter().fold(routes, |routes, path| routes.route(path, get(metadata)))
}

/// The same for an issuer whose name has a path, which comes before the well-known name in OpenID Connect, and after it in RFC 8414.
pub(super) async fn by_issuer(
    readiness: State<Readiness>,
    method: Method,
    uri: Uri,
    built: Built,
    request: HeaderMap,
) -> Response {
    let base = built.0.auth.token_policy.public_url.as_deref().map(path_of).unwrap_or_default();
    let reads = method == Method::GET || method == Method::HEAD;
    let asked = uri.path();
    if base.is_empty() || !reads {
        StatusCode::NOT_FOUND.into_response()
    } else if asked.strip_prefix(base) == Some(JWKS_PATH) {
        jwks(built, request).await
    } else if METADATA_PATHS
        .iter()
        .any(|name| asked.strip_prefix(base) == Some(name) || asked.strip_prefix(name) == Some(base))
    {
        metadata(readiness, built, request).await
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

/// The path of an absolute URL that does not end with a slash; empty without one.
fn path_of(url: &str) -> &str {
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    host.find('/').and_then(|at| host.get(at..)).unwrap_or_default()
}

async fn metadata(State(readiness): State<Readiness>, Built(built): Built, request: HeaderMap) -> Response {
    let (auth, policy) = (&built.auth, &built.auth.token_policy);
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
