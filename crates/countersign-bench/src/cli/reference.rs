//! `countersign-bench reference`: what this machine can do at most.

use std::time::Duration;

use clap::Args;
use countersign::{
    config::{DatabasePlace, PolicySettings, checked},
    domain::policy::HashPolicy,
    error::Error,
    store::StoreSettings,
};

use super::figures::{half_of_the_cores, seconds, show};
use crate::reference::ReferenceBench;

/// The pool through which rows are committed; as large as the server's by default.
const CONNECTIONS: u32 = 16;

#[derive(Args)]
pub(super) struct Reference {
    /// The database in which a table is made for the commits; without it they are left out
    #[command(flatten)]
    database: DatabasePlace,

    #[command(flatten)]
    policy: PolicySettings,

    /// Time for which each figure is measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,

    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

impl Reference {
    pub(super) fn run(self) -> Result<(), Error> {
        let HashPolicy { threads, cost, .. } = checked(|violations| self.policy.check(violations))?.passwords.hashing;
        let database = self.database.find()?.map(|url| StoreSettings {
            url,
            connections: CONNECTIONS,
            deadline: Duration::from_secs(30),
        });
        let bench = ReferenceBench {
            each: seconds("seconds", self.seconds)?,
            cost,
            hash_threads: threads,
            callers: half_of_the_cores(),
            database,
        };
        show(&bench.measure()?, self.json)
    }
}
