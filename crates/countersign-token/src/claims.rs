//! The claims of an access token (RFC 9068 section 2.2) and the one definition of when they are valid. The signature and
//! the form of the token are `access_token.rs`; revocation is `index.rs`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use super::{
    error::Rejection,
    ids::{SessionId, UserId},
    moment::unix,
    revocation::MAX_ACCESS_TOKEN_TTL,
};

/// The largest integer that every JSON reader keeps exactly (RFC 8259 section 6).
const MAX_NUMERIC_DATE: u64 = 1 << 53;

/// The most by which the clock of the replica that issued a token may be ahead of ours.
const MAX_ISSUED_AHEAD: Duration = Duration::from_secs(60);

/// The payload of an access token. Holds nothing that a reader should not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The user's id.
    pub sub: String,
    /// The services that the token is for.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// End of life, seconds since 1970.
    pub exp: u64,
    /// The moment before which the token is not valid; we issue none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The moment at which the token was issued.
    pub iat: u64,
    /// The token's id.
    pub jti: String,
    /// The client that logged in.
    pub client_id: String,
    /// The time when the password was checked.
    pub auth_time: u64,
    /// The session's id.
    pub sid: String,
    /// The user's revocation epoch at the issue.
    pub epoch: i64,
    /// The user's roles at the issue.
    pub roles: Vec<String>,
    /// The roles joined by spaces (RFC 8693 section 4.2), for proxies that cannot read arrays. Written, and not read.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The user's name at the issue, where tokens say it (OpenID Connect Core 1.0 section 5.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
}

/// The user and session that a valid access token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user_id: UserId,
    /// The session.
    pub session_id: SessionId,
    /// The user's epoch at the issue; compared with the revocation index.
    pub epoch: i64,
    /// The time when the session was opened, seconds since 1970; compared with the revocation index.
    pub opened_at: u64,
    /// The token's id.
    pub token_id: String,
    /// The user's roles at the issue.
    pub roles: Vec<String>,
    /// The services that the token is for.
    pub audience: Vec<String>,
    /// The user's name at the issue, where tokens say it.
    pub username: Option<String>,
    /// Issued at, seconds since 1970.
    pub issued_at: u64,
    /// The moment before which the token is not valid, in seconds since 1970.
    pub starts_at: u64,
    /// End of life, seconds since 1970.
    pub expires_at: u64,
}

impl Claims {
    /// Checks everything that does not depend on the time: enough to know whom a token stands for.
    ///
    /// # Errors
    /// [`Rejection::Malformed`].
    pub fn identify(self, issuer: &str) -> Result<Principal, Rejection> {
        let dates_sane =
            [self.exp, self.iat, self.auth_time].into_iter().chain(self.nbf).all(|date| date <= MAX_NUMERIC_DATE)
                && self.iat <= self.exp
                && self.exp - self.iat <= MAX_ACCESS_TOKEN_TTL.as_secs();
        if self.iss != issuer || !dates_sane || self.jti.is_empty() || self.client_id.is_empty() {
            return Err(Rejection::Malformed);
        }
        Ok(Principal {
            user_id: UserId::parse(&self.sub).ok_or(Rejection::Malformed)?,
            session_id: SessionId::parse(&self.sid).ok_or(Rejection::Malformed)?,
            epoch: self.epoch,
            opened_at: self.auth_time,
            token_id: self.jti,
            roles: self.roles,
            audience: self.aud,
            username: self.preferred_username,
            issued_at: self.iat,
            starts_at: self.nbf.map_or(self.iat, |nbf| nbf.max(self.iat)),
            expires_at: self.exp,
        })
    }
}

impl Principal {
    /// Checks everything that depends on the time and on what the caller asks for. `leeway` is the grace past `exp`,
    /// `audience` a member of `aud` if the caller asks for one.
    ///
    /// # Errors
    /// [`Rejection::Malformed`], [`Rejection::Expired`] or [`Rejection::AudienceMismatch`], in this order.
    pub fn check(&self, audience: Option<&str>, leeway: Duration, now: OffsetDateTime) -> Result<(), Rejection> {
        let now = unix(now);
        if self.starts_at > now + MAX_ISSUED_AHEAD.as_secs() {
            return Err(Rejection::Malformed);
        }
        if self.has_expired(leeway, now) {
            return Err(Rejection::Expired);
        }
        let named = |audience: &str| self.audience.iter().any(|a| a == audience);
        if audience.is_some_and(|audience| !named(audience)) {
            return Err(Rejection::AudienceMismatch);
        }
        Ok(())
    }

    /// RFC 7519 section 4.1.4: the time must be before `exp`, not equal to it.
    pub fn has_expired(&self, leeway: Duration, now: u64) -> bool {
        now >= self.expires_at.saturating_add(leeway.as_secs())
    }
}

/// `aud` is a string or an array of strings (RFC 7519 section 4.1.3).
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::One(audience) => vec![audience],
        Form::Many(audiences) => audiences,
    })
}

/// An optional member that is there must have a value: serde would read `null` as absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn now() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn valid() -> Value {
        json!({
            "iss": "countersign", "sub": UserId::new(now()).to_string(), "aud": ["internal", "billing"],
            "exp": NOW + 600, "iat": NOW, "jti": "j", "client_id": "default", "auth_time": NOW,
            "sid": SessionId::new(now()).to_string(), "epoch": 3, "roles": ["admin"],
        })
    }

    fn check(claims: Value, audience: Option<&str>) -> Result<Principal, Rejection> {
        let claims: Claims = serde_json::from_value(claims).map_err(|_| Rejection::Malformed)?;
        let principal = claims.identify("countersign")?;
        principal.check(audience, Duration::ZERO, now())?;
        Ok(principal)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = valid();
        claims[name] = value;
        claims
    }

    #[test]
    fn valid_claims_name_their_principal() {
        let principal = check(valid(), Some("billing")).expect("valid");
        assert_eq!((principal.epoch, principal.expires_at), (3, NOW + 600));
        assert_eq!(check(with("aud", json!("x")), Some("x")).expect("valid").audience, ["x"]);
    }

    #[test]
    fn r03_a_missing_claim_is_refused() {
        let names: Vec<String> = valid().as_object().expect("object").keys().cloned().collect();
        for name in names {
            let mut claims = valid();
            claims.as_object_mut().expect("object").remove(&name);
            assert_eq!(check(claims, None), Err(Rejection::Malformed), "{name}");
        }
    }

    #[test]
    fn r04_the_issuer_is_ours_exactly_and_a_string() {
        for bad in [json!("Countersign"), json!("countersign "), json!(["countersign"]), json!(null)] {
            assert_eq!(check(with("iss", bad), None), Err(Rejection::Malformed));
        }
    }

    #[test]
    fn r05_the_audience_must_hold_what_is_asked_for() {
        assert_eq!(check(valid(), Some("other")), Err(Rejection::AudienceMismatch));
        assert_eq!(check(valid(), Some("INTERNAL")), Err(Rejection::AudienceMismatch));
        assert_eq!(check(with("aud", json!([])), Some("internal")), Err(Rejection::AudienceMismatch));
        for bad in [json!(1), json!([1]), json!({"internal": 1}), json!(null)] {
            assert_eq!(check(with("aud", bad), None), Err(Rejection::Malformed));
        }
    }

    #[test]
    fn r06_now_must_be_before_exp() {
        let ended = |exp: u64| {
            with("exp", json!(exp))
                .as_object()
                .map(|c| {
                    let mut claims = Value::Object(c.clone());
                    claims["iat"] = json!(NOW - 600);
                    claims
                })
                .expect("object")
        };
        assert_eq!(check(ended(NOW), None), Err(Rejection::Expired));
        assert_eq!(check(ended(NOW - 1), None), Err(Rejection::Expired));
        assert!(check(ended(NOW + 1), None).is_ok());
    }

    #[test]
    fn r08_dates_are_whole_numbers_in_a_sane_range() {
        for name in ["exp", "iat", "nbf", "auth_time"] {
            for bad in [json!("1"), json!(null), json!(true), json!(-1), json!(1.5), json!((1_u64 << 53) + 1)] {
                assert_eq!(check(with(name, bad.clone()), None), Err(Rejection::Malformed), "{name} {bad}");
            }
        }
        assert_eq!(check(with("exp", json!(NOW + 3601)), None), Err(Rejection::Malformed));
        assert_eq!(check(with("iat", json!(NOW + 61)), None), Err(Rejection::Malformed));
        assert_eq!(check(with("nbf", json!(NOW + 61)), None), Err(Rejection::Malformed));
        assert!(check(with("nbf", json!(NOW)), None).is_ok());
    }

    #[test]
    fn ids_must_be_canonical() {
        for name in ["sub", "sid"] {
            for bad in [json!(""), json!("x"), json!("0190A000-0000-7000-8000-000000000000"), json!(7)] {
                assert_eq!(check(with(name, bad), None), Err(Rejection::Malformed));
            }
        }
    }
}
