//! The descriptors of the services, for tools that cannot ask a running server for them.

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::error::Error;

/// The encoded descriptors (`google.protobuf.FileDescriptorSet`) of our services and of all that they import.
///
/// # Errors
/// [`Error::Internal`] for descriptors that cannot be read.
pub fn descriptors() -> Result<Vec<u8>, Error> {
    Ok(complete()?.encode_to_vec())
}

/// Files of ours and all that they import, and those of the statuses that errors carry: transcoders write these too.
fn complete() -> Result<FileDescriptorSet, Error> {
    let mut complete = FileDescriptorSet::default();
    for set in [countersign_proto::DESCRIPTORS, tonic_types::pb::FILE_DESCRIPTOR_SET] {
        for mut file in FileDescriptorSet::decode(set).map_err(Error::internal)?.file {
            if file.package() == "google.rpc" {
                // By the name under which others import it.
                file.name = Some(format!("google/rpc/{}", file.name()));
            }
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
