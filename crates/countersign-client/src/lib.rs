//! Protects services by Countersign.
#![doc = include_str!("../README.md")]

#[cfg(feature = "axum")]
mod axum;
mod builder;
mod client;
mod clock_ahead;
#[cfg(test)]
mod conformance;
mod demand;
mod endpoints;
mod error;
mod follow;
mod layer;
mod principal;
mod session;
mod session_layer;
mod shared;
mod verifier;

/// The messages of the contract, and the clients that were generated of it.
pub use countersign_proto::v1;
#[cfg(feature = "tls")]
pub use tonic::transport::{Certificate, ClientTlsConfig, Identity};

pub use self::{
    builder::Builder,
    client::Countersign,
    demand::Demand,
    endpoints::Endpoints,
    error::{Error, Reason},
    layer::{Guard, Require},
    principal::{Authenticated, Principal},
    session::Session,
    session_layer::{AttachToken, SessionLayer},
    shared::Event,
    verifier::{Fallback, Verifier},
};
