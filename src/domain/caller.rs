//! Identities of callers: services, not users. And the patterns by which a policy names them.

use std::{borrow::Borrow, fmt, sync::Arc};

const SPIFFE: &str = "spiffe://";
const DNS: &str = "dns:";
const TOKEN: &str = "token:";
/// The longest SPIFFE id, and the longest trust domain (SPIFFE-ID section 2.3).
const MAX_SPIFFE: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;
/// The longest DNS name (RFC 1035 section 2.3.4), and the longest label.
const MAX_DNS: usize = 253;
const MAX_LABEL: usize = 63;
const MAX_TOKEN_NAME: usize = 64;

/// The identity of a caller: `spiffe://trust.domain/path`, `dns:name` or `token:name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(Arc<str>);

impl CallerId {
    /// Reads an identity of any kind.
    pub fn parse(text: &str) -> Option<Self> {
        match (text.strip_prefix(DNS), text.strip_prefix(TOKEN)) {
            (Some(name), _) => Self::dns(name),
            (_, Some(name)) => Self::token(name),
            _ => Self::spiffe(text),
        }
    }

    /// Reads a SPIFFE id of a workload, as SPIFFE-ID section 2 has it: with a path, in lower case where that says so.
    pub fn spiffe(uri: &str) -> Option<Self> {
        let (trust_domain, path) = uri.strip_prefix(SPIFFE)?.split_once('/')?;
        let valid = uri.len() <= MAX_SPIFFE && is_trust_domain(trust_domain) && path.split('/').all(is_segment);
        valid.then(|| Self(uri.into()))
    }

    /// Reads the name of a host; in any case, as DNS has it. A wildcard names nobody.
    pub fn dns(name: &str) -> Option<Self> {
        let valid = name.len() <= MAX_DNS && name.split('.').all(is_label);
        valid.then(|| Self(format!("{DNS}{}", name.to_ascii_lowercase()).into()))
    }

    /// Reads the name of a service token.
    pub fn token(name: &str) -> Option<Self> {
        let valid = (1..=MAX_TOKEN_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        valid.then(|| Self(format!("{TOKEN}{name}").into()))
    }

    /// The identity as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the service token, if that is what it is.
    pub fn token_name(&self) -> Option<&str> {
        self.0.strip_prefix(TOKEN)
    }

    /// The prefixes of a SPIFFE id that end at a border of its path, from the longest to `spiffe://trust.domain/`.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        let path = if self.0.starts_with(SPIFFE) { self.0.get(SPIFFE.len()..) } else { None };
        let borders = path.unwrap_or_default().rmatch_indices('/');
        borders.filter_map(|(at, _)| self.0.get(..=SPIFFE.len() + at))
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for CallerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A pattern of identities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerPattern {
    /// One identity.
    Exact(CallerId),
    /// All SPIFFE ids that begin with this, which ends at a border of the path: `spiffe://trust.domain/ns/shop/`.
    Below(Box<str>),
    /// Every caller that no other pattern means, with an identity or without.
    Anyone,
}

impl CallerPattern {
    /// Reads an identity, a SPIFFE id whose last segment is `*`, or `anyone`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "anyone" {
            return Some(Self::Anyone);
        }
        let Some(prefix) = text.strip_suffix("/*").filter(|prefix| prefix.starts_with(SPIFFE)) else {
            return CallerId::parse(text).map(Self::Exact);
        };
        // Any segment will do to make an id of it.
        CallerId::spiffe(&format!("{prefix}/x")).map(|_| Self::Below(format!("{prefix}/").into()))
    }
}

impl fmt::Display for CallerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => id.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

fn is_trust_domain(text: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

fn is_segment(text: &str) -> bool {
    !["", ".", ".."].contains(&text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_is_written() {
        for text in [
            "spiffe://example.org/ns/shop/sa/web",
            "spiffe://example.org/A.b_c-1",
            "spiffe://10.0.0.1/x",
            "dns:web.shop.svc",
            "dns:localhost",
            "token:deploy-2",
        ] {
            assert_eq!(CallerId::parse(text).expect(text).as_str(), text);
        }
        assert_eq!(CallerId::parse("dns:Web.Shop"), CallerId::dns("web.shop"));
    }

    #[test]
    fn what_is_no_identity_is_none() {
        let (long, label) = (format!("spiffe://td/{}", "x".repeat(MAX_SPIFFE)), format!("dns:{}", "x".repeat(64)));
        for text in [
            "",
            "anyone",
            "example.org",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///ns/shop",
            "spiffe://example.org/ns/",
            "spiffe://example.org//ns",
            "spiffe://example.org/ns/../sa",
            "spiffe://example.org/./sa",
            "spiffe://Example.org/ns",
            "SPIFFE://example.org/ns",
            "spiffe://example.org:80/ns",
            "spiffe://user@example.org/ns",
            "spiffe://example.org/ns?x=1",
            "spiffe://example.org/ns#x",
            "spiffe://example.org/n%73",
            "spiffe://example.org/n s",
            "spiffe://example.org/*",
            "https://example.org/ns",
            "dns:",
            "dns:a..b",
            "dns:*.example.org",
            "dns:a.b.",
            "token:",
            "token:a b",
            "token:a/b",
            &long,
            &label,
        ] {
            assert_eq!(CallerId::parse(text), None, "{text:.60}");
        }
    }

    #[test]
    fn a_pattern_is_an_identity_or_ends_at_a_border_of_the_path() {
        for text in ["spiffe://example.org/*", "spiffe://example.org/ns/shop/*", "dns:a.b", "token:x", "anyone"] {
            assert_eq!(CallerPattern::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "*", "spiffe://*", "spiffe://e/ns/sh*", "spiffe://e/*/sa", "spiffe://e//*", "dns:*", "token:*"]
        {
            assert_eq!(CallerPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_prefixes_of_a_spiffe_id_end_at_its_borders() {
        let id = CallerId::parse("spiffe://e/ns/shop").expect("an id");
        assert_eq!(id.prefixes().collect::<Vec<_>>(), ["spiffe://e/ns/", "spiffe://e/"]);
        assert_eq!(CallerId::parse("dns:a.b").expect("an id").prefixes().count(), 0);
    }
}
