//! What the services of our contract share: the operations, who administers, and how a call becomes its answer.

use std::{future::Future, sync::Arc};

use tonic::{Request, Response, Status};

use super::{caller::Administration, status::status};
use crate::{auth::Auth, error::Error};

/// Serves both AuthService and UserService.
#[derive(Clone, Debug)]
pub struct Service {
    /// The operations.
    pub auth: Arc<Auth>,
    /// Who administers.
    pub administration: Administration,
}

impl Service {
    /// The request, if an administrator sent it.
    pub fn admit<T>(&self, request: Request<T>) -> Result<T, Error> {
        self.administration.check(request.metadata())?;
        Ok(request.into_inner())
    }
}

/// Turns the outcome of a call into its answer.
pub async fn respond<T>(
    rpc: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<Response<T>, Status> {
    call.await.map(Response::new).map_err(|error| status(rpc, error))
}
