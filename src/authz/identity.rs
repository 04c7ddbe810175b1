//! Headers that say whose a request is, for the server behind a proxy. All are always set, empty where there is nothing to say, so
//! that no client can send one of its own.

use std::fmt::Write as _;

use countersign_token::claims::Principal;

use super::denial::TOKEN_MISSING;

/// The names behind the prefix.
pub const NAMES: [&str; 5] = ["user-id", "session-id", "roles", "audience", "username"];

/// The values of the headers, in the order of [`NAMES`]; for nobody they are empty. Lists are joined by commas. What is not visible
/// ASCII is percent-encoded, and so are `%` and, in lists, commas.
pub fn values(principal: Option<&Principal>) -> [String; NAMES.len()] {
    let Some(principal) = principal else {
        return Default::default();
    };
    let list = |items: &[String]| items.iter().map(|item| encoded(item, b"%,")).collect::<Vec<_>>().join(",");
    [
        principal.user_id.to_string(),
        principal.session_id.to_string(),
        list(&principal.roles),
        list(&principal.audience),
        encoded(principal.username.as_deref().unwrap_or_default(), b"%"),
    ]
}

/// The challenge of a denial (RFC 6750 section 3): a request without a token is told nothing of an error.
pub fn challenge(reason: &str) -> String {
    if reason == TOKEN_MISSING {
        return "Bearer".to_owned();
    }
    format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"")
}

/// A text with these bytes, and all that are no visible ASCII, percent-encoded (RFC 3986 section 2.1).
pub fn encoded(text: &str, reserved: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !reserved.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use countersign_token::ids::{SessionId, UserId};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn a_value_has_no_byte_that_a_header_cannot_have() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let principal = Principal {
            user_id: UserId::new(now),
            session_id: SessionId::new(now),
            epoch: 0,
            opened_at: 0,
            token_id: "t".to_owned(),
            roles: vec!["a".to_owned(), "b:c".to_owned()],
            audience: vec!["one, two".to_owned(), "50%".to_owned()],
            username: Some("김 a\r\nx: y".to_owned()),
            issued_at: 0,
            starts_at: 0,
            expires_at: 0,
        };
        let [user, session, roles, audience, username] = values(Some(&principal));
        assert_eq!((user, session), (principal.user_id.to_string(), principal.session_id.to_string()));
        assert_eq!((roles.as_str(), audience.as_str()), ("a,b:c", "one%2C%20two,50%25"));
        assert_eq!(username, "%EA%B9%80%20a%0D%0Ax:%20y");
        assert_eq!(values(None), [""; 5]);
    }
}
