//! Generates the traits of the services that we serve, over the messages of `countersign-proto`.

use std::error::Error;

const PACKAGE: &str = ".countersign.v1";
const PROTOS: [&str; 2] = ["countersign/v1/auth.proto", "countersign/v1/user.proto"];
/// Answers that `src/grpc/verify_response.rs` encodes by itself.
const HAND_WRITTEN: [&str; 2] = ["VerifyResponse", "VerifyBatchResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/countersign");
    println!("cargo:rerun-if-changed=migrations");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let mut services = tonic_prost_build::configure()
        .codec_path("::countersign_proto::codec::Codec")
        .build_client(false)
        .extern_path(PACKAGE, "::countersign_proto::v1");
    for message in HAND_WRITTEN {
        services =
            services.extern_path(format!("{PACKAGE}.{message}"), format!("crate::grpc::verify_response::{message}"));
    }
    services.compile_fds(descriptors)?;
    Ok(())
}
