//! Authorization of requests that a proxy asks about, and the cookies in which browsers keep their sessions. Whether a token is
//! valid is `countersign-token`'s to say. Knows neither gRPC nor axum; the edges read requests for it, and write its answers.

mod authorizer;
pub mod cookies;
mod credentials;
mod decision;
mod denial;
mod extensions;
pub mod identity;
mod renewals;
mod request;
#[cfg(test)]
mod testing;

pub use self::{
    authorizer::{Authorizer, BROWSER_CLIENT_ID, MAX_RETURN_TO},
    decision::{Allowed, Decision, Renewal},
    denial::Denial,
    extensions::Extensions,
    request::{AskedRequest, Field},
};
