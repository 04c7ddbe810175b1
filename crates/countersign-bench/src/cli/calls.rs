//! The calls of a load, and the messages that are made for them.

use std::{env, path::PathBuf, time::Duration};

use clap::Args;
use countersign::{cli::read_line, config::read_file, error::Error};
use countersign_token::clock::Clock;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::{
    call::Mix,
    prepare::{Credentials, Preparation},
    supply::Plan,
    wire::Target,
};

/// No flag sets it: what is on a command line is no secret.
const PASSWORD: &str = "COUNTERSIGN_BENCH_PASSWORD";

/// The calls of a run, and their input.
#[derive(Args)]
pub(super) struct Calls {
    /// The server, as http://host:port
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    target: String,

    /// verify-warm, verify-cold, verify-revoked, verify-expired, verify-garbage, verify-batch, login, refresh, revoke,
    /// revoke-by-id, empty; or several with weights: verify-warm=90,refresh=9,login=1
    #[arg(long, default_value = "verify-warm")]
    call: Mix,

    /// Name of the user who logs in, with the password in COUNTERSIGN_BENCH_PASSWORD or on standard input
    #[arg(long)]
    username: Option<String>,

    /// Several users of one password: USERNAME-1 to USERNAME-N, as `seed` makes them; 0 for USERNAME itself
    #[arg(long, default_value_t = 0)]
    users: usize,

    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,

    /// The bearer token of administrators, for revoke-by-id
    #[arg(long)]
    admin_token_file: Option<PathBuf>,

    /// Tokens of verify-cold, each used once; sessions of revoke-by-id
    #[arg(long, default_value_t = 100_000)]
    tokens: usize,

    /// Sessions of revoke, each of which costs a login
    #[arg(long, default_value_t = 500)]
    sessions: usize,

    /// Tokens in a call of verify-batch
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,

    /// Longest time to wait for the tokens of verify-expired to expire
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

impl Calls {
    /// Makes the messages before the load, in a runtime that ends then.
    pub(super) fn prepare(&self, callers: usize) -> Result<(Target, Plan), Error> {
        let runtime = Runtime::new().map_err(Error::internal)?;
        runtime.block_on(async {
            let target = Target::parse(&self.target).await?;
            let bearer = self.admin_token_file.as_ref().map(|path| read_file("admin-token-file", path)).transpose()?;
            let preparation = Preparation {
                target: target.clone(),
                credentials: self.credentials().await?,
                bearer: bearer.map(|token| Zeroizing::new(token.trim().to_owned())),
                tokens: self.tokens,
                sessions: self.sessions,
                batch: usize::from(self.batch),
                wait: self.wait,
                clock: Clock::system(),
            };
            Ok((target, preparation.plan(&self.call, callers).await?))
        })
    }

    async fn credentials(&self) -> Result<Option<Credentials>, Error> {
        let Some(username) = self.username.clone() else {
            return Ok(None);
        };
        let variable = env::var(PASSWORD).ok().filter(|password| !password.is_empty());
        let password = match variable {
            _ if self.password_stdin => read_line().await?,
            Some(password) => Zeroizing::new(password),
            None => return Err(Error::invalid("username", format!("--password-stdin, or {PASSWORD}"))),
        };
        Ok(Some(Credentials { username, users: self.users, password }))
    }
}
