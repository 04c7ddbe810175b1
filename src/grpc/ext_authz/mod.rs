//! `envoy.service.auth.v3.Authorization`: Envoy asks whether a request may pass, and whose it is.

mod answer;
mod codec;
mod messages;
mod question;
mod service;
mod services;

pub(super) use self::{service::ExtAuthz, services::authorization_server::AuthorizationServer};

/// The name of the service, in the registry of health too.
pub(super) const SERVICE: &str = "envoy.service.auth.v3.Authorization";
