//! Table `users`: what has to do with password hashes.

use countersign_token::ids::UserId;
use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Conn,
    proofs::proving,
    users::{Row, columns, touched_one},
};
use crate::{
    domain::{
        password_hash::PasswordHash,
        user::{User, Username},
    },
    error::Error,
};

/// Numbers of pages that hashes are sampled from, the second if the first have few. Users who came together, with hashes of
/// one kind, are together on pages, so that many pages count for more than many users.
const SAMPLED_PAGES: [f64; 2] = [1000.0, 8000.0];

/// A user as it is stored, with its password hash.
#[derive(Clone, Debug)]
pub struct UserWithHash {
    /// The user.
    pub user: User,
    /// The hash in one of the forms that `crypto` reads.
    pub password_hash: PasswordHash,
}

impl UserWithHash {
    /// The facts that decide if a password is right and its user may log in.
    pub fn decisive(&self) -> (UserId, &PasswordHash, Option<OffsetDateTime>) {
        (self.user.id, &self.password_hash, self.user.disabled_at)
    }
}

#[derive(sqlx::FromRow)]
struct CredentialsRow {
    #[sqlx(flatten)]
    row: Row,
    password_hash: String,
}

impl From<CredentialsRow> for UserWithHash {
    fn from(found: CredentialsRow) -> Self {
        Self { user: found.row.into(), password_hash: PasswordHash::from_stored(found.password_hash) }
    }
}

/// Adds those users whose names are free, by one statement, and gives their ids. The rows are locked in one order.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn insert_many(conn: &mut Conn, users: &[UserWithHash]) -> Result<Vec<UserId>, Error> {
    let column = |value: fn(&User) -> Option<OffsetDateTime>| users.iter().map(|c| value(&c.user)).collect::<Vec<_>>();
    let text = |value: fn(&UserWithHash) -> String| users.iter().map(value).collect::<Vec<_>>();
    // No role has a comma (domain/user.rs). A conflict is passed over: an error would put the name into the log.
    let statement = query_as::<_, (Uuid,)>(
        "INSERT INTO users (id, username, password_hash, roles, epoch, disabled_at, password_changed_at, created_at, \
         updated_at) SELECT id, username, hash, string_to_array(roles, ','), 0, disabled_at, changed_at, created_at, \
         updated_at FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], \
         $7::timestamptz[], $8::timestamptz[]) AS n (id, username, hash, roles, disabled_at, changed_at, created_at, \
         updated_at) ORDER BY username ON CONFLICT (username) DO NOTHING RETURNING id",
    )
    .bind(users.iter().map(|c| c.user.id.0).collect::<Vec<_>>())
    .bind(text(|c| c.user.username.as_str().to_owned()))
    .bind(text(|c| c.password_hash.as_str().to_owned()))
    .bind(text(|c| c.user.roles.join(",")))
    .bind(column(|user| user.disabled_at))
    .bind(column(|user| Some(user.password_changed_at)))
    .bind(column(|user| Some(user.created_at)))
    .bind(column(|user| Some(user.updated_at)));
    Ok(conn.fetch_all(statement).await?.into_iter().map(|(id,)| UserId(id)).collect())
}

/// The user of that name, with the password hash and the epoch as of one moment.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn find(conn: &mut Conn, name: &Username) -> Result<Option<UserWithHash>, Error> {
    let text = concat!("SELECT ", columns!(), ", password_hash FROM users WHERE username = $1");
    let statement = query_as::<_, CredentialsRow>(text).bind(name.as_str());
    Ok(conn.fetch_optional(statement).await?.map(UserWithHash::from))
}

/// The users of these names, as a database has them that commits (rule M1).
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`]: nothing is known.
pub async fn find_all(conn: &mut Conn, names: &[Username]) -> Result<Vec<UserWithHash>, Error> {
    let text = proving!("SELECT ", columns!(), ", password_hash FROM users WHERE username = ANY($1)");
    let names: Vec<&str> = names.iter().map(Username::as_str).collect();
    let rows = conn.fetch_all(query_as::<_, CredentialsRow>(text).bind(names)).await?;
    Ok(rows.into_iter().map(UserWithHash::from).collect())
}

/// Up to `limit` users after `after`, by id, with their password hashes.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn list(conn: &mut Conn, after: Uuid, limit: i64) -> Result<Vec<UserWithHash>, Error> {
    let text = concat!("SELECT ", columns!(), ", password_hash FROM users WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = conn.fetch_all(query_as::<_, CredentialsRow>(text).bind(after).bind(limit)).await?;
    Ok(rows.into_iter().map(UserWithHash::from).collect())
}

/// The password hashes of up to `count` users, chosen as if at random, but alike by every replica and each time. They are on
/// pages whose number goes by the table's size, which is always known. Where users are few on them, on more pages.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn sample_hashes(conn: &mut Conn, count: u32) -> Result<Vec<PasswordHash>, Error> {
    let size = query_as::<_, (i64,)>("SELECT pg_relation_size('users') / current_setting('block_size')::bigint");
    let pages = conn.fetch_optional(size).await?.map_or(0, |(pages,)| pages);
    let mut hashes = Vec::new();
    for sampled in SAMPLED_PAGES {
        let percent = (sampled * 100.0 / pages.max(1) as f64).min(100.0);
        // Not in the order of the pages: who was imported first is first on them.
        let sample = "SELECT password_hash FROM users TABLESAMPLE SYSTEM ($1) REPEATABLE (0) \
                      ORDER BY uuid_hash(id) LIMIT $2";
        hashes = conn.fetch_all(query_as::<_, (String,)>(sample).bind(percent).bind(i64::from(count))).await?;
        if percent >= 100.0 || hashes.len() * 2 >= count as usize {
            break;
        }
    }
    Ok(hashes.into_iter().map(|(hash,)| PasswordHash::from_stored(hash)).collect())
}

/// Replaces a hash by another of the same password, if it is still `old`.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn replace_hash(conn: &mut Conn, id: UserId, fresh: &PasswordHash, old: &PasswordHash) -> Result<(), Error> {
    let statement = query("UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3");
    conn.execute(statement.bind(id.0).bind(fresh.as_str()).bind(old.as_str())).await.map(drop)
}

/// Replaces the password hash. With `expected`, only if it still is that one.
///
/// # Errors
/// [`Error::UserNotFound`]; [`Error::InvalidCredentials`] when the hash is another by now.
pub async fn set_password(
    tx: &mut Conn,
    id: UserId,
    password_hash: &PasswordHash,
    expected: Option<&PasswordHash>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let statement = query(
        "UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3 \
         WHERE id = $1 AND password_hash = COALESCE($4, password_hash)",
    )
    .bind(id.0)
    .bind(password_hash.as_str())
    .bind(now)
    .bind(expected.map(PasswordHash::as_str));
    match tx.execute(statement).await? {
        0 if expected.is_some() => Err(Error::InvalidCredentials),
        rows => touched_one(rows),
    }
}
