//! Protects services by Countersign: access tokens are verified in the service's own
//! process, and a session that ends anywhere is refused within milliseconds.
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
//! let layer = verifier.require().role("clerk").public("/grpc.health.v1.Health/Check");
//!
//! // Or by hand.
//! let caller: Authenticated = verifier.verify("eyJ...").await?;
//! println!("{} with {:?}", caller.user_id, caller.roles);
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! A [`Verifier`] follows one replica at a time by `WatchRevocations`, and goes to another when that one is silent. It accepts no token
//! that was revoked longer ago than [`Builder::max_staleness`], 10 seconds unless set, whatever is broken; while all is well a
//! revocation takes milliseconds. When it has heard nothing for longer, it refuses, or asks the service ([`Fallback::RemoteVerify`]).
//! Expiry is judged by the service's clock. An outage is [`Error::Unavailable`], never a refusal.
//!
//! Deployments that sign by HS256 publish no keys: with them only [`Fallback::RemoteVerify`] works.
//!
//! # The other side
//!
//! [`Countersign`] makes the calls of the contract with deadlines and retries. [`Session`] keeps a pair of tokens alive, and
//! attaches the access token to requests.
//!
//! # Versions
//!
//! The crate follows semantic versioning; raising the least version of Rust is a minor change. Least version: 1.94.

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
