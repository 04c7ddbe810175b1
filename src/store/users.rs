//! Table `users`.

use countersign_token::ids::UserId;
use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Conn,
    proofs::{self, proving},
};
use crate::{
    domain::{
        password_hash::PasswordHash,
        user::{User, Username},
    },
    error::Error,
};

macro_rules! columns {
    () => {
        "id, username, roles, epoch, disabled_at, password_changed_at, created_at, updated_at"
    };
}

pub(super) use columns;

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: Uuid,
    username: String,
    roles: Vec<String>,
    epoch: i64,
    disabled_at: Option<OffsetDateTime>,
    password_changed_at: OffsetDateTime,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: UserId(row.id),
            username: Username::from_stored(row.username),
            roles: row.roles,
            epoch: row.epoch,
            disabled_at: row.disabled_at,
            password_changed_at: row.password_changed_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Adds a user.
///
/// # Errors
/// [`Error::UsernameTaken`].
pub async fn insert(conn: &mut Conn, user: &User, password_hash: &PasswordHash) -> Result<(), Error> {
    let statement = query(
        "INSERT INTO users (id, username, password_hash, roles, epoch, disabled_at, password_changed_at, \
         created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (username) DO NOTHING",
    )
    .bind(user.id.0)
    .bind(user.username.as_str())
    .bind(password_hash.as_str())
    .bind(&user.roles)
    .bind(user.epoch)
    .bind(user.disabled_at)
    .bind(user.password_changed_at)
    .bind(user.created_at)
    .bind(user.updated_at);
    // A conflict that raised an error would put the name into the database's log.
    match conn.execute(statement).await? {
        1 => Ok(()),
        _ => Err(Error::UsernameTaken),
    }
}

/// The names that are taken, as a database has them that commits.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn taken(conn: &mut Conn, names: &[&Username]) -> Result<Vec<Username>, Error> {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let statement =
        query_as::<_, (String,)>(proving!("SELECT username FROM users WHERE username = ANY($1)")).bind(names);
    Ok(conn.fetch_all(statement).await?.into_iter().map(|(name,)| Username::from_stored(name)).collect())
}

/// The user of that id, as a database has it that commits.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn find(conn: &mut Conn, id: UserId) -> Result<Option<User>, Error> {
    let statement = query_as::<_, Row>(proving!("SELECT ", columns!(), " FROM users WHERE id = $1"));
    Ok(conn.fetch_optional(statement.bind(id.0)).await?.map(User::from))
}

/// The user of that name, as a database has it that commits.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn find_by_name(conn: &mut Conn, name: &Username) -> Result<Option<User>, Error> {
    let statement = query_as::<_, Row>(proving!("SELECT ", columns!(), " FROM users WHERE username = $1"));
    let row = conn.fetch_optional(statement.bind(name.as_str())).await?;
    Ok(row.map(User::from))
}

/// Up to `limit` users after `after`, by id, as a database has them that commits.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn list(conn: &mut Conn, after: Uuid, limit: i64) -> Result<Vec<User>, Error> {
    let text = proving!("SELECT ", columns!(), " FROM users WHERE id > $1 ORDER BY id LIMIT $2");
    let statement = query_as::<_, Row>(text).bind(after).bind(limit);
    let rows = conn.fetch_all(statement).await?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Locks the user's row until the transaction ends, so that no Login opens a session meanwhile.
///
/// # Errors
/// [`Error::UserNotFound`]: the transaction was committed, because the answer rests on it.
pub async fn lock(tx: &mut Conn, id: UserId) -> Result<User, Error> {
    match find_for_update(tx, id).await? {
        Some(user) => Ok(user),
        None => {
            proofs::commit(tx).await?;
            Err(Error::UserNotFound)
        }
    }
}

/// Locks a user as [`lock`] does, but one that may not exist; the transaction goes on.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn find_for_update(tx: &mut Conn, id: UserId) -> Result<Option<User>, Error> {
    let text = concat!("SELECT ", columns!(), " FROM users WHERE id = $1 FOR UPDATE");
    let row = tx.fetch_optional(query_as::<_, Row>(text).bind(id.0)).await?;
    Ok(row.map(User::from))
}

/// Writes what may change of a user that [`lock`] holds: roles, epoch, disabled_at, updated_at.
///
/// # Errors
/// [`Error::UserNotFound`].
pub async fn update(tx: &mut Conn, user: &User) -> Result<(), Error> {
    let statement = query("UPDATE users SET roles = $2, epoch = $3, disabled_at = $4, updated_at = $5 WHERE id = $1")
        .bind(user.id.0)
        .bind(&user.roles)
        .bind(user.epoch)
        .bind(user.disabled_at)
        .bind(user.updated_at);
    touched_one(tx.execute(statement).await?)
}

/// Raises epochs that are lower than these; users that are not there stay so. Locks the rows in one order.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn raise_epochs(tx: &mut Conn, epochs: &[(UserId, i64)]) -> Result<(), Error> {
    let (ids, least): (Vec<Uuid>, Vec<i64>) = epochs.iter().map(|(id, epoch)| (id.0, *epoch)).unzip();
    let statement = query(
        "UPDATE users u SET epoch = n.epoch FROM unnest($1::uuid[], $2::bigint[]) AS n (id, epoch) \
         JOIN (SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE) locked USING (id) \
         WHERE u.id = locked.id AND u.epoch < n.epoch",
    );
    tx.execute(statement.bind(ids).bind(least)).await.map(drop)
}

/// Removes a user that has no session rows left.
///
/// # Errors
/// [`Error::UserNotFound`].
pub async fn delete(tx: &mut Conn, id: UserId) -> Result<(), Error> {
    touched_one(tx.execute(query("DELETE FROM users WHERE id = $1").bind(id.0)).await?)
}

pub(super) fn touched_one(rows: u64) -> Result<(), Error> {
    match rows {
        1 => Ok(()),
        0 => Err(Error::UserNotFound),
        _ => Err(Error::internal("a statement by id touched several users")),
    }
}
