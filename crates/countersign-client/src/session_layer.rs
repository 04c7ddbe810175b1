//! The layer that attaches the access token of a session to requests.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use tower::{Layer, Service};

use crate::{error::Error, session::Session};

/// Attaches the access token of a session to requests, by tower. A channel of tonic behind it can be given to generated clients.
#[derive(Clone, Debug)]
pub struct SessionLayer(Session);

/// A service whose requests carry the access token of a session.
#[derive(Clone, Debug)]
pub struct AttachToken<S> {
    inner: S,
    session: Session,
}

impl Session {
    /// A layer that attaches the access token to requests.
    pub fn layer(&self) -> SessionLayer {
        SessionLayer(self.clone())
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = AttachToken<S>;

    fn layer(&self, inner: S) -> AttachToken<S> {
        AttachToken { inner, session: self.0.clone() }
    }
}

impl<S, B> Service<Request<B>> for AttachToken<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was polled is the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let session = self.session.clone();
        Box::pin(async move {
            let token = session.access_token().await?;
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| Error::Invalid("the access token cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
            inner.call(request).await.map_err(Into::into)
        })
    }
}
