//! `countersign sessions`: what an operator does with all sessions at once, straight on the database.

use clap::{Args, Subcommand};
use countersign_token::clock::Clock;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    output::{moment, say},
    settings::{checked_store, require_schema},
};
use crate::{
    auth::Accounts,
    config::{DatabaseSettings, PolicySettings},
    domain::audit::Actor,
    error::Error,
    server,
};

#[derive(Args)]
pub(super) struct Sessions {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    policy: PolicySettings,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// End the sessions that were opened before a moment
    EndAll {
        /// Time, such as 2026-11-30T12:00:00Z; now, if it is not given
        #[arg(long, value_parser = parse_moment)]
        before: Option<OffsetDateTime>,
    },
    /// Let the sessions live that a restored backup shows, those too that had ended since
    AcceptRestore,
}

impl Sessions {
    pub(super) async fn run(self) -> Result<(), Error> {
        let (store, policies) = checked_store(&self.database, self.policy)?;
        require_schema(&store).await?;
        let accounts = server::accounts(store, policies, Actor::CommandLine, Clock::system())?;
        let said = self.action.run(&accounts).await;
        accounts.base.store.close().await;
        said
    }
}

impl Action {
    async fn run(self, accounts: &Accounts) -> Result<(), Error> {
        match self {
            Self::EndAll { before } => {
                let before = before.unwrap_or(accounts.base.clock.now());
                let by =
                    accounts.sessions.end_opened_before(before).await?.everywhere_by.map(moment).unwrap_or_default();
                say(format_args!("sessions opened before {} ended, on every replica by {by}", moment(before)))
            }
            Self::AcceptRestore => match accounts.sessions.accept_restore().await? {
                true => say("the sessions of the restored database live"),
                false => say("there was nothing to decide"),
            },
        }
    }
}

fn parse_moment(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}
