//! `countersign user export`: all users with their password hashes, in the form that `import` reads. Whoever has the file
//! can guess passwords at leisure: it is for its owner's eyes, and is never logged.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use uuid::Uuid;

use super::{
    output::unwritten,
    progress::Progress,
    secret_file::{create_secret_file, warn_if_stdout_is_open},
    user_file::Line,
};
use crate::{
    auth::{Accounts, Page},
    crypto::phc,
    error::Error,
};

const PAGE: u16 = 1000;

#[derive(Args)]
pub(super) struct UserExport {
    /// A new file, which its owner alone may read; standard output if it is not given
    #[arg(long)]
    output: Option<PathBuf>,
}

impl UserExport {
    pub(super) async fn run(self, accounts: &Accounts) -> Result<(), Error> {
        let peppered = match self.output {
            Some(path) => to_file(accounts, &path).await?,
            None => {
                warn_if_stdout_is_open();
                // On a terminal the users are what is to be seen.
                let progress = (!io::stdout().is_terminal()).then(exporting);
                write(accounts, &mut BufWriter::new(io::stdout()), progress).await?
            }
        };
        if peppered > 0 {
            let advice = "they can be checked only with what `countersign keys export-peppers` prints";
            // Nobody is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "hashes that have a pepper: {peppered}; {advice}"));
        }
        Ok(())
    }
}

fn exporting() -> Progress {
    Progress::of("users exported", None)
}

async fn to_file(accounts: &Accounts, path: &Path) -> Result<u64, Error> {
    let file = create_secret_file("output", path)?;
    let written = write_synced(accounts, file).await;
    if written.is_err() {
        // Part of the users could be taken for all of them.
        drop(fs::remove_file(path));
    }
    written
}

async fn write_synced(accounts: &Accounts, file: File) -> Result<u64, Error> {
    let mut output = BufWriter::new(file);
    let peppered = write(accounts, &mut output, Some(exporting())).await?;
    output.get_ref().sync_all().map_err(Error::internal)?;
    Ok(peppered)
}

/// Page by page. Gives the number of hashes that have a pepper.
async fn write(accounts: &Accounts, output: &mut impl Write, mut progress: Option<Progress>) -> Result<u64, Error> {
    let mut page = Page { after: Uuid::nil(), size: PAGE };
    let (mut peppered, mut written) = (0, 0);
    loop {
        let users = accounts.users.export(page).await?;
        let (count, last) = (users.len(), users.last().map(|credentials| credentials.user.id.0));
        for credentials in users {
            peppered += u64::from(phc::is_peppered(&credentials.password_hash));
            serde_json::to_writer(&mut *output, &Line::of(credentials)).map_err(|e| unwritten(e.into()))?;
            output.write_all(b"\n").map_err(unwritten)?;
            written += 1;
        }
        if let Some(progress) = &mut progress {
            progress.at(written);
        }
        match last {
            Some(last) if count == usize::from(PAGE) => page.after = last,
            _ => {
                output.flush().map_err(unwritten)?;
                return Ok(peppered);
            }
        }
    }
}
