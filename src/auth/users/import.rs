//! Moving users in and out, with their password hashes. A batch of rows is one transaction, so that it is written as a
//! whole or not at all. A row that is refused or skipped holds up no other. Whoever breaks off starts again from the
//! beginning: names that are there are passed over.

use std::{collections::HashSet, sync::Arc};

use countersign_token::ids::UserId;
use time::OffsetDateTime;

use super::{
    super::{completion::detached, page::Page},
    AccountStatus, Users,
};
use crate::{
    crypto::{foreign_hash, secret::Secret},
    domain::{
        audit::{Event, Kind},
        password_hash::Normalization,
        policy::WeakHashes,
        user::{User, Username, parse_roles},
    },
    error::{Error, Violation},
    revocation::changes::Changes,
    store::{
        credentials::{self, UserWithHash},
        proofs, retrying, users,
    },
};

/// Decides if an import writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// Write the rows.
    Write,
    /// Write nothing, and say what would be written.
    DryRun,
}

/// A row as it was sent.
#[derive(Debug)]
pub struct ImportRow {
    /// The name of the user.
    pub username: String,
    /// The password hash in one of the forms of `crypto/foreign_hash`.
    pub password_hash: Secret,
    /// The treatment of the password before it was hashed.
    pub normalization: Normalization,
    /// The roles of the user.
    pub roles: Vec<String>,
    /// The status of the user's account.
    pub status: AccountStatus,
    /// The moment at which the user was created, if that is known.
    pub created_at: Option<OffsetDateTime>,
}

/// The outcome of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The row was written, or would be.
    Imported,
    /// There is a user of this name.
    Exists,
    /// An earlier row of this import has the same name.
    Duplicate,
    /// The row is malformed.
    Invalid(Vec<Violation>),
}

/// Number of rows by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Written, or would be.
    pub imported: u64,
    /// There already, or twice.
    pub skipped: u64,
    /// Number of rows that were malformed.
    pub refused: u64,
}

impl Totals {
    /// Counts one more.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Imported => self.imported += 1,
            Outcome::Exists | Outcome::Duplicate => self.skipped += 1,
            Outcome::Invalid(_) => self.refused += 1,
        }
    }

    /// Number of all rows.
    pub fn rows(&self) -> u64 {
        self.imported + self.skipped + self.refused
    }
}

/// An import under way.
#[derive(Debug)]
pub struct Import {
    mode: ImportMode,
    /// The names so far.
    seen: HashSet<Username>,
}

impl Import {
    /// An import that has seen nothing.
    pub fn new(mode: ImportMode) -> Self {
        Self { mode, seen: HashSet::new() }
    }

    /// Makes the user of a row, or says why there is none, as far as that is known without the database.
    fn check(&mut self, row: ImportRow, weak: WeakHashes, now: OffsetDateTime) -> Result<UserWithHash, Outcome> {
        let credentials = row.parse(weak, now).map_err(Outcome::Invalid)?;
        let first = self.seen.insert(credentials.user.username.clone());
        if first { Ok(credentials) } else { Err(Outcome::Duplicate) }
    }
}

impl ImportRow {
    /// The user, or all that is wrong.
    fn parse(self, weak: WeakHashes, now: OffsetDateTime) -> Result<UserWithHash, Vec<Violation>> {
        let mut violations = Vec::new();
        let username = valid(Username::parse(&self.username), &mut violations);
        let hash = foreign_hash::parse_imported(self.password_hash.expose(), self.normalization, weak);
        let hash = valid(hash, &mut violations);
        let roles = valid(parse_roles(self.roles), &mut violations);
        let created_at = self.created_at.unwrap_or(now);
        if !(OffsetDateTime::UNIX_EPOCH..=now).contains(&created_at) {
            violations.push(Violation { field: "created_at", description: "between 1970 and now".to_owned() });
        }
        let (Some(username), Some(password_hash), Some(roles), true) = (username, hash, roles, violations.is_empty())
        else {
            return Err(violations);
        };
        let user = User {
            id: UserId::new(created_at),
            username,
            roles,
            epoch: 0,
            disabled_at: (self.status == AccountStatus::Disabled).then_some(now),
            password_changed_at: now,
            created_at,
            updated_at: now,
        };
        Ok(UserWithHash { user, password_hash })
    }
}

fn valid<T>(parsed: Result<T, Error>, violations: &mut Vec<Violation>) -> Option<T> {
    match parsed {
        Ok(value) => Some(value),
        Err(Error::InvalidArgument(more)) => {
            violations.extend(more);
            None
        }
        Err(_) => None,
    }
}

impl Users {
    /// Imports a batch of rows, and says what became of each.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: the batch may or may not have been written.
    pub async fn import(
        self: &Arc<Self>,
        import: Import,
        rows: Vec<ImportRow>,
    ) -> Result<(Import, Vec<Outcome>), Error> {
        detached(self, |users| async move { users.import_batch(import, rows).await }).await
    }

    async fn import_batch(&self, mut import: Import, rows: Vec<ImportRow>) -> Result<(Import, Vec<Outcome>), Error> {
        self.passwords.may_import()?;
        let (now, weak) = (self.base.clock.now(), self.passwords.weak_hashes());
        let mut outcomes = Vec::with_capacity(rows.len());
        let (mut new, mut places) = (Vec::new(), Vec::new());
        for row in rows {
            match import.check(row, weak, now) {
                Ok(credentials) => {
                    places.push(outcomes.len());
                    new.push(credentials);
                    outcomes.push(Outcome::Exists);
                }
                Err(outcome) => outcomes.push(outcome),
            }
        }
        let free = match import.mode {
            ImportMode::Write => self.insert_all(&new).await?,
            ImportMode::DryRun => self.free(&new).await?,
        };
        for (place, credentials) in places.into_iter().zip(&new) {
            if let Some(outcome) = outcomes.get_mut(place).filter(|_| free.contains(&credentials.user.id)) {
                *outcome = Outcome::Imported;
            }
        }
        Ok((import, outcomes))
    }

    async fn insert_all(&self, new: &[UserWithHash]) -> Result<HashSet<UserId>, Error> {
        retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            let written: HashSet<UserId> = credentials::insert_many(&mut tx, new).await?.into_iter().collect();
            if written.is_empty() {
                // That all are there already rests on what was read.
                proofs::commit(&mut tx).await?;
                return Ok(written);
            }
            let event = Event::new(Kind::UsersImported, self.base.operator).times(written.len());
            self.base.log.commit(tx, Changes::only(vec![event])).await?;
            Ok(written)
        })
        .await
    }

    /// The users of `new` that would be written.
    async fn free(&self, new: &[UserWithHash]) -> Result<HashSet<UserId>, Error> {
        let names: Vec<&Username> = new.iter().map(|c| &c.user.username).collect();
        let mut conn = self.base.store.acquire().await?;
        let taken: HashSet<Username> = users::taken(&mut conn, &names).await?.into_iter().collect();
        Ok(new.iter().filter(|c| !taken.contains(&c.user.username)).map(|c| c.user.id).collect())
    }

    /// One page of the users with their password hashes, by the time of their creation; for the command line alone.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn export(&self, page: Page) -> Result<Vec<UserWithHash>, Error> {
        if page.after.is_nil() {
            self.base.audit.note(Event::new(Kind::UsersExported, self.base.operator)).await?;
        }
        let mut conn = self.base.store.acquire().await?;
        credentials::list(&mut conn, page.after, page.size.into()).await
    }
}
