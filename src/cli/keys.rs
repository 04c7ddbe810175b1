//! `countersign keys`: the keys that sign tokens and the peppers of passwords, straight on the database; running servers
//! follow through the revocation log. And the master keys that seal them.

use std::{fmt::Write as _, time::Duration};

use clap::{Args, Subcommand};
use countersign_token::clock::Clock;
use zeroize::Zeroizing;

use super::{
    output::{moment, say},
    progress::Progress,
    secret_file::SecretOutput,
    settings::{checked_store, master_keys, require_schema, store},
};
use crate::{
    auth::{Auth, keys},
    config::{DatabaseSettings, MasterKeySettings, Policies, PolicySettings},
    crypto::seal::MasterKeys,
    domain::{audit::Actor, key::Purpose},
    error::Error,
    server,
    store::keys::StoredKey,
};

#[derive(Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the keys: what for, name, algorithm, stage and for how long
    List(Database),
    /// Let the next key sign from now on, or a new pepper go into password hashes; the one before goes on verifying
    Rotate {
        #[command(flatten)]
        sealed: Sealed,
        /// Purpose of the key: access_token, refresh_token or pepper
        #[arg(long, default_value = "access_token")]
        purpose: Purpose,
    },
    /// Emergency: end all tokens of a key everywhere, and sign with a fresh one
    Kill {
        #[command(flatten)]
        sealed: Sealed,
        /// The key's name, as `list` shows it
        kid: String,
    },
    /// Seal all keys with the first master key, so that the others can go
    Reseal(Sealed),
    /// Print all peppers, name and secret in base64, for systems that are to check exported password hashes
    ExportPeppers {
        #[command(flatten)]
        sealed: Sealed,
        #[command(flatten)]
        output: SecretOutput,
    },
    /// Print a new master key
    GenerateMaster(SecretOutput),
}

#[derive(Args)]
struct Database {
    #[command(flatten)]
    database: DatabaseSettings,
}

/// The master keys, and the settings of the servers, which say how a new key is made.
#[derive(Args)]
struct Sealed {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    master_keys: MasterKeySettings,
    #[command(flatten)]
    policy: PolicySettings,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Error> {
        match self.action {
            Action::List(Database { database }) => list(&database).await,
            Action::Rotate { sealed, purpose } => {
                let auth = sealed.auth().await?;
                let kid = auth.keys.rotate(purpose).await?;
                auth.base.store.close().await;
                let verb = if purpose == Purpose::Pepper { "goes into new password hashes" } else { "signs" };
                say(format_args!("{kid} {verb} from now on"))
            }
            Action::Kill { sealed, kid } => {
                let auth = sealed.auth().await?;
                let by = auth.keys.kill(&kid).await?.everywhere_by.map(moment).unwrap_or_default();
                auth.base.store.close().await;
                say(format_args!("killed {kid}; its tokens are refused by every replica by {by}"))
            }
            Action::Reseal(sealed) => reseal(&sealed.auth().await?).await,
            Action::ExportPeppers { sealed, output } => export_peppers(&sealed.auth().await?, &output).await,
            Action::GenerateMaster(output) => output.write(&MasterKeys::generate()?),
        }
    }
}

impl Sealed {
    async fn auth(self) -> Result<Auth, Error> {
        let master_keys = master_keys(&self.master_keys)?;
        let (store, policies) = checked_store(&self.database, self.policy)?;
        require_schema(&store).await?;
        let Policies { keys, tokens, .. } = policies.clone();
        let accounts = server::accounts(store, policies, Actor::CommandLine, Clock::system())?;
        Ok(Auth::new(accounts, master_keys, keys, tokens))
    }
}

async fn list(database: &DatabaseSettings) -> Result<(), Error> {
    let store = store(database)?;
    require_schema(&store).await?;
    let stored = keys::stored(&store).await?.keys;
    store.close().await;
    for StoredKey { key, algorithm, created_at, .. } in stored {
        let age = humantime::format_duration(Duration::from_secs(key.age.as_secs())).to_string();
        let (purpose, stage) = (key.purpose.as_str(), key.stage.as_str());
        let made = moment(created_at);
        say(format_args!("{purpose:13}  {:43}  {algorithm:11}  {stage:7}  for {age:15}  made {made}", key.kid))?;
    }
    Ok(())
}

async fn reseal(auth: &Auth) -> Result<(), Error> {
    let resealed = Progress::of("sealing the keys anew", None).beside(auth.keys.reseal()).await?;
    auth.base.store.close().await;
    let said = say(format_args!("{} keys moved to the first master key", resealed.count));
    all_open(&resealed.closed).and(said)
}

async fn export_peppers(auth: &Auth, output: &SecretOutput) -> Result<(), Error> {
    let exported = auth.keys.export_peppers().await?;
    auth.base.store.close().await;
    let mut lines = Zeroizing::new(String::new());
    for pepper in &exported.peppers {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{} {}", pepper.kid(), pepper.export().expose());
    }
    let written = output.write(&lines);
    all_open(&exported.closed).and(written)
}

/// Fails if there are keys that none of the master keys opens, whether or not anybody reads what was printed.
fn all_open(closed: &[String]) -> Result<(), Error> {
    if closed.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("master-key-file", format!("none of its keys opens {}", closed.join(", "))))
}
