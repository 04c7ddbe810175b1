//! Authorization of requests that a proxy asks about, and the cookies in which browsers keep their sessions. Whether a token is
//! valid is `countersign-token`'s to say. Knows neither gRPC nor axum; the edges read requests for it, and write its answers.

mod authorizer;
pub mod cookies;
mod credentials;
mod denial;
mod extensions;
pub mod identity;
mod renewals;
mod request;
#[cfg(test)]
mod testing;

pub use self::{
    authorizer::{Allowed, Authorizer, BROWSER_CLIENT_ID, Decision, MAX_RETURN_TO, Renewal},
    denial::Denial,
    extensions::Extensions,
    request::{AskedRequest, Field},
};
