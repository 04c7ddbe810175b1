//! Callers: an administrator, or anybody who can reach the port.

use std::net::IpAddr;

use http::HeaderMap;
use tonic::Request;

use crate::{crypto::service_token::ServiceTokenHash, error::Error, net::Peer};

/// The callers that administer over gRPC.
#[derive(Clone, Debug)]
pub enum Administration {
    /// Every caller: for `dev`, which listens on loopback only.
    Everybody,
    /// Callers that send this token as bearer (RFC 6750 section 2.1).
    Bearer(ServiceTokenHash),
    /// Nobody administers.
    Nobody,
}

impl Administration {
    /// The caller that sent this request.
    pub(super) fn identify<B>(&self, request: &http::Request<B>) -> Caller {
        let administers = match self {
            Self::Everybody => true,
            Self::Bearer(hash) => bearer(request.headers()).is_some_and(|token| hash.matches(token)),
            Self::Nobody => false,
        };
        Caller { administers, peer: request.extensions().get::<Peer>().and_then(|peer| peer.addr) }
    }
}

/// The caller of an RPC, as it was identified before the handler is reached. Handlers are given one, and can make none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    administers: bool,
    peer: Option<IpAddr>,
}

impl Caller {
    /// The caller that sent `request`.
    ///
    /// # Errors
    /// [`Error::Internal`] for a request that was let in without being looked at.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        request.extensions().get().copied().ok_or_else(|| Error::internal("a request without a caller"))
    }

    /// The network address from which the caller is connected, if it is known.
    pub(super) fn peer(self) -> Option<IpAddr> {
        self.peer
    }

    /// Passes if the caller administers.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`].
    pub(super) fn must_administer(self) -> Result<(), Error> {
        if self.administers { Ok(()) } else { Err(Error::CallerNotAllowed) }
    }
}

/// The bearer token, if there is one and no second.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn check(headers: &[&str]) -> Result<(), Error> {
        let mut request = http::Request::new(());
        for header in headers {
            request.headers_mut().append("authorization", header.parse().expect("header"));
        }
        let hash = ServiceTokenHash::from_file_content(TOKEN).expect("token");
        Administration::Bearer(hash).identify(&request).must_administer()
    }

    #[test]
    fn only_the_one_token_administers() {
        let good = format!("Bearer {TOKEN}");
        assert!(check(&[&good]).is_ok());
        assert!(check(&[&format!("bearer {TOKEN}")]).is_ok());
        let basic = format!("Basic {TOKEN}");
        let longer = format!("{good}0");
        for bad in [&[][..], &[""], &["Bearer "], &[TOKEN], &[&basic], &[&longer], &[&good, &good]] {
            assert!(matches!(check(bad), Err(Error::CallerNotAllowed)), "{}", bad.len());
        }
    }

    #[test]
    fn without_a_token_file_nobody_administers() {
        assert!(Administration::Nobody.identify(&http::Request::new(())).must_administer().is_err());
        assert!(Administration::Everybody.identify(&http::Request::new(())).must_administer().is_ok());
    }
}
