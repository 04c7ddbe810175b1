//! The generated traits of Envoy's services of discovery.
#![allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
#![expect(unreachable_pub, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/envoy.service.extension.v3.ExtensionConfigDiscoveryService.rs"));
include!(concat!(env!("OUT_DIR"), "/envoy.service.discovery.v3.AggregatedDiscoveryService.rs"));
