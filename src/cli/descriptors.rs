//! `countersign descriptors`: the contract for tools that cannot ask a running server for it.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use clap::Args;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::output::unwritten;
use crate::error::Error;

#[derive(Args)]
pub(super) struct Descriptors {
    /// File to write; standard output, if it is not given
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Descriptors {
    pub(super) fn run(self) -> Result<(), Error> {
        let encoded = complete()?.encode_to_vec();
        match self.out {
            Some(path) => fs::write(&path, encoded)
                .map_err(|error| Error::invalid("out", format!("{} cannot be written: {error}", path.display()))),
            None => io::stdout().write_all(&encoded).map_err(unwritten),
        }
    }
}

/// Our files and all that they import, and those of the statuses that errors carry: transcoders write these too.
fn complete() -> Result<FileDescriptorSet, Error> {
    let mut complete = FileDescriptorSet::default();
    for set in [countersign_proto::DESCRIPTORS, tonic_types::pb::FILE_DESCRIPTOR_SET] {
        for file in FileDescriptorSet::decode(set).map_err(Error::internal)?.file {
            if complete.file.iter().all(|known| known.name != file.name) {
                complete.file.push(file);
            }
        }
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_comes_after_those_that_it_imports() {
        let complete = complete().expect("descriptors");
        let names: Vec<&str> = complete.file.iter().map(|file| file.name()).collect();
        for (place, file) in complete.file.iter().enumerate() {
            for import in &file.dependency {
                assert!(names[..place].contains(&import.as_str()), "{} before {import}", file.name());
            }
        }
        for name in ["countersign/v1/auth.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"] {
            assert!(names.iter().any(|known| known.ends_with(name)), "{name} in {names:?}");
        }
    }
}
