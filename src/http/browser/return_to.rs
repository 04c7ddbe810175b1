//! The place that a login leads back to: a path of this host, or a place of a listed origin. Anything else would let a link to our
//! page lead to somebody else's (RFC 9700 section 4.11).

use crate::authz::MAX_RETURN_TO;

/// A place that a login may lead back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnTo(String);

impl ReturnTo {
    /// Reads a place; the root if it is empty. None for one that is not allowed.
    pub(super) fn parse(text: &str, origins: &[String]) -> Option<Self> {
        if text.is_empty() {
            return Some(Self("/".to_owned()));
        }
        // Browsers read over control characters, and take a backslash for a slash.
        let path = text.split('?').next().unwrap_or_default();
        let plain =
            text.len() <= MAX_RETURN_TO && !path.contains('\\') && text.bytes().all(|byte| byte.is_ascii_graphic());
        let here = text.starts_with('/') && !text.starts_with("//");
        let of_listed = |origin: &String| {
            text.strip_prefix(origin.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        (plain && (here || origins.iter().any(of_listed))).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        ReturnTo::parse(text, &["https://app.example".to_owned()]).map(|place| place.0)
    }

    #[test]
    fn a_login_leads_back_to_this_host_and_to_listed_origins() {
        assert_eq!(parse("").as_deref(), Some("/"));
        for good in [
            "/",
            "/a/b?c=d&e#f",
            "/search?q=a\\b",
            "/%2f%2fevil.example",
            "https://app.example",
            "https://app.example/x",
        ] {
            assert_eq!(parse(good).as_deref(), Some(good));
        }
    }

    #[test]
    fn a_login_leads_nowhere_else() {
        for bad in [
            "https://evil.example/",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "evil.example",
            "/\t/evil.example",
            "https://app.example.evil.example/",
            "https://app.example@evil.example/",
            "https://app.example:8443/",
            "http://app.example/",
            "javascript:alert(1)",
            "/a b",
            "/\u{e4}",
            " /a",
            &format!("/{}", "a".repeat(2048)),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
