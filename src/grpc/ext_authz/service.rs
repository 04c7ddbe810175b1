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
    authz::{Authorizer, Decision, Denial, Extensions},
    error::Error,
    grpc::service::{deadline, respond},
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

    async fn answer(&self, request: Request<CheckRequest>) -> Result<Answer, Error> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let Question { asked, extensions, .. } = request.read()?;
        let answers =
            Answers { policy: &self.authorizer.policy, asked: &asked, now: self.authorizer.auth.base.clock.now() };
        let route = match Extensions::read(extensions.into_iter()) {
            Ok(route) => route,
            Err(name) => {
                self.say_misconfigured(name);
                return Ok(answers.denied(&Denial::route_misconfigured()));
            }
        };
        Ok(match self.authorizer.authorize(&asked, route, until).await? {
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
        respond(self.answer(request)).await
    }
}
