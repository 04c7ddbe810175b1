//! Requests of pages of other sites. A browser sends our cookies along with them, so what changes something is refused. They are
//! known by header Sec-Fetch-Site, and in old browsers by Origin. Clients that are no browsers send neither.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request that comes from a page of another site, which is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CrossOrigin;

/// Passes for a request of a page of this host, of a listed origin, or of no page at all.
///
/// # Errors
/// [`CrossOrigin`].
pub(super) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), CrossOrigin> {
    if listed(headers, allowed).is_some() {
        return Ok(());
    }
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let passes = match (text(&SEC_FETCH_SITE), text(&header::ORIGIN)) {
        (Some(b"same-origin" | b"none"), _) | (None, None) => true,
        (Some(_), _) => false,
        (None, Some(origin)) => is_of_host(origin, text(&header::HOST)),
    };
    if passes { Ok(()) } else { Err(CrossOrigin) }
}

/// True for an origin of this host. The scheme is the proxy's, which we do not know.
fn is_of_host(origin: &[u8], host: Option<&[u8]>) -> bool {
    let name = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    name.is_some() && name == host
}

/// The origin of a request, if it is listed.
fn listed<'h>(headers: &'h HeaderMap, allowed: &[String]) -> Option<&'h HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?;
    let is_listed = origins.next().is_none() && allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
    is_listed.then_some(origin)
}

/// Lets pages of a listed origin read an answer (CORS protocol, Fetch section 3.3).
pub(super) fn share(request: &HeaderMap, allowed: &[String], answer: &mut HeaderMap) {
    answer.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = listed(request, allowed) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Says what pages of a listed origin may send.
pub(super) fn allow(methods: &[Method], answer: &mut HeaderMap) {
    let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(methods) = HeaderValue::try_from(methods) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(&headers, &["https://app.example".to_owned()]).is_ok()
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_listed_ones_are_not() {
        for (headers, passes) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://h"), ("host", "h")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], true),
            (&[("sec-fetch-site", "same-origin, none")], false),
            (&[("origin", "https://h:8443"), ("host", "h:8443")], true),
            (&[("origin", "http://h"), ("host", "h")], true),
            (&[("origin", "https://evil.example"), ("host", "h")], false),
            (&[("origin", "https://h.evil.example"), ("host", "h")], false),
            (&[("origin", "null"), ("host", "h")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://app.example"), ("origin", "https://evil.example"), ("host", "h")], false),
        ] {
            assert_eq!(checked(headers), passes, "{headers:?}");
        }
    }
}
