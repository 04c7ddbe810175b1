//! The addresses of the service, and how they are reached.

use std::{fmt, sync::Arc, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::error::Error;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A connection over which nothing comes for so long is asked whether it lives, and given up if it does not say.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// The replicas of the service.
#[derive(Clone, Debug)]
pub struct Endpoints {
    all: Vec<Endpoint>,
    token: Option<ServiceToken>,
}

/// A connection that says who calls.
pub(crate) type Connection = InterceptedService<Channel, ServiceToken>;

/// The token by which this service is known to Countersign.
#[derive(Clone)]
pub(crate) struct ServiceToken(Option<MetadataValue<Ascii>>);

impl Endpoints {
    /// Replicas by their URLs, such as `http://auth-1:50051` or `https://auth.example.com`. `https` is verified by the roots of the
    /// machine, unless [`Endpoints::tls`] says otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no URL, and for one that cannot be used.
    pub fn new(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, Error> {
        let all: Result<Vec<Endpoint>, Error> = urls.into_iter().map(|url| endpoint(url.as_ref())).collect();
        let all = all?;
        if all.is_empty() {
            return Err(Error::Invalid("no address of Countersign is given".to_owned()));
        }
        Ok(Self { all, token: None })
    }

    /// Speaks TLS as these settings say: roots, name, certificate of this service.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that cannot be used.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &tonic::transport::ClientTlsConfig) -> Result<Self, Error> {
        let secured = self.all.into_iter().map(|endpoint| endpoint.tls_config(tls.clone()));
        self.all = secured.collect::<Result<_, _>>().map_err(|error| Error::Invalid(format!("TLS: {error}")))?;
        Ok(self)
    }

    /// Says by a service token who calls.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that cannot be sent.
    pub fn service_token(mut self, token: &str) -> Result<Self, Error> {
        let header = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
        let mut header = header.map_err(|_| Error::Invalid("the service token cannot be sent".to_owned()))?;
        header.set_sensitive(true);
        self.token = Some(ServiceToken(Some(header)));
        Ok(self)
    }

    /// Connections that are made when they are used.
    pub(crate) fn connections(&self) -> Arc<[Connection]> {
        let token = self.token.clone().unwrap_or(ServiceToken(None));
        self.all.iter().map(|it| InterceptedService::new(it.connect_lazy(), token.clone())).collect()
    }

    /// The URLs.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all.iter().map(|endpoint| endpoint.uri().to_string()).collect()
    }
}

fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let invalid = |why: &dyn fmt::Display| Error::Invalid(format!("{url} is no address of Countersign: {why}"));
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| invalid(&error))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .user_agent(concat!("countersign-client-rust/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| invalid(&error))?;
    match endpoint.uri().scheme_str() {
        Some("http") => Ok(endpoint),
        #[cfg(feature = "tls")]
        Some("https") => {
            let tls = tonic::transport::ClientTlsConfig::new().with_native_roots();
            endpoint.tls_config(tls).map_err(|error| invalid(&error))
        }
        #[cfg(not(feature = "tls"))]
        Some("https") => Err(invalid(&"https needs the feature `tls`")),
        _ => Err(invalid(&"it begins with http:// or https://")),
    }
}

impl Interceptor for ServiceToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceToken(..)")
    }
}
