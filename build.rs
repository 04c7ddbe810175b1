//! Compiles the proto files with protox, so that no protoc needs to be installed. Also writes the descriptor set that
//! server reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PACKAGE: &str = ".countersign.v1";
const PROTOS: [&str; 2] = ["countersign/v1/auth.proto", "countersign/v1/user.proto"];

/// Messages that carry a password, a hash or a token: their Debug is written by hand in `src/grpc/redact.rs`.
const SECRET: [&str; 11] = [
    "TokenPair",
    "LoginRequest",
    "LoginResponse",
    "VerifyRequest",
    "VerifyBatchRequest",
    "RefreshRequest",
    "RevokeRequest",
    "CreateUserRequest",
    "SetPasswordRequest",
    "ChangePasswordRequest",
    "ImportedUser",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut skip: Vec<String> = SECRET.map(|name| format!("countersign.v1.{name}")).into();
    skip.push("countersign.v1.RevokeRequest.target".into());
    let generate = || tonic_prost_build::configure().codec_path("crate::grpc::codec::Codec");
    generate().build_server(false).skip_debug(skip).compile_fds(descriptors.clone())?;
    // The same messages for the services that we serve, but for those that are written by `src/grpc/verdict.rs`.
    let mut services = generate().build_client(false).extern_path(PACKAGE, "crate::grpc::v1");
    for message in ["VerifyResponse", "VerifyBatchResponse"] {
        services = services.extern_path(format!("{PACKAGE}.{message}"), format!("crate::grpc::verdict::{message}"));
    }
    let out = out.join("services");
    fs::create_dir_all(&out)?;
    services.out_dir(out).compile_fds(descriptors)?;
    Ok(())
}
