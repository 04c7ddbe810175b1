//! The cookies of browsers: reading them, setting them, and taking them out of what is passed on (RFC 6265).
//!
//! A refresh cookie may carry the access token that came with it, behind a `~`: then one cookie is a whole session. Proxies that
//! hand on a single Set-Cookie of an answer (nginx) are given that one.

use std::{fmt, time::Duration};

use time::OffsetDateTime;

use crate::{auth::tokens::TokenPair, crypto::secret::Secret, domain::policy::AuthzPolicy};

/// Cookie with the hint by which a browser is known again at a login.
pub const DEVICE_COOKIE: &str = "__Host-countersign-device";
/// Time for which browsers keep a cookie at most.
const DEVICE_LIFETIME: Duration = Duration::from_secs(400 * 86_400);
/// Tokens whose sessions a logout ends at most: browsers have two.
const MOST_ENDED: usize = 12;
const SEPARATOR: char = '~';

/// The cookies of ours in a request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Cookies<'r> {
    /// The access token.
    pub access: Option<&'r str>,
    /// The refresh token.
    pub refresh: Option<&'r str>,
    /// The access token that came along with the refresh token.
    pub carried: Option<&'r str>,
    /// The hint of a known device.
    pub device: Option<&'r str>,
}

/// Prints nothing of them: they are secrets.
impl fmt::Debug for Cookies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies(..)")
    }
}

/// Several cookies of one name: which one counts, nobody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Several;

impl<'r> Cookies<'r> {
    /// Reads headers Cookie. A cookie that is empty or no text is as if it were not there.
    ///
    /// # Errors
    /// [`Several`] of one of our names.
    pub fn read(headers: &[&'r [u8]], policy: &AuthzPolicy) -> Result<Self, Several> {
        let mut cookies = Self::default();
        for (name, value) in headers.iter().flat_map(|header| pairs(header)) {
            let place = if name == policy.access_cookie.as_bytes() {
                &mut cookies.access
            } else if name == policy.refresh_cookie.as_bytes() {
                &mut cookies.refresh
            } else if name == DEVICE_COOKIE.as_bytes() {
                &mut cookies.device
            } else {
                continue;
            };
            let Some(value) = std::str::from_utf8(value).ok().filter(|value| !value.is_empty()) else {
                continue;
            };
            if place.replace(value).is_some() {
                return Err(Several);
            }
        }
        if let Some((refresh, carried)) = cookies.refresh.and_then(|value| value.split_once(SEPARATOR)) {
            (cookies.refresh, cookies.carried) = (Some(refresh), Some(carried));
        }
        Ok(cookies)
    }
}

/// A token in a cookie, of which there may be several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldToken {
    /// A refresh token.
    Refresh(Secret),
    /// An access token.
    Access(Secret),
}

/// All tokens in cookies, for whoever ends the sessions of all: where there are several, nobody knows which one counts.
pub fn all_tokens(headers: &[&[u8]], policy: &AuthzPolicy) -> Vec<HeldToken> {
    let mut found = Vec::new();
    for (name, value) in headers.iter().flat_map(|header| pairs(header)) {
        let Ok(value) = std::str::from_utf8(value) else { continue };
        let secret = |text: &str| Secret::new(text.to_owned());
        if name == policy.access_cookie.as_bytes() {
            found.push(HeldToken::Access(secret(value)));
        } else if name == policy.refresh_cookie.as_bytes() {
            let (refresh, carried) = value.split_once(SEPARATOR).unwrap_or((value, ""));
            found.push(HeldToken::Refresh(secret(refresh)));
            found.push(HeldToken::Access(secret(carried)));
        }
    }
    found.truncate(MOST_ENDED);
    found
}

/// The cookies of a header: names and values without the spaces around them.
fn pairs(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(at)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    })
}

/// Values of Set-Cookie: each holds a secret.
pub type SetCookies = Vec<Secret>;

/// Sets a session's tokens, each in a cookie of its own.
pub fn set(tokens: &TokenPair, policy: &AuthzPolicy, now: OffsetDateTime) -> SetCookies {
    let access =
        cookie(&policy.access_cookie, tokens.access_token.expose(), lifetime(tokens.access_token_expires_at, now));
    let refresh =
        cookie(&policy.refresh_cookie, tokens.refresh_token.expose(), lifetime(tokens.refresh_token_expires_at, now));
    vec![access, refresh]
}

/// Sets both of a session's tokens in one cookie.
pub fn set_in_one(tokens: &TokenPair, policy: &AuthzPolicy, now: OffsetDateTime) -> SetCookies {
    let both = format!("{}{SEPARATOR}{}", tokens.refresh_token.expose(), tokens.access_token.expose());
    vec![cookie(&policy.refresh_cookie, &both, lifetime(tokens.refresh_token_expires_at, now))]
}

/// Sets the hint of a device.
pub fn set_device(hint: &Secret) -> Secret {
    cookie(DEVICE_COOKIE, hint.expose(), DEVICE_LIFETIME)
}

/// Takes the tokens away.
pub fn clear(policy: &AuthzPolicy) -> SetCookies {
    [&policy.access_cookie, &policy.refresh_cookie].map(|name| cookie(name, "", Duration::ZERO)).into()
}

/// The text of a Set-Cookie. The attributes are those that the prefix `__Host-` asks for, and no script may read it.
fn cookie(name: &str, value: &str, lifetime: Duration) -> Secret {
    let seconds = lifetime.as_secs();
    Secret::new(format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}"))
}

fn lifetime(end: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(end - now).unwrap_or_default()
}

/// The rest of the cookies for the server behind a proxy: without the refresh token and the hint, which are for us alone. The
/// access token stays as `access` says: as it came, as a new one, or not at all. None if nothing changes.
pub fn passed_on(headers: &[&[u8]], policy: &AuthzPolicy, access: PassedOn<'_>) -> Option<Secret> {
    let of_ours = |name: &[u8]| name == policy.refresh_cookie.as_bytes() || name == DEVICE_COOKIE.as_bytes();
    let is_access = |name: &[u8]| name == policy.access_cookie.as_bytes();
    let changes = |name: &[u8]| of_ours(name) || (is_access(name) && access != PassedOn::AsItCame);
    if !headers.iter().flat_map(|header| pairs(header)).any(|(name, _)| changes(name)) {
        return None;
    }
    let mut rest = String::new();
    let mut add = |name: &str, value: &str| {
        for part in [if rest.is_empty() { "" } else { "; " }, name, "=", value] {
            rest.push_str(part);
        }
    };
    let kept = headers.iter().flat_map(|header| pairs(header)).filter(|(name, _)| !changes(name));
    // An answer can say text alone.
    for (name, value) in
        kept.filter_map(|(name, value)| std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()))
    {
        add(name, value);
    }
    if let PassedOn::Renewed(token) = access {
        add(&policy.access_cookie, token);
    }
    Some(Secret::new(rest))
}

/// The fate of the access token among the cookies that are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOn<'t> {
    /// The cookie that came.
    AsItCame,
    /// A new token.
    Renewed(&'t str),
    /// None.
    Removed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authz::testing::policy;

    fn short() -> AuthzPolicy {
        AuthzPolicy { access_cookie: "a".to_owned(), refresh_cookie: "r".to_owned(), ..policy() }
    }

    #[test]
    fn cookies_are_read_wherever_they_stand() {
        let read = |headers: &[&'static [u8]]| Cookies::read(headers, &short());
        let session = Cookies { access: Some("A"), refresh: Some("R"), ..Cookies::default() };
        assert_eq!(read(&[b"x=1; a=A;r=R ; y"]), Ok(session));
        assert_eq!(read(&[b"a=A", b"r=R"]), Ok(session));
        assert_eq!(read(&[b"r=R~A"]), Ok(Cookies { refresh: Some("R"), carried: Some("A"), ..Cookies::default() }));
        for none in [&b"a="[..], b"a", b"A=x", b"a=\xff", b"aa=x", b"", b";;="] {
            assert_eq!(read(&[none]), Ok(Cookies::default()), "{none:?}");
        }
    }

    #[test]
    fn several_cookies_of_one_name_are_refused() {
        let forty = "a=A; ".repeat(40);
        for headers in [&[&b"a=A; a=B"[..]][..], &[b"a=A", b"x=1; a=A"], &[forty.as_bytes()], &[b"r=1; r=2~A"]] {
            assert_eq!(Cookies::read(headers, &short()), Err(Several), "{headers:?}");
        }
    }

    #[test]
    fn what_is_passed_on_has_neither_the_refresh_token_nor_more_than_is_asked_for() {
        let passed =
            |header: &[u8], access| passed_on(&[header], &short(), access).map(|rest| rest.expose().to_owned());
        assert_eq!(passed(b"x=1; a=A; y", PassedOn::AsItCame), None);
        assert_eq!(passed(b"x=1; a=A; r=R; y=2", PassedOn::AsItCame).as_deref(), Some("x=1; a=A; y=2"));
        assert_eq!(passed(b"x=1; a=A; r=R", PassedOn::Removed).as_deref(), Some("x=1"));
        assert_eq!(passed(b"r=R~A; x=\"q r\"", PassedOn::Renewed("N")).as_deref(), Some("x=\"q r\"; a=N"));
        assert_eq!(passed(b"r=R", PassedOn::Removed).as_deref(), Some(""));
        assert_eq!(passed(b"r=R; x=\xff; y=1", PassedOn::AsItCame).as_deref(), Some("y=1"));
    }

    #[test]
    fn cookies_are_for_this_host_alone_and_for_no_script() {
        let cleared = clear(&policy());
        let text = cleared[0].expose();
        assert_eq!(text, "__Host-countersign-access=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
        assert_eq!(cleared.len(), 2);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_fail(header in prop::collection::vec(any::<u8>(), 0..200)) {
            let read = Cookies::read(&[&header], &short());
            let rest = passed_on(&[&header], &short(), PassedOn::Removed);
            if let (Ok(_), Some(rest)) = (read, rest) {
                let again = Cookies::read(&[rest.expose().as_bytes()], &short());
                prop_assert_eq!(again, Ok(Cookies::default()), "{}", rest.expose());
            }
        }
    }
}
