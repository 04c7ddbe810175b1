//! `countersign-bench body`: one message of a call, for other load generators.

use std::{io::Write as _, path::PathBuf};

use clap::Args;
use countersign::{cli::create_secret_file, error::Error};

use super::calls::Calls;

#[derive(Args)]
pub(super) struct Body {
    #[command(flatten)]
    calls: Calls,

    /// A new file, which its owner alone may read: the message may hold a token or a password
    #[arg(long)]
    output: PathBuf,
}

impl Body {
    pub(super) fn run(&self) -> Result<(), Error> {
        let (_, plan) = self.calls.prepare(1)?;
        let message = plan.first().ok_or_else(|| Error::invalid("tokens", "there is no message"))?;
        let written = create_secret_file("output", &self.output)?.write_all(&message);
        written.map_err(|error| Error::invalid("output", format!("cannot be written: {error}")))
    }
}
