//! Work that is done whether or not anybody waits for it.

use crate::error::Error;

/// Runs work on the database to its end even if the caller goes away, so that neither a transaction nor its connection
/// is cut short.
///
/// # Errors
/// Those of the work; [`Error::Internal`] when it panicked.
pub async fn to_completion<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(Error::internal)?
}
