//! `countersign user`: administration from the machine, straight on the database. Running servers learn of ended
//! sessions through the revocation log. It opens no key, so a password that it sets has no pepper until the first login.

use std::io;

use clap::{Args, Subcommand};
use countersign_token::{clock::Clock, ids::UserId};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    output::{moment, say},
    settings::{checked_store, require_schema},
    user_export::UserExport,
    user_import::UserImport,
};
use crate::{
    auth::{
        Accounts, Page,
        users::{AccountStatus, UserChange, UserKey},
    },
    config::{DatabaseSettings, PolicySettings},
    domain::{
        audit::Actor,
        password::Password,
        text::first_line,
        user::{Username, parse_roles},
    },
    error::Error,
    revocation::changes::Revoked,
    server,
};

/// The longest password line that is read.
const MAX_LINE: u64 = 4096;

#[derive(Args)]
pub(super) struct User {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    policy: PolicySettings,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create a user
    Add {
        username: String,
        /// A role; give it several times for several
        #[arg(long = "role")]
        roles: Vec<String>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// List the users
    List,
    /// Set a password and end the user's sessions
    Passwd {
        username: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Forbid a user to log in and end its sessions
    Disable { username: String },
    /// Allow a user to log in again
    Enable { username: String },
    /// Delete a user and end its sessions
    Delete { username: String },
    /// Take over users of another system with their password hashes; safe to run again
    Import(UserImport),
    /// Write all users with their password hashes, as import reads them
    Export(UserExport),
}

#[derive(Args)]
struct PasswordSource {
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

impl User {
    pub(super) async fn run(self) -> Result<(), Error> {
        let (store, policies) = checked_store(&self.database, self.policy)?;
        require_schema(&store).await?;
        let accounts = server::accounts(store, policies, Actor::CommandLine, Clock::system())?;
        let outcome = act(&accounts, self.action).await;
        accounts.base.store.close().await;
        outcome
    }
}

async fn act(accounts: &Accounts, action: Action) -> Result<(), Error> {
    match action {
        Action::Add { username, roles, password } => {
            let (username, roles) = (Username::parse(&username)?, parse_roles(roles)?);
            let password = password.read(accounts).await?;
            let user = accounts.users.create(username, password, roles).await?;
            say(format_args!("created {} {}", user.id, user.username.as_str()))
        }
        Action::List => list(accounts).await,
        Action::Passwd { username, password } => {
            let id = find(accounts, &username).await?;
            let password = password.read(accounts).await?;
            report("password set", accounts.users.set_password(id, password).await?)
        }
        Action::Disable { username } => {
            let id = find(accounts, &username).await?;
            let (_, revoked) = accounts.users.update(id, status(AccountStatus::Disabled)).await?;
            report("disabled", revoked)
        }
        Action::Enable { username } => {
            let id = find(accounts, &username).await?;
            accounts.users.update(id, status(AccountStatus::Enabled)).await?;
            say("enabled")
        }
        Action::Delete { username } => {
            let id = find(accounts, &username).await?;
            report("deleted", accounts.users.delete(id).await?)
        }
        Action::Import(import) => import.run(accounts).await,
        Action::Export(export) => export.run(accounts).await,
    }
}

async fn find(accounts: &Accounts, username: &str) -> Result<UserId, Error> {
    let key = UserKey::Name(Username::parse(username)?);
    Ok(accounts.users.find(&key).await?.id)
}

async fn list(accounts: &Accounts) -> Result<(), Error> {
    let mut page = Page { after: Uuid::nil(), size: 1000 };
    loop {
        let users = accounts.users.list(page).await?;
        for user in &users {
            let status = if user.disabled_at.is_some() { "disabled" } else { "enabled" };
            let name = user.username.as_str();
            say(format_args!("{}  {status:8}  {name}  {}", user.id, user.roles.join(",")))?;
        }
        match users.last() {
            Some(last) if users.len() == usize::from(page.size) => page.after = last.id.0,
            _ => return Ok(()),
        }
    }
}

fn status(status: AccountStatus) -> UserChange {
    UserChange { status: Some(status), ..UserChange::default() }
}

fn report(what: &str, revoked: Revoked) -> Result<(), Error> {
    let (sessions, by) = (revoked.sessions, revoked.committed.everywhere_by.map(moment).unwrap_or_default());
    say(format_args!("{what}; {sessions} sessions ended, on every replica by {by}"))
}

impl PasswordSource {
    async fn read(&self, accounts: &Accounts) -> Result<Password, Error> {
        // Before asking: a long list takes a while.
        accounts.passwords.load_rules()?;
        let text = if self.password_stdin { read_line().await? } else { prompt()? };
        Password::parse_new("password", &text, accounts.passwords.min_length())
    }
}

/// The first line of standard input, without its end, and without the mark that some shells put before it.
///
/// # Errors
/// [`Error::InvalidArgument`] when it cannot be read.
pub async fn read_line() -> Result<Zeroizing<String>, Error> {
    let mut line = Zeroizing::new(String::new());
    let mut input = BufReader::new(tokio::io::stdin().take(MAX_LINE));
    input.read_line(&mut line).await.map_err(unreadable)?;
    Ok(Zeroizing::new(first_line(&line).to_owned()))
}

fn prompt() -> Result<Zeroizing<String>, Error> {
    let ask = |question: &str| rpassword::prompt_password(question).map(Zeroizing::new).map_err(unreadable);
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    if first == second { Ok(first) } else { Err(Error::invalid("password", "the two differ")) }
}

fn unreadable(error: io::Error) -> Error {
    Error::invalid("password", format!("cannot be read: {error}"))
}
