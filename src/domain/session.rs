//! A session: what a Login opens, a Refresh continues and a Revoke ends.

use countersign_token::ids::{SessionId, UserId};
use time::OffsetDateTime;

use super::{address::ClientAddress, rotation::RotationState};
use crate::error::Error;

/// A stored session with what its tokens are made from.
#[derive(Clone, Debug)]
pub struct Session {
    /// The id of the session.
    pub id: SessionId,
    /// The user of the session.
    pub user_id: UserId,
    /// The user's name now.
    pub username: String,
    /// The user's revocation epoch when it was opened; a session of an older epoch has ended.
    pub epoch: i64,
    /// The user's roles now.
    pub roles: Vec<String>,
    /// The audience of its access tokens.
    pub audience: Vec<String>,
    /// The client that logged in (RFC 9700 section 4.14.2).
    pub client_id: String,
    /// The moment at which the password was checked.
    pub created_at: OffsetDateTime,
    /// The absolute end.
    pub expires_at: OffsetDateTime,
    /// The end if it is not refreshed before.
    pub idle_expires_at: OffsetDateTime,
    /// The state of its refresh tokens.
    pub rotation: RotationState,
    /// The client as ListSessions shows it.
    pub client: ClientInfo,
}

/// The wish of a Login for a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest<'r> {
    /// Claim client_id: the caller.
    pub client_id: &'r str,
    /// The audience of the session's access tokens.
    pub audience: &'r [String],
    /// The client as ListSessions shows it.
    pub client: &'r ClientInfo,
}

/// The program or person behind a session, as far as the caller knows; empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientInfo {
    /// Network address, in its canonical form.
    pub ip: String,
    /// The user agent.
    pub user_agent: String,
    /// Name or id of the device.
    pub device: String,
}

/// Claim client_id of sessions whose caller showed no identity at their Login.
pub const DEFAULT_CLIENT_ID: &str = "default";

const MAX_USER_AGENT: usize = 512;
const MAX_DEVICE: usize = 128;

impl ClientInfo {
    /// Reads what a caller sent. Texts are cut at their longest length, and lose their control characters: they come from
    /// browsers, and a right password must not fail for them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an address that is none: the caller has not read its proxy's header right. The attempts
    /// of all its clients would be counted as those of one.
    pub fn parse(ip: &str, user_agent: &str, device: &str) -> Result<Self, Error> {
        let ip = if ip.is_empty() {
            String::new()
        } else {
            let address = ClientAddress::parse(ip);
            address.ok_or_else(|| Error::invalid("client.ip", "one IP address, or nothing"))?.to_string()
        };
        Ok(Self { ip, user_agent: shortened(user_agent, MAX_USER_AGENT), device: shortened(device, MAX_DEVICE) })
    }
}

/// The first `max` bytes of a text, in whole characters, without control characters.
fn shortened(text: &str, max: usize) -> String {
    let mut short: String = text.get(..text.floor_char_boundary(max)).unwrap_or_default().to_owned();
    short.retain(|c| !c.is_control());
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_is_cut_and_never_refused() {
        let long = format!("{}ü", "x".repeat(MAX_USER_AGENT - 1));
        let client = ClientInfo::parse("[2001:db8::1]:443", &long, "naïve\n phone\0").expect("read");
        assert_eq!(client.user_agent, "x".repeat(MAX_USER_AGENT - 1));
        assert_eq!((client.ip.as_str(), client.device.as_str()), ("2001:db8::1", "naïve phone"));
        let whole = ClientInfo::parse("", &"x".repeat(MAX_USER_AGENT), &"y".repeat(MAX_DEVICE)).expect("read");
        assert_eq!((whole.ip.len(), whole.user_agent.len(), whole.device.len()), (0, MAX_USER_AGENT, MAX_DEVICE));
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for ip in ["unknown", "192.0.2.7, 192.0.2.8", "x"] {
            let Err(Error::InvalidArgument(violations)) = ClientInfo::parse(ip, "", "") else {
                panic!("accepted {ip}");
            };
            assert_eq!(violations.iter().map(|v| v.field).collect::<Vec<_>>(), ["client.ip"]);
        }
    }
}
