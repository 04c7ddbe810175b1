//! The service: reads the request that Envoy asks about, lets `authz` decide, and writes the answer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use tonic::{Request, Response, Status, async_trait};

use super::{
    answer::{Answer, Answers},
    question::{CheckRequest, Question},
    services::authorization_server::Authorization,
};
use crate::{
    authz::{AskedRequest, Authorizer, Decision, Denial, Extensions},
    edge::NamedCall,
    error::Error,
    grpc::{
        service::deadline,
        status::{status, status_of_named},
    },
    trace::{self, CallSpan},
};

/// Time between two lines of the log about misspelt demands, and characters of a name in them.
const SAID_EVERY: Duration = Duration::from_secs(5);
const MAX_NAME: usize = 64;

/// Serves Check.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct ExtAuthz {
    authorizer: Authorizer,
    /// The moment when the log last named a demand that is not known.
    said: Arc<Mutex<Option<Instant>>>,
}

impl ExtAuthz {
    /// The service that this authorizer decides for.
    pub(in crate::grpc) fn new(authorizer: Authorizer) -> Self {
        Self { authorizer, said: Arc::default() }
    }

    async fn answer(&self, request: Request<CheckRequest>) -> Result<Answer, Status> {
        let until = deadline(request.metadata());
        // Where there is one, the call itself was given no place in a trace.
        let span = if trace::is_on() { request.extensions().get::<CallSpan>().cloned() } else { None };
        let request = request.into_inner();
        let Question { asked, extensions, .. } = request.read().map_err(status)?;
        let named = span.and_then(|span| NamedCall::new(&asked.names(), Some(span)));
        let decision = self.decide(&asked, extensions, until);
        let answer = match named {
            Some(named) => named.carry(decision).await,
            None => decision.await,
        };
        answer.map_err(|error| match NamedCall::new(&asked.names(), None) {
            Some(call) => status_of_named(error, call),
            None => status(error),
        })
    }

    async fn decide(
        &self,
        asked: &AskedRequest<'_>,
        extensions: Vec<(&str, &str)>,
        until: Option<Instant>,
    ) -> Result<Answer, Error> {
        let answers = Answers { policy: &self.authorizer.policy, asked, now: self.authorizer.auth.base.clock.now() };
        let route = match Extensions::read(extensions.into_iter()) {
            Ok(route) => route,
            Err(name) => {
                self.say_misconfigured(name);
                return Ok(answers.denied(&Denial::route_misconfigured()));
            }
        };
        Ok(match self.authorizer.authorize(asked, route, until).await? {
            Decision::Allowed(allowed) => answers.allowed(&allowed),
            Decision::Denied(denial) => answers.denied(&denial),
        })
    }

    /// Names a demand that is not known in the log. Whoever reaches the port can make them up, so that is said now and then.
    fn say_misconfigured(&self, name: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            *said = Some(Instant::now());
            let name: String = name.chars().take(MAX_NAME).collect();
            tracing::error!(
                name,
                "a route of Envoy sends a context extension that is not known, or has no such value: its requests are denied"
            );
        }
    }
}

#[async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<Answer>, Status> {
        self.answer(request).await.map(Response::new)
    }
}
