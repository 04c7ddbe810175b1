//! Protects services by Countersign.
//!
//! ```no_run
//! use countersign_client::{Authenticated, Endpoints, Verifier};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoints = Endpoints::new(["http://auth-1:50051", "http://auth-2:50051"])?;
//! let verifier = Verifier::builder(endpoints).audience("orders").start();
//! verifier.ready().await?;
//!
//! // A layer for tonic and axum: it refuses requests without a valid token, and puts `Authenticated` into their extensions.
//! let _layer = verifier.require().role("clerk").public("/grpc.health.v1.Health/Check");
//!
//! // Or by hand.
//! let caller: Authenticated = verifier.verify("eyJ...").await?;
//! println!("{} with {:?}", caller.user_id, caller.roles);
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("../README.md")]

#[cfg(feature = "axum")]
mod axum;
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
pub use tonic::transport::{Certificate, ClientTlsConfig, Identity};

pub use self::{
    client::Countersign,
    demand::Demand,
    endpoints::Endpoints,
    error::{Error, Reason},
    layer::{Guard, Require},
    principal::{Authenticated, Principal},
    session::Session,
    session_layer::{AttachToken, SessionLayer},
    shared::Event,
    verifier::{Builder, Fallback, Verifier},
};
