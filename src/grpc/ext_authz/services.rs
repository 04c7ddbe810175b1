//! The generated trait of Envoy's service.
#![allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
#![expect(unreachable_pub, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/envoy.service.auth.v3.Authorization.rs"));
