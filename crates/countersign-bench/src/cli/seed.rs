//! `countersign-bench seed`: fills a database with users and live sessions, to measure how a server does with many.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use countersign::{
    cli::{Progress, checked_store, require_schema, say},
    config::{DatabaseSettings, PolicySettings},
    crypto::{password::PasswordHasher, random},
    domain::{password::Password, policy::HashPolicy},
    error::Error,
};
use countersign_token::clock::Clock;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::seed;

const PASSWORD_BYTES: usize = 18;

#[derive(Args)]
pub(super) struct Seed {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    policy: PolicySettings,

    /// Number of users, called PREFIX-1, PREFIX-2 and so on
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    users: u64,

    /// Number of live sessions that they have together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    sessions: u64,

    /// Beginning of the names; no user may be called so yet
    #[arg(long, default_value = "bench")]
    prefix: String,

    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

impl Seed {
    pub(super) async fn run(self) -> Result<(), Error> {
        let (store, policies) = checked_store(&self.database, self.policy.clone())?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.chars().all(plain) {
            return Err(Error::invalid("prefix", "1 to 64 lower-case letters, digits and hyphens"));
        }
        require_schema(&store).await?;
        let password = Zeroizing::new(URL_SAFE_NO_PAD.encode(random::bytes::<PASSWORD_BYTES>()?));
        let hashing = HashPolicy { threads: 1, queue: 1, ..policies.passwords.hashing };
        let hasher = PasswordHasher::start(hashing)?;
        let hash = hasher.hash(Password::parse("password", &password)?, None).await?;
        let begun = Instant::now();
        let seed = seed::Seed {
            prefix: &self.prefix,
            password_hash: hash.as_str(),
            users: self.users,
            sessions: self.sessions,
            now: Clock::system().now(),
        };
        let mut progress = Progress::of("rows written", Some(self.users + self.sessions));
        seed::fill(&store, seed, &mut progress).await.map_err(|error| match error {
            Error::UsernameTaken => Error::invalid("prefix", "there are users of that prefix: take another"),
            error => error,
        })?;
        drop(progress);
        store.close().await;
        self.report(&password, begun.elapsed().as_secs_f64())
    }

    /// The password is told here and nowhere else.
    fn report(&self, password: &str, seconds: f64) -> Result<(), Error> {
        let Self { users, sessions, prefix, .. } = self;
        if self.json {
            let facts = json!({"users": users, "sessions": sessions, "prefix": prefix, "password": password, "seconds": seconds});
            return say(facts);
        }
        say(format_args!("users {prefix}-1 to {prefix}-{users}, {sessions} live sessions, in {seconds:.1} s"))?;
        say(format_args!("password of all of them: {password}"))
    }
}
