//! The client side of Login and Revoke, for `countersign mesh selftest`.

use std::{io, time::Duration};

use countersign_proto::v1::{
    LoginRequest, RevokeRequest, auth_service_client::AuthServiceClient, revoke_request::Target,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use crate::{domain::unreached::unreached, error::Error};

/// A caller of a server, perhaps on another machine.
#[derive(Clone, Debug)]
pub struct Client {
    /// The host and the port, as the URL has them.
    place: String,
    calls: AuthServiceClient<Channel>,
    service_token: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// A caller of the server at a URL that `setting` names, with calls that take so long at most. With `https` its certificate
    /// must be of one of these CAs, in PEM. A service token says who calls.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what cannot be used.
    pub fn new(
        setting: &'static str,
        url: &str,
        ca: Option<&str>,
        service_token: Option<&str>,
        limit: Duration,
    ) -> Result<Self, Error> {
        let unusable = || Error::invalid(setting, "http(s)://HOST:PORT of the gRPC port");
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| unusable())?;
        match (endpoint.uri().scheme_str(), ca) {
            (Some("http"), _) => {}
            (Some("https"), Some(ca)) => {
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
                endpoint = endpoint.tls_config(tls).map_err(|error| Error::invalid("ca-file", said(&error)))?;
            }
            (Some("https"), None) => {
                let needed = "https needs the certificates of the CA that vouches for the server";
                return Err(Error::invalid("ca-file", needed));
            }
            _ => return Err(unusable()),
        }
        let bearer = service_token.map(|token| format!("Bearer {token}").parse::<MetadataValue<Ascii>>());
        let mut service_token = bearer.transpose().map_err(|_| Error::invalid("token-file", "a service token"))?;
        if let Some(token) = &mut service_token {
            token.set_sensitive(true);
        }
        let place = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
        let channel = endpoint.connect_timeout(limit).timeout(limit).connect_lazy();
        Ok(Self { place, calls: AuthServiceClient::new(channel), service_token })
    }

    /// The access token of a new session.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `login`, with what the server said.
    pub async fn login(
        &mut self,
        username: &str,
        password: &str,
        audience: &[String],
    ) -> Result<Zeroizing<String>, Error> {
        let login = LoginRequest {
            username: username.to_owned(),
            password: password.to_owned(),
            audience: audience.to_vec(),
            ..LoginRequest::default()
        };
        let request = self.request(login);
        let answer = self.calls.login(request).await.map_err(|status| refused("login", &self.place, &status))?;
        let tokens = answer.into_inner().tokens.unwrap_or_default();
        Ok(Zeroizing::new(tokens.access_token))
    }

    /// Ends the session of an access token.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `revoke`, with what the server said.
    pub async fn revoke(&mut self, access_token: &str) -> Result<(), Error> {
        let target = Some(Target::AccessToken(access_token.to_owned()));
        let request = self.request(RevokeRequest { target, ..RevokeRequest::default() });
        self.calls.revoke(request).await.map_err(|status| refused("revoke", &self.place, &status))?;
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.service_token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

/// The refusal of a call, or the reason for which there was no answer.
fn refused(call: &'static str, place: &str, status: &Status) -> Error {
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
    Error::invalid(
        call,
        match (reason, of_the_system(status)) {
            (Some(reason), _) => format!("Countersign refuses it: {reason}: {}", status.message()),
            (None, Some(error)) => unreached(place, error),
            (None, None) => format!("{place} does not answer as Countersign does: {}", said(status)),
        },
    )
}

/// The system's error among those that an error comes from.
fn of_the_system<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e io::Error> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error with those that it comes from.
fn said(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
