//! `countersign doctor`: is a deployment sound? One file for each group of checks. What was read is judged by pure functions.
//! Nothing is changed, but for a row of table `proofs` that is committed as a server does.

mod database;
mod files;
mod finding;
mod grants;
mod http;
mod keys;
mod policy;
mod replicas;
mod settings;
mod tables;
#[cfg(test)]
mod testing;
mod tls;

use std::{
    env,
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Args;

use self::{
    finding::{Finding, Paint, verdict},
    http::ServerUrl,
    replicas::Seen,
};
use super::{output::say, serve::Serve, settings::store};
use crate::{
    config::{Policies, Routes, checked},
    domain::policy::ForwardAuth,
    error::Error,
    store::{
        Conn, Store,
        inspection::{self, ServerFacts},
    },
};

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    serve: Serve,

    /// Asks a server that runs too: the URL of its HTTP port, as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    http: Option<ServerUrl>,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Checks all that the settings name, says what was found, and gives the exit code. `known` are the variables of all settings.
    ///
    /// # Errors
    /// Nothing that is found is one.
    pub(super) async fn run(self, known: &[String]) -> Result<ExitCode, Error> {
        let policies = checked(|violations| self.serve.policy.clone().check(violations)).ok();
        let mut found = settings::check(self.serve.clone());
        let set = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        found.extend(settings::variables(set, known));
        found.extend(files::check(&self.serve));
        found.extend(tls::check(&self.serve));
        let forward_auth = policies.as_ref().map_or(ForwardAuth::Off, |policies| policies.authz.forward_auth);
        found.extend(policy::check(self.serve.server.policy_file.as_deref(), Routes::of(forward_auth)));
        self.check_database(policies.as_ref(), &mut found).await;
        if let Some(server) = &self.http {
            found.extend(http::check(server).await);
        }
        // Scripts go by the exit code, whether or not anybody reads the lines.
        drop(self.tell(&found));
        Ok(verdict(&found))
    }

    async fn check_database(&self, policies: Option<&Policies>, found: &mut Vec<Finding>) {
        let store = match store(&self.serve.database) {
            Ok(store) => store,
            Err(error) => {
                found.extend(Finding::of("database.reachable", &error, "correct the settings of the database"));
                return;
            }
        };
        if let Some((mut conn, facts)) = database::reach(&store, found).await {
            found.extend(database::check(&store, &mut conn, &facts).await);
            if let Some(policies) = policies {
                found.push(database::clock(&store, policies.revocation.max_clock_distance).await);
            }
            match self.look_inside(&store, (&mut conn, &facts), policies, found).await {
                Ok(()) => {}
                Err(error) => found.extend(Finding::of("database.read", &error, "see database.grants")),
            }
        }
        store.close().await;
    }

    /// Checks what is in the database, as far as it is migrated and may be read.
    async fn look_inside(
        &self,
        store: &Store,
        (conn, facts): (&mut Conn, &ServerFacts),
        policies: Option<&Policies>,
        found: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let tables = inspection::tables(conn).await?;
        found.extend(grants::judge(facts, &tables));
        if !database::schema(store, found).await {
            return Ok(());
        }
        found.push(database::commits(conn).await);
        found.extend(tables::vacuum(facts, &tables));
        // A statement that failed may have closed the connection.
        let mut conn = store.connect_to_inspect().await?;
        found.extend(tables::open_transactions(&mut conn).await?);
        found.extend(keys::check(store, &self.serve.master_keys, policies.map(|policies| policies.keys)).await);
        let seen = Seen::look(&mut conn).await?;
        found.push(tables::connections(facts, self.serve.database.database_connections, seen.count()));
        found.extend(seen.judge(policies.map(|policies| policies.revocation.max_staleness)));
        Ok(())
    }

    fn tell(&self, found: &[Finding]) -> Result<(), Error> {
        let is_plain = env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty()) || !io::stdout().is_terminal();
        let paint = if is_plain { Paint::Plain } else { Paint::Colours };
        found.iter().try_for_each(|it| if self.json { say(it.json()) } else { say(it.line(paint)) })
    }
}
