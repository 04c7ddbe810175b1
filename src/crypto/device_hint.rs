//! Device hints, by the keys of refresh tokens: `csd_` + base64url( version | key number | user id | device id | time |
//! tag ). A device that has logged in before may show its hint with the next Login. It is then not held up by those who
//! guess at the same name. It is no credential: a password is asked for all the same.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_token::ids::UserId;
use uuid::Uuid;

use super::{random, refresh_token::RefreshTokenKeys, secret::Secret};
use crate::error::Error;

const PREFIX: &str = "csd_";
/// The version of a hint, not that of a refresh token: the same keys sign both.
const VERSION: u8 = 2;
const BODY: usize = 1 + 2 + 16 + 16 + 8;
const HINT: usize = BODY + 32;
const ENCODED: usize = (HINT * 4).div_ceil(3);

/// A device that has logged in as a user before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The user.
    pub user_id: UserId,
    /// Made at the device's first login.
    pub id: Uuid,
    /// The moment of its login, in seconds since 1970.
    pub issued_at: u64,
}

impl Device {
    /// One that has never been seen before.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn new(user_id: UserId, issued_at: u64) -> Result<Self, Error> {
        Ok(Self { user_id, id: Uuid::from_bytes(random::bytes::<16>()?), issued_at })
    }
}

impl RefreshTokenKeys {
    /// The hint of a device, made with key `number`; None unless that is a key whose tokens are accepted.
    pub fn encode_device(&self, number: u16, device: Device) -> Option<Secret> {
        let mut bytes = Vec::with_capacity(HINT);
        bytes.push(VERSION);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(device.user_id.0.as_bytes());
        bytes.extend_from_slice(device.id.as_bytes());
        bytes.extend_from_slice(&device.issued_at.to_be_bytes());
        let tag = self.tag(number, &bytes)?;
        bytes.extend_from_slice(tag.as_ref());
        Some(Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Reads a hint; None unless one of the keys made it. The tag is compared in constant time.
    pub fn decode_device(&self, text: &str) -> Option<Device> {
        let text = text.strip_prefix(PREFIX).filter(|t| t.len() == ENCODED)?;
        let bytes: [u8; HINT] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (body, tag) = bytes.split_at_checked(BODY)?;
        let (&VERSION, rest) = body.split_first()? else {
            return None;
        };
        let (number, rest) = rest.split_first_chunk::<2>()?;
        if !self.is_tag(u16::from_be_bytes(*number), body, tag) {
            return None;
        }
        let (user, rest) = rest.split_first_chunk::<16>()?;
        let (id, time) = rest.split_first_chunk::<16>()?;
        Some(Device {
            user_id: UserId(Uuid::from_bytes(*user)),
            id: Uuid::from_bytes(*id),
            issued_at: u64::from_be_bytes(*time.first_chunk::<8>()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::ids::SessionId;
    use time::OffsetDateTime;

    use super::*;
    use crate::crypto::refresh_token::{Decoded, KEY_BYTES, RefreshToken, RefreshTokenKey};

    fn keys(secret: u8) -> RefreshTokenKeys {
        let mut keys = RefreshTokenKeys::default();
        keys.insert(1, RefreshTokenKey::parse(&[secret; KEY_BYTES]).expect("key"));
        keys
    }

    #[test]
    fn a_hint_is_read_as_it_was_made_and_any_other_text_is_none() {
        let device = Device::new(UserId::new(OffsetDateTime::UNIX_EPOCH), 7).expect("random");
        let hint = keys(7).encode_device(1, device).expect("made");
        assert_eq!(keys(7).decode_device(hint.expose()), Some(device));
        assert_eq!(keys(8).decode_device(hint.expose()), None, "of another deployment");
        assert!(keys(7).encode_device(2, device).is_none());
        for at in 0..hint.expose().len() {
            let mut altered = hint.expose().to_owned().into_bytes();
            altered[at] = if altered[at] == b'A' { b'Q' } else { b'A' };
            let altered = String::from_utf8(altered).expect("text");
            assert_eq!(keys(7).decode_device(&altered), None, "{at}");
        }
        for bad in ["", "csd_", "csr_AAAA", &format!("{}A", hint.expose())] {
            assert_eq!(keys(7).decode_device(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hint_is_no_refresh_token_and_a_refresh_token_is_no_hint() {
        let keys = keys(7);
        let device = Device::new(UserId::new(OffsetDateTime::UNIX_EPOCH), 7).expect("random");
        let token = RefreshToken { session_id: SessionId::new(OffsetDateTime::UNIX_EPOCH), generation: 1 };
        let (hint, token) = (keys.encode_device(1, device).expect("made"), keys.encode(1, token).expect("made"));
        let as_token = hint.expose().replace("csd_", "csr_");
        assert_eq!(keys.decode(&as_token).expect("decided"), Decoded::Invalid);
        assert_eq!(keys.decode_device(&token.expose().replace("csr_", "csd_")), None);
    }
}
