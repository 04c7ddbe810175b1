//! Header `x-forwarded-client-cert`, by which a proxy says whose request it passes on (Envoy: "XFCC"). Elements are separated
//! by commas, and each proxy adds one at the end. So the last one is by the proxy that is connected here.

use http::HeaderMap;

use crate::net::CertificateNames;

const HEADER: &str = "x-forwarded-client-cert";

/// The names in the client certificate that the last proxy saw; None without the header, an error if it cannot be read.
pub(super) fn last_certificate(headers: &HeaderMap) -> Option<Result<CertificateNames, Malformed>> {
    let last = headers.get_all(HEADER).iter().next_back()?;
    Some(last.to_str().map_err(|_| Malformed).and_then(last_names))
}

/// A header that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

fn last_names(header: &str) -> Result<CertificateNames, Malformed> {
    let element = split(header, b',')?.pop().ok_or(Malformed)?;
    let mut names = CertificateNames::default();
    for pair in split(element, b';')?.into_iter().map(str::trim) {
        let (key, value) = pair.split_once('=').ok_or(Malformed)?;
        let value = unquoted(value)?;
        // A proxy says a name that the certificate does not have as one without text.
        if value.is_empty() {
            continue;
        }
        match key.to_ascii_lowercase().as_str() {
            "uri" => names.uris.push(value),
            "dns" => names.dns.push(value),
            _ => {}
        }
    }
    Ok(names)
}

/// The parts between separators that are not in quotes. A backslash in quotes makes the next byte one of the text.
fn split(text: &str, separator: u8) -> Result<Vec<&str>, Malformed> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(text.get(start..at).ok_or(Malformed)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).ok_or(Malformed)?);
    if quoted { Err(Malformed) } else { Ok(parts) }
}

/// A value without its quotes and backslashes. Quotes are around the whole or nowhere.
fn unquoted(value: &str) -> Result<String, Malformed> {
    let Some(inner) = value.strip_prefix('"') else {
        return if value.contains('"') { Err(Malformed) } else { Ok(value.to_owned()) };
    };
    let (mut text, mut chars) = (String::new(), inner.chars());
    loop {
        match chars.next().ok_or(Malformed)? {
            '\\' => text.push(chars.next().ok_or(Malformed)?),
            '"' => return if chars.next().is_none() { Ok(text) } else { Err(Malformed) },
            char => text.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: &str = "spiffe://example.org/ns/shop/sa/web";

    fn read(header: &str) -> Result<(Vec<String>, Vec<String>), Malformed> {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, header.parse().expect("a header"));
        last_certificate(&headers).expect("a header").map(|names| (names.uris, names.dns))
    }

    fn names(uris: &[&str], dns: &[&str]) -> Result<(Vec<String>, Vec<String>), Malformed> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok((owned(uris), owned(dns)))
    }

    #[test]
    fn the_last_element_counts_with_its_names_alone() {
        let by = "By=spiffe://example.org/ns/shop/sa/orders;Hash=468ed33b";
        for (header, expected) in [
            (format!("{by};URI={CLIENT}"), names(&[CLIENT], &[])),
            (
                format!("{by};Subject=\"CN=a,O=\\\"b;c\\\"\";URI={CLIENT};DNS=a.b;DNS=c.d"),
                names(&[CLIENT], &["a.b", "c.d"]),
            ),
            (format!("{by};URI=spiffe://evil/x,{by};URI={CLIENT}"), names(&[CLIENT], &[])),
            (format!("{by};URI={CLIENT},{by}"), names(&[], &[])),
            (format!("{by};Subject=\"\";URI=;DNS="), names(&[], &[])),
            (format!("{by};uri=\"{CLIENT}\""), names(&[CLIENT], &[])),
            (format!("{by};URI={CLIENT};URI=spiffe://other/x"), names(&[CLIENT, "spiffe://other/x"], &[])),
            (format!("{by};Subject=\"x;URI=spiffe://evil/x\"; URI={CLIENT}"), names(&[CLIENT], &[])),
            (format!("{by};Subject=\"x,URI=spiffe://evil/x\""), names(&[], &[])),
            (format!("{by};Subject=\"\\\\\";URI={CLIENT}"), names(&[CLIENT], &[])),
        ] {
            assert_eq!(read(&header), expected, "{header}");
        }
    }

    #[test]
    fn what_cannot_be_read_names_nobody() {
        for header in [
            "",
            "URI",
            "URI=\"spiffe://a/b",
            "URI=\"spiffe://a/b\"x",
            "URI=spiffe://a/b\"\"",
            "Subject=\"x\\\";URI=spiffe://a/b",
            "URI=spiffe://a/b,",
            "URI=spiffe://a/b;",
            "URI=spiffe://a/\u{fc}",
        ] {
            assert_eq!(read(header), Err(Malformed), "{header}");
        }
    }

    #[test]
    fn of_several_headers_the_last_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(last_certificate(&headers), None);
        for header in ["URI=spiffe://evil/x", "URI=spiffe://e/y"] {
            headers.append(HEADER, header.parse().expect("a header"));
        }
        assert_eq!(last_certificate(&headers).expect("a header").expect("names").uris, ["spiffe://e/y"]);
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_before_it_the_element_of_the_proxy_counts_or_nobody(before in "[ -~]{0,60}") {
            let own = format!("By=spiffe://e/gateway;Hash=1;Subject=\"CN=a\";URI={CLIENT}");
            let found = read(&format!("{before},{own}"));
            prop_assert!(found == Err(Malformed) || found == names(&[CLIENT], &[]), "{:?}", found);
            let without_quotes = read(&format!("{},{own}", before.replace('"', "")));
            prop_assert_eq!(without_quotes, names(&[CLIENT], &[]));
        }
    }
}
