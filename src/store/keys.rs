//! Tables `keys` and `service_clock`. The former has the signing keys of access tokens and the MAC keys of refresh
//! tokens, sealed, with the stage of their life. The latter has the clock that their ages are read from.
//!
//! Each change is one statement that holds only while things are as its caller saw them, so one replica makes it.

use std::time::Duration;

use sqlx::{query, query_as};
use time::OffsetDateTime;

use super::{Conn, proofs::proving};
use crate::{
    domain::{
        key::{Key, Purpose, Stage},
        revocation::Position,
    },
    error::Error,
};

/// A stored key.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key without its secret.
    pub key: Key,
    /// The algorithm that uses the key, as it is written.
    pub algorithm: String,
    /// The private part, sealed.
    pub sealed_key: Vec<u8>,
    /// The moment at which the key was made, by the clock of who made it. For people.
    pub created_at: OffsetDateTime,
}

/// All keys, as of one moment.
#[derive(Clone, Debug)]
pub struct StoredKeys {
    /// The service's clock.
    pub witnessed_ms: i64,
    /// The keys by purpose and number.
    pub keys: Vec<StoredKey>,
}

impl StoredKeys {
    /// The keys of one purpose.
    pub fn of(&self, purpose: Purpose) -> impl Iterator<Item = &StoredKey> {
        self.keys.iter().filter(move |s| s.key.purpose == purpose)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    witnessed_ms: i64,
    purpose: Option<String>,
    number: Option<i32>,
    kid: Option<String>,
    algorithm: Option<String>,
    sealed_key: Option<Vec<u8>>,
    stage: Option<String>,
    stage_at_ms: Option<i64>,
    created_at: Option<OffsetDateTime>,
}

impl Row {
    /// The key of this row; None without one.
    fn key(self) -> Option<Result<StoredKey, Error>> {
        let (purpose, number, stage) = (self.purpose?, self.number?, self.stage?);
        let unreadable = || Error::internal(format!("key {purpose} {number} cannot be read"));
        let (Ok(purpose), Ok(number), Ok(stage)) = (purpose.parse(), number.try_into(), stage.parse()) else {
            return Some(Err(unreadable()));
        };
        // A clock that was set back by a restore makes ages small, which is safe.
        let age = u64::try_from(self.witnessed_ms.saturating_sub(self.stage_at_ms?)).unwrap_or(0);
        let key = Key { purpose, number, kid: self.kid?, stage, age: Duration::from_millis(age) };
        let (algorithm, sealed_key, created_at) = (self.algorithm?, self.sealed_key?, self.created_at?);
        Some(Ok(StoredKey { key, algorithm, sealed_key, created_at }))
    }
}

macro_rules! all_keys {
    () => {
        "SELECT c.witnessed_ms, k.purpose, k.number, k.kid, k.algorithm, k.sealed_key, k.stage, k.stage_at_ms, \
           k.created_at FROM service_clock c LEFT JOIN keys k ON true "
    };
}

/// Reads all keys and the clock.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a row that cannot be read.
pub async fn all(conn: &mut Conn) -> Result<StoredKeys, Error> {
    let statement = query_as::<_, Row>(concat!(all_keys!(), "ORDER BY k.purpose, k.number"));
    StoredKeys::read(conn.fetch_all(statement).await?)?.ok_or_else(no_clock)
}

/// Reads all keys and the clock, as they may be answered (`proofs.rs`).
///
/// # Errors
/// As for [`all`].
pub async fn prove_all(conn: &mut Conn) -> Result<StoredKeys, Error> {
    let statement = query_as::<_, Row>(proving!(all_keys!(), "ORDER BY k.purpose, k.number"));
    StoredKeys::read(conn.fetch_all(statement).await?)?.ok_or_else(no_clock)
}

fn no_clock() -> Error {
    Error::internal("the service's clock has no row")
}

/// Reads all keys from the log that holds this row; None from another one.
///
/// # Errors
/// As for [`all`].
pub async fn all_since(conn: &mut Conn, row: Position) -> Result<Option<StoredKeys>, Error> {
    let statement = query_as::<_, Row>(concat!(
        all_keys!(),
        "WHERE EXISTS (SELECT FROM revocations WHERE seq = $1 AND id = $2) ORDER BY k.purpose, k.number",
    ));
    StoredKeys::read(conn.fetch_all(statement.bind(row.seq).bind(row.id)).await?)
}

impl StoredKeys {
    fn read(rows: Vec<Row>) -> Result<Option<Self>, Error> {
        let Some(witnessed_ms) = rows.first().map(|row| row.witnessed_ms) else {
            return Ok(None);
        };
        let keys: Result<Vec<StoredKey>, Error> = rows.into_iter().filter_map(Row::key).collect();
        Ok(Some(Self { witnessed_ms, keys: keys? }))
    }
}

/// The date of the database, which tells a restored backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Date {
    /// The database is one of today: the log was loaded, and whether it was restored has been dealt with.
    Today,
    /// Nobody knows yet if the database was restored.
    Unknown,
}

/// Moves the service's clock on by what the caller has witnessed, unless it stands elsewhere than at `seen_ms`. Says
/// whether it did.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn witness(conn: &mut Conn, seen_ms: i64, passed_ms: i64, date: Date) -> Result<bool, Error> {
    let statement = query(
        "UPDATE service_clock SET witnessed_ms = witnessed_ms + $2, \
         moved_at = CASE WHEN $3 THEN now() ELSE moved_at END WHERE witnessed_ms = $1",
    );
    Ok(conn.execute(statement.bind(seen_ms).bind(passed_ms).bind(date == Date::Today)).await? == 1)
}

/// Moves the clock by a millisecond before keys change, so that nobody adds to it what was watched before the change.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn touch_clock(tx: &mut Conn) -> Result<(), Error> {
    match tx.execute(query("UPDATE service_clock SET witnessed_ms = witnessed_ms + 1")).await? {
        1 => Ok(()),
        _ => Err(Error::internal("the service's clock has no row")),
    }
}

/// Adds a key that enters `stage` now, unless its number or its stage is taken. Says whether it did.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn insert(tx: &mut Conn, stored: &StoredKey) -> Result<bool, Error> {
    let statement = query(
        "INSERT INTO keys (purpose, number, kid, algorithm, sealed_key, stage, stage_at_ms, created_at) \
         SELECT $1, $2, $3, $4, $5, $6, c.witnessed_ms, $7 FROM service_clock c ON CONFLICT DO NOTHING",
    )
    .bind(stored.key.purpose.as_str())
    .bind(i32::from(stored.key.number))
    .bind(&stored.key.kid)
    .bind(&stored.algorithm)
    .bind(&stored.sealed_key)
    .bind(stored.key.stage.as_str())
    .bind(stored.created_at);
    Ok(tx.execute(statement).await? == 1)
}

/// Moves a key from one stage to another, unless it stands elsewhere. Says whether it did.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] when another key is in a stage that holds one.
pub async fn advance(tx: &mut Conn, key: &Key, to: Stage) -> Result<bool, Error> {
    let statement = query(
        "UPDATE keys SET stage = $4, stage_at_ms = c.witnessed_ms FROM service_clock c \
         WHERE purpose = $1 AND number = $2 AND stage = $3",
    )
    .bind(key.purpose.as_str())
    .bind(i32::from(key.number))
    .bind(key.stage.as_str())
    .bind(to.as_str());
    Ok(tx.execute(statement).await? == 1)
}

/// Replaces the sealed form of a key, unless it has changed. Says whether it did.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn reseal(conn: &mut Conn, stored: &StoredKey, sealed_key: &[u8]) -> Result<bool, Error> {
    let statement = query("UPDATE keys SET sealed_key = $4 WHERE purpose = $1 AND number = $2 AND sealed_key = $3")
        .bind(stored.key.purpose.as_str())
        .bind(i32::from(stored.key.number))
        .bind(&stored.sealed_key)
        .bind(sealed_key);
    Ok(conn.execute(statement).await? == 1)
}

/// Deletes a key, unless it has moved to another stage. Says whether it did.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn delete(tx: &mut Conn, key: &Key) -> Result<bool, Error> {
    let statement = query("DELETE FROM keys WHERE purpose = $1 AND number = $2 AND stage = $3")
        .bind(key.purpose.as_str())
        .bind(i32::from(key.number))
        .bind(key.stage.as_str());
    Ok(tx.execute(statement).await? == 1)
}
