//! Work that is done whether or not anybody waits for it.

use std::sync::Arc;

use tracing::Instrument as _;

use crate::{audit::call, error::Error, trace};

/// Runs work on the database to its end even if the caller goes away, so that neither a transaction nor its connection
/// is cut short. The names of the call go along.
///
/// # Errors
/// Those of the work; [`Error::Internal`] when it panicked.
pub(super) async fn to_completion<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let work = call::named(call::names(), work).in_current_span();
    tokio::spawn(trace::in_current_trace(work)).await.map_err(Error::internal)?
}

/// Runs an operation of `owner` to its end even if the caller goes away. Operations do so themselves, so that no edge
/// can forget it. Others may be in the same statement, and a theft that was seen has to end its session.
///
/// # Errors
/// Those of [`to_completion`].
pub(super) async fn detached<O, T, F>(owner: &Arc<O>, operation: impl FnOnce(Arc<O>) -> F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    to_completion(operation(Arc::clone(owner))).await
}
