//! `countersign descriptors`: the contract for tools that cannot ask a running server for it.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use clap::Args;

use super::output::unwritten;
use crate::{domain::text::system_words, error::Error, grpc};

#[derive(Args)]
pub(super) struct Descriptors {
    /// File to write; standard output, if it is not given
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Descriptors {
    pub(super) fn run(self) -> Result<(), Error> {
        let encoded = grpc::descriptors()?;
        match self.out {
            Some(path) => fs::write(&path, encoded).map_err(|error| {
                Error::invalid("out", format!("{} cannot be written: {}", path.display(), system_words(&error)))
            }),
            None => {
                let mut stdout = io::stdout();
                // What has no line's end would be written at the end of the process, where nobody learns that it failed.
                stdout.write_all(&encoded).and_then(|()| stdout.flush()).map_err(unwritten)
            }
        }
    }
}
