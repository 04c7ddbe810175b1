//! `countersign migrate`: brings the schema up to date. Safe to run again, and beside running servers.

use clap::Args;

use super::{output::say, progress::Progress, settings::store};
use crate::{config::DatabaseSettings, error::Error};

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    database: DatabaseSettings,
}

impl Migrate {
    pub(super) async fn run(self) -> Result<(), Error> {
        let store = store(&self.database)?;
        store.check_compatible().await?;
        let missing = store.missing_migrations().await?;
        Progress::of("applying migrations", None).beside(store.migrate()).await?;
        say(format_args!("{missing} migrations applied"))
    }
}
