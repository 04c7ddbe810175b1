//! Who calls: an administrator, or anybody who can reach the port.

use tonic::metadata::MetadataMap;

use crate::{crypto::service_token::ServiceTokenHash, error::Error};

/// Who administers over gRPC.
#[derive(Clone, Debug)]
pub enum Administration {
    /// Every caller: for `dev`, which listens on loopback only.
    Everybody,
    /// Whoever sends this token as bearer (RFC 6750 section 2.1).
    Bearer(ServiceTokenHash),
    /// No caller.
    Nobody,
}

impl Administration {
    /// Passes if the caller administers.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`].
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Error> {
        let allowed = match self {
            Self::Everybody => true,
            Self::Bearer(hash) => bearer(metadata).is_some_and(|token| hash.matches(token)),
            Self::Nobody => false,
        };
        if allowed { Ok(()) } else { Err(Error::CallerNotAllowed) }
    }
}

/// The bearer token, if there is one and no second.
fn bearer(metadata: &MetadataMap) -> Option<&[u8]> {
    let mut values = metadata.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn check(headers: &[&str]) -> Result<(), Error> {
        let mut metadata = MetadataMap::new();
        for header in headers {
            metadata.append("authorization", header.parse().expect("header"));
        }
        let hash = ServiceTokenHash::from_file_content(TOKEN).expect("token");
        Administration::Bearer(hash).check(&metadata)
    }

    #[test]
    fn only_the_one_token_administers() {
        let good = format!("Bearer {TOKEN}");
        assert!(check(&[&good]).is_ok());
        assert!(check(&[&format!("bearer {TOKEN}")]).is_ok());
        let basic = format!("Basic {TOKEN}");
        let longer = format!("{good}0");
        for bad in [&[][..], &[""], &["Bearer "], &[TOKEN], &[&basic], &[&longer], &[&good, &good]] {
            assert!(matches!(check(bad), Err(Error::CallerNotAllowed)), "{}", bad.len());
        }
    }

    #[test]
    fn without_a_token_file_nobody_administers() {
        assert!(Administration::Nobody.check(&MetadataMap::new()).is_err());
        assert!(Administration::Everybody.check(&MetadataMap::new()).is_ok());
    }
}
