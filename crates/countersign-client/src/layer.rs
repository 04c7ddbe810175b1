//! The layer before services of tonic and axum.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tower::{Layer, Service};

use crate::{
    demand::Demand,
    error::{Error, TOKEN_MISSING},
    verifier::Verifier,
};

/// Lets in requests with a token that is valid and meets the demands, and puts [`Authenticated`](crate::Authenticated) into their
/// extensions. The others are refused: calls of gRPC by a status with the reason, others by 401, 403 or 503.
#[derive(Clone, Debug)]
pub struct Require {
    verifier: Verifier,
    demands: Arc<Demands>,
}

#[derive(Clone, Debug, Default)]
struct Demands {
    all: Demand,
    /// The demands of paths that have their own; None for those that are open.
    by_path: HashMap<String, Option<Demand>>,
}

/// A service behind [`Require`].
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    require: Require,
}

impl Verifier {
    /// A layer that lets in requests with a token that is valid and meets the demands.
    pub fn require(&self) -> Require {
        Require { verifier: self.clone(), demands: Arc::default() }
    }
}

impl Require {
    /// Demands this role of all requests whose path has no demand of its own.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        let demands = Arc::make_mut(&mut self.demands);
        demands.all = std::mem::take(&mut demands.all).role(role);
        self
    }

    /// Demands this scope of all requests whose path has no demand of its own.
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        self.role(scope)
    }

    /// Demands this audience of all requests whose path has no demand of its own.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        let demands = Arc::make_mut(&mut self.demands);
        demands.all = std::mem::take(&mut demands.all).audience(audience);
        self
    }

    /// Lets in everybody at this path, such as `/package.Service/Method`. It is compared letter by letter: every other spelling is
    /// guarded.
    #[must_use]
    pub fn public(mut self, path: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.demands).by_path.insert(path.into(), None);
        self
    }

    /// Demands this at a path, in the place of what all others need. A path of another spelling needs what all others need: so
    /// demand more of these, or as much.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>, demand: Demand) -> Self {
        Arc::make_mut(&mut self.demands).by_path.insert(path.into(), Some(demand));
        self
    }
}

impl<S> Layer<S> for Require {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, require: self.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was polled is the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let Require { verifier, demands } = self.require.clone();
        Box::pin(async move {
            let demand = demands.by_path.get(request.uri().path()).map_or(Some(&demands.all), Option::as_ref);
            if let Some(demand) = demand {
                let verified = match bearer(request.headers()) {
                    Ok(token) => verifier.verify_for(token, demand).await,
                    Err(error) => Err(error),
                };
                match verified {
                    Ok(caller) => drop(request.extensions_mut().insert(caller)),
                    Err(error) => return Ok(refusal(&error, request.headers())),
                }
            }
            inner.call(request).await
        })
    }
}

/// The token of the one header that there may be (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Error::Unauthenticated(TOKEN_MISSING));
    };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    let token = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    token.filter(|token| !token.is_empty()).ok_or(Error::Unauthenticated(TOKEN_MISSING))
}

fn refusal<R: Default>(error: &Error, headers: &HeaderMap) -> Response<R> {
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return error.to_status().into_http();
    }
    let mut response = Response::new(R::default());
    *response.status_mut() = match error {
        Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Error::Forbidden(_) => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let reason = error.reason();
    let headers = response.headers_mut();
    let challenge = match error {
        Error::Unauthenticated(missing) if *missing == TOKEN_MISSING => Some("Bearer".to_owned()),
        Error::Unauthenticated(_) => Some(format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"")),
        Error::Forbidden(_) => Some(format!("Bearer error=\"insufficient_scope\", error_description=\"{reason}\"")),
        _ => None,
    };
    if let Some(challenge) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if error.is_outage() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Ok(reason) = HeaderValue::from_str(reason) {
        headers.insert("countersign-reason", reason);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_token_or_none() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a value"));
            }
            headers
        };
        assert_eq!(bearer(&headers(&["Bearer abc"])).ok(), Some("abc"));
        assert_eq!(bearer(&headers(&["bEARER  abc "])).ok(), Some("abc"));
        for values in [&[][..], &["Bearer a", "Bearer b"], &["Bearer"], &["Bearer "], &["Basic abc"], &["Bearerabc"]] {
            assert_eq!(bearer(&headers(values)).expect_err("none").reason(), "TOKEN_MISSING", "{values:?}");
        }
    }
}
