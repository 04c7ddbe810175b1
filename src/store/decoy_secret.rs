//! Table `decoy_secret`: the sealed secret by which unknown names are given decoys.

use sqlx::{query, query_as};

use super::{Conn, proofs::proving};
use crate::error::Error;

/// The secret as it is sealed; None before the first server has made one.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn find(conn: &mut Conn) -> Result<Option<Vec<u8>>, Error> {
    let statement = query_as::<_, (Vec<u8>,)>(proving!("SELECT sealed FROM decoy_secret"));
    Ok(conn.fetch_optional(statement).await?.map(|(sealed,)| sealed))
}

/// Stores a sealed secret, unless there is another one than `found`. Says whether it did.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn put(conn: &mut Conn, sealed: &[u8], found: Option<&[u8]>) -> Result<bool, Error> {
    let statement = query(
        "INSERT INTO decoy_secret (one, sealed) VALUES (true, $1) \
         ON CONFLICT (one) DO UPDATE SET sealed = excluded.sealed WHERE decoy_secret.sealed = $2",
    );
    Ok(conn.execute(statement.bind(sealed).bind(found)).await? == 1)
}
