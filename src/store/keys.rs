//! Table `keys`: signing keys of access tokens and MAC keys of refresh tokens, sealed.

use sqlx::{query, query_as};
use time::OffsetDateTime;

use super::Conn;
use crate::error::Error;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signs access tokens.
    AccessToken,
    /// Makes refresh tokens.
    RefreshToken,
}

impl Purpose {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// A stored key.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StoredKey {
    /// 1, 2, 3 and so on for each purpose.
    pub number: i32,
    /// Its name in tokens.
    pub kid: String,
    /// How it is used.
    pub algorithm: String,
    /// Its public part; empty for a MAC key.
    pub public_key: Vec<u8>,
    /// Its private part, sealed.
    pub sealed_key: Vec<u8>,
}

/// The newest key of a purpose.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn newest(conn: &mut Conn, purpose: Purpose) -> Result<Option<StoredKey>, Error> {
    let statement = query_as::<_, StoredKey>(
        "SELECT number, kid, algorithm, public_key, sealed_key FROM keys WHERE purpose = $1 \
         ORDER BY number DESC LIMIT 1",
    );
    conn.fetch_optional(statement.bind(purpose.as_str())).await
}

/// Adds a key, unless another replica has added one of that number.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn insert(conn: &mut Conn, purpose: Purpose, key: &StoredKey, now: OffsetDateTime) -> Result<(), Error> {
    let statement = query(
        "INSERT INTO keys (purpose, number, kid, algorithm, public_key, sealed_key, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (purpose, number) DO NOTHING",
    )
    .bind(purpose.as_str())
    .bind(key.number)
    .bind(&key.kid)
    .bind(&key.algorithm)
    .bind(&key.public_key)
    .bind(&key.sealed_key)
    .bind(now);
    conn.execute(statement).await.map(drop)
}
