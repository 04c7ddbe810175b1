//! The service: reads the request that Envoy asks about, lets `authz` decide, and writes the answer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

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

/// The most names of misspelt demands that are remembered as said.
const MAX_SAID: usize = 64;

/// Serves Check.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct ExtAuthz {
    authorizer: Authorizer,
    /// Names of demands that are not known, which the log has named.
    said: Arc<Mutex<HashSet<String>>>,
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
        let answers = Answers {
            policy: &self.authorizer.policy,
            cookies: &asked.cookies,
            is_grpc: asked.is_grpc,
            now: self.authorizer.auth.base.clock.now(),
        };
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

    /// Names a demand that is not known in the log, once.
    fn say_misconfigured(&self, name: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MAX_SAID && said.insert(name.to_owned()) {
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
        respond("check", self.answer(request)).await
    }
}
