//! A session: what a Login opens, a Refresh continues and a Revoke ends.

use countersign_token::ids::{SessionId, UserId};
use time::OffsetDateTime;

use super::rotation::RotationState;
use crate::error::{Error, Violation};

/// A stored session with what its tokens are made from.
#[derive(Clone, Debug)]
pub struct Session {
    /// The id of the session.
    pub id: SessionId,
    /// The user of the session.
    pub user_id: UserId,
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

/// The program or person behind a session, as far as the caller knows; empty when unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientInfo {
    /// The network address.
    pub ip: String,
    /// The user agent.
    pub user_agent: String,
    /// Name or id of the device.
    pub device: String,
}

impl ClientInfo {
    /// Checks lengths and characters.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names each field that is too long or holds control characters.
    pub fn checked(self) -> Result<Self, Error> {
        let violations: Vec<Violation> = [
            ("client.ip", &self.ip, 64),
            ("client.user_agent", &self.user_agent, 512),
            ("client.device", &self.device, 128),
        ]
        .into_iter()
        .filter(|(_, value, max)| value.len() > *max || value.chars().any(char::is_control))
        .map(|(field, _, max)| Violation {
            field,
            description: format!("at most {max} bytes, without control characters"),
        })
        .collect();
        if violations.is_empty() { Ok(self) } else { Err(Error::InvalidArgument(violations)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_info_is_bounded_and_printable() {
        let good = ClientInfo { ip: "2001:db8::1".into(), user_agent: "x".repeat(512), device: "naïve phone".into() };
        assert_eq!(good.clone().checked().expect("good"), good);
        let bad = ClientInfo { ip: "1".repeat(65), user_agent: "a\nb".into(), device: "nul\0".into() };
        let Err(Error::InvalidArgument(violations)) = bad.checked() else {
            panic!("accepted");
        };
        assert_eq!(violations.len(), 3);
    }
}
