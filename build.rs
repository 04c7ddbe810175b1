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
    let of_envoy = [
        ext_authz(),
        discovery("extension", "ExtensionConfigDiscoveryService", "DeltaExtensionConfigs"),
        discovery("discovery", "AggregatedDiscoveryService", "DeltaAggregatedResources"),
    ];
    tonic_build::manual::Builder::new().build_client(false).compile(&of_envoy);
    Ok(())
}

/// A service of Envoy by which it is told of resources and of their changes.
fn discovery(package: &str, name: &str, method: &str) -> tonic_build::manual::Service {
    let delta = tonic_build::manual::Method::builder()
        .name(snake(method))
        .route_name(method)
        .input_type("crate::grpc::xds::messages::DeltaDiscoveryRequest")
        .output_type("crate::grpc::xds::messages::DeltaDiscoveryResponse")
        .codec_path("::countersign_proto::codec::Codec")
        .client_streaming()
        .server_streaming()
        .build();
    let service = tonic_build::manual::Service::builder().name(name).package(format!("envoy.service.{package}.v3"));
    service.method(delta).build()
}

/// Envoy's service, over messages that `src/grpc/ext_authz/` declares: those of Envoy are many thousand lines.
fn ext_authz() -> tonic_build::manual::Service {
    let check = tonic_build::manual::Method::builder()
        .name("check")
        .route_name("Check")
        .input_type("crate::grpc::ext_authz::question::CheckRequest")
        .output_type("crate::grpc::ext_authz::answer::Answer")
        .codec_path("crate::grpc::ext_authz::codec::Codec")
        .build();
    let service = tonic_build::manual::Service::builder().name("Authorization").package("envoy.service.auth.v3");
    service.method(check).build()
}

/// A name in lower case, with underscores before what were capitals.
fn snake(name: &str) -> String {
    let lower = name.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain(c.to_lowercase()));
    lower.collect::<String>().trim_start_matches('_').to_owned()
}
