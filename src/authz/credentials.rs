//! The tokens of a request: in header Authorization, or else in cookies, or else in a query parameter. What could be read in two
//! ways is refused: the server behind the proxy might take the other one.

use super::{
    cookies::{Cookies, Several},
    request::{AskedRequest, Field},
};
use crate::domain::policy::AuthzPolicy;

const BEARER: &str = "bearer";

/// The tokens of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials<'r> {
    /// There are none.
    None,
    /// An access token that the client has put into this place by itself.
    Presented(&'r str, TokenPlace),
    /// The cookies of a browser, and the token in the query beside them.
    Cookies(Cookies<'r>, Option<&'r str>),
}

/// A place of an access token in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenPlace {
    /// Header Authorization.
    Authorization,
    /// A cookie.
    Cookie,
    /// The query.
    Query,
}

/// Credentials that are no token, or that could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<Several> for Malformed {
    fn from(_: Several) -> Self {
        Self
    }
}

/// Reads the tokens of a request.
pub(super) fn read<'r>(request: &AskedRequest<'r>, policy: &AuthzPolicy) -> Result<Credentials<'r>, Malformed> {
    if let Some(token) = bearer(request.authorization)? {
        return Ok(Credentials::Presented(token, TokenPlace::Authorization));
    }
    let cookies = Cookies::read(&request.cookies, policy)?;
    let name = policy.query_parameter.as_deref();
    let parameter = name.map(|name| parameter(request.query(), name)).transpose()?.flatten();
    // The hint of a device is no token, and stays for longer than any.
    let has_session = cookies.access.or(cookies.refresh).is_some();
    Ok(match parameter {
        Some(token) if !has_session => Credentials::Presented(token, TokenPlace::Query),
        _ if has_session => Credentials::Cookies(cookies, parameter),
        _ => Credentials::None,
    })
}

/// The bearer token (RFC 6750 section 2.1). Another scheme says nothing. Proxies join headers with commas.
fn bearer(authorization: Field<'_>) -> Result<Option<&str>, Malformed> {
    let value = match authorization {
        Field::Absent => return Ok(None),
        Field::Several => return Err(Malformed),
        Field::One(value) => value,
    };
    let starts = |part: &[u8]| {
        part.trim_ascii().get(..BEARER.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER.as_bytes()))
    };
    if value.contains(&b',') {
        let is_bearer = value.split(|byte| *byte == b',').any(starts);
        return if is_bearer { Err(Malformed) } else { Ok(None) };
    }
    if !starts(value) {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Malformed)?;
    let token = token.trim_matches(' ');
    // What else no token has, its verifier knows.
    let is_one = !token.is_empty() && !token.as_bytes().contains(&b' ');
    if scheme.eq_ignore_ascii_case(BEARER) && is_one { Ok(Some(token)) } else { Err(Malformed) }
}

/// The value of a query parameter. Names may be escaped, as servers read them.
fn parameter<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, Malformed> {
    let mut values = query.split(['&', ';']).filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescaped(key) == name.as_bytes()).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) | (Some(""), None) => Ok(None),
        (Some(value), None) => Ok(Some(value)),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, more @ ..] = rest {
        let escape = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escape.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { more.get(2..).unwrap_or_default() } else { more };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::testing::policy;

    fn found(request: &AskedRequest<'_>) -> Result<Option<(String, Option<TokenPlace>)>, Malformed> {
        let policy = AuthzPolicy { query_parameter: Some("access_token".to_owned()), ..policy() };
        Ok(match read(request, &policy)? {
            Credentials::None => None,
            Credentials::Presented(token, place) => Some((token.to_owned(), Some(place))),
            Credentials::Cookies(cookies, _) => Some((cookies.access.unwrap_or_default().to_owned(), None)),
        })
    }

    fn authorization(value: &[u8]) -> Result<Option<String>, Malformed> {
        let request = AskedRequest { authorization: Field::One(value), ..AskedRequest::default() };
        found(&request).map(|found| found.map(|(token, _)| token))
    }

    #[test]
    fn the_bearer_token_is_one_or_refused() {
        for (value, token) in [("Bearer a.b-c", "a.b-c"), ("bearer  a ", "a"), ("BEARER a=", "a=")] {
            assert_eq!(authorization(value.as_bytes()), Ok(Some(token.to_owned())), "{value}");
        }
        for other in ["Basic YTpi", "", "Digest a=\"b\", c=d", "Token abc"] {
            assert_eq!(authorization(other.as_bytes()), Ok(None), "{other}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer a,Bearer b",
            "Bearer a, b",
            "Bearer a b",
            "Basic YTpi,Bearer a",
            "Bearer,a",
            "BearerX a",
        ] {
            assert_eq!(authorization(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        assert_eq!(authorization(b"Bearer \xff"), Err(Malformed));
        let several = AskedRequest { authorization: Field::Several, ..AskedRequest::default() };
        assert_eq!(found(&several), Err(Malformed));
    }

    #[test]
    fn cookies_come_after_the_header_and_the_query_after_both() {
        let cookie: &[u8] = b"x=1; __Host-countersign-access=C";
        let target = "/ws?a=b&access_token=Q";
        let token = |authorization, cookies: &[&'static [u8]], target| {
            let request = AskedRequest { authorization, cookies: cookies.to_vec(), target, ..AskedRequest::default() };
            found(&request).map(|found| found.map(|(token, _)| token))
        };
        assert_eq!(token(Field::One(b"Bearer H"), &[cookie], target), Ok(Some("H".to_owned())));
        assert_eq!(token(Field::One(b"Basic YTpi"), &[cookie], target), Ok(Some("C".to_owned())));
        assert_eq!(token(Field::Absent, &[b"x=1"], target), Ok(Some("Q".to_owned())));
        assert_eq!(token(Field::Absent, &[], "/ws?access_token="), Ok(None));
        assert_eq!(token(Field::Absent, &[], "/ws?%61ccess_token=Q"), Ok(Some("Q".to_owned())));
        for twice in ["/ws?access_token=Q&access_token=R", "/ws?access_token=Q&access%5Ftoken="] {
            assert_eq!(token(Field::Absent, &[], twice), Err(Malformed), "{twice}");
        }
    }
}
