//! Paths of requests as rules are matched against them. A path that two servers may read in different ways is none: it could
//! be public for us, and an administrator's for the server behind.

/// A path that means the same to all servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutePath<'p>(&'p str);

/// Escaped bytes that some servers take for the plain ones before they look for the resource: `%`, `.`, `/`, `;`, `\` and NUL.
const ESCAPED: [&str; 6] = ["25", "2e", "2f", "3b", "5c", "00"];

impl<'p> RoutePath<'p> {
    /// Reads a path without its query. None if it has empty or dot segments, parameters of a segment (`;`), backslashes, or
    /// escapes of those; or if it is not visible ASCII.
    pub fn parse(path: &'p str) -> Option<Self> {
        let segments = path.strip_prefix('/')?;
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\;#?".contains(&byte));
        let inner = segments.strip_suffix('/').unwrap_or(segments);
        let named = segments.is_empty() || inner.split('/').all(|part| !["", ".", ".."].contains(&part));
        (plain && named && escapes_are_plain(path)).then_some(Self(path))
    }

    /// True if it is `prefix`, or below it by segments: `/a/b` is below `/a`, and `/ab` is not.
    pub fn is_below(&self, prefix: &str) -> bool {
        let rest = self.0.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// True if each `%` begins an escape (RFC 3986 section 2.1) that all servers keep. Those of letters and digits they do not: one may
/// match `/%61dmin` as `/admin`.
fn escapes_are_plain(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let digits = rest.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let known = |digits: &str| ESCAPED.contains(&digits.to_ascii_lowercase().as_str());
        // Some servers cut a blank off the end of a name.
        let ends = rest.get(2..).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-_~?#".contains(&byte);
        byte.is_some_and(|byte| !plain(byte) && (byte != b' ' || !ends)) && digits.is_some_and(|digits| !known(digits))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_that_means_the_same_to_all_is_read() {
        for path in ["/", "/a", "/a/b.c/", "/a%20b", "/caf%C3%A9", "/a/...", "/.well-known/x", "/~me/a_b-c", "/pkg.S/M"]
        {
            assert!(RoutePath::parse(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_none() {
        for path in [
            "",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/a;x/b",
            "/a\\b",
            "/a%2fb",
            "/a%2F",
            "/%2e%2E/b",
            "/a%3Bx",
            "/a%5cb",
            "/a%00",
            "/a%3Fx",
            "/a%23",
            "/a%20",
            "/a%20/b",
            "/a%0a",
            "/a%7F",
            "/%61dmin",
            "/a%252f",
            "/a%",
            "/a%g0",
            "/a%2",
            "/a b",
            "/a\u{e4}",
            "/a#b",
            "/a?b",
            "/a\n",
        ] {
            assert_eq!(RoutePath::parse(path), None, "{path}");
        }
    }

    proptest! {
        /// The plainest reading that a server may have: decode, cut parameters off, and resolve dots and empty segments.
        #[test]
        fn a_server_that_resolves_a_path_finds_it_below_the_same_prefix(path in "(/|a|b|\\.|%2[ef5]|%61|;|\\\\|%){0,12}") {
            let path = format!("/{path}");
            if let Some(read) = RoutePath::parse(&path) {
                let resolved = resolve(&path);
                for prefix in ["/a", "/b", "/a/b"] {
                    let below = resolved == prefix || resolved.starts_with(&format!("{prefix}/"));
                    prop_assert_eq!(read.is_below(prefix), below, "{} {}", path, resolved);
                }
            }
        }
    }

    fn resolve(path: &str) -> String {
        let mut decoded = path.to_owned();
        for (escape, plain) in [("%25", "%"), ("%2e", "."), ("%2f", "/"), ("%61", "a")] {
            decoded = decoded.replace(escape, plain);
        }
        let decoded = decoded.replace('\\', "/");
        let mut segments: Vec<&str> = Vec::new();
        for segment in decoded.split('/').map(|segment| segment.split(';').next().unwrap_or("")) {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name),
            }
        }
        format!("/{}", segments.join("/"))
    }
}
