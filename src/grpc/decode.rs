//! Reads requests: every field is checked here, so that nothing unparsed goes further.

use std::time::Duration;

use countersign_token::{
    access_token,
    ids::{SessionId, UserId},
    verifier::Requirements,
};
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::time::Instant;
use uuid::Uuid;

use super::v1;
use crate::{
    auth::{
        Page,
        login::LoginRequest,
        refresh::{Delivery, RefreshRequest},
        revoke::{CONFIRM_WITHIN, Target},
        users::{
            AccountStatus, LiveSessions, PasswordChange, UserChange, UserKey,
            import::{ImportMode, ImportRow},
        },
    },
    crypto::{device_hint::Device, secret::Secret},
    domain::{
        caller_policy::RefreshingCaller,
        password::Password,
        password_hash::Normalization,
        session::{ClientInfo, DEFAULT_CLIENT_ID},
        user::{Username, parse_roles},
    },
    error::Error,
};

const MAX_PAGE: u16 = 1000;
const DEFAULT_PAGE: u16 = 100;
const MAX_BATCH: usize = 1000;
const MAX_AUDIENCE: usize = 256;
const MAX_AUDIENCES: usize = 256;
const MAX_REFRESH_TOKEN: usize = 256;
const UUID: &str = "a UUID in its canonical form";

pub(super) fn login(request: v1::LoginRequest, until: Option<Instant>) -> Result<LoginRequest, Error> {
    Ok(LoginRequest {
        username: Username::parse(&request.username)?,
        password: password("password", request.password)?,
        audience: audiences(request.audience)?,
        client: client(request.client)?.unwrap_or_default(),
        device_hint: Secret::new(request.device_hint),
        client_id: DEFAULT_CLIENT_ID.to_owned(),
        until,
    })
}

pub(super) fn demand<'a>(
    wanted: &'a str,
    max_staleness: Option<&prost_types::Duration>,
) -> Result<Requirements<'a>, Error> {
    if !wanted.is_empty() {
        audience(wanted)?;
    }
    Ok(Requirements {
        audience: Some(wanted).filter(|audience| !audience.is_empty()),
        max_staleness: max_staleness.map(|d| duration("max_staleness", d)).transpose()?,
    })
}

pub(super) fn batch(tokens: &[String]) -> Result<impl Iterator<Item = &str>, Error> {
    if tokens.is_empty() || tokens.len() > MAX_BATCH {
        return Err(Error::invalid("access_tokens", format!("1 to {MAX_BATCH} tokens")));
    }
    Ok(tokens.iter().map(String::as_str))
}

pub(super) fn refresh(request: v1::RefreshRequest) -> Result<RefreshRequest, Error> {
    bounded("refresh_token", &request.refresh_token, MAX_REFRESH_TOKEN)?;
    if !request.access_token.is_empty() {
        bounded("access_token", &request.access_token, access_token::MAX_BYTES)?;
    }
    Ok(RefreshRequest {
        refresh_token: Secret::new(request.refresh_token),
        access_token: Some(request.access_token).filter(|token| !token.is_empty()).map(Secret::new),
        client: client(request.client)?,
        caller: RefreshingCaller::default(),
        delivery: Delivery::Answer,
    })
}

/// Reads a Revoke: what to end, and how long to wait for the other replicas.
pub(super) fn revoke(request: v1::RevokeRequest) -> Result<(Target, Duration), Error> {
    let wait = request.wait.as_ref().map(|wait| duration("wait", wait)).transpose()?;
    Ok((target(request)?, wait.unwrap_or(CONFIRM_WITHIN)))
}

fn target(request: v1::RevokeRequest) -> Result<Target, Error> {
    use v1::revoke_request::Target as T;
    let keep = optional_session_id("keep_session_id", &request.keep_session_id)?;
    match (request.target, keep) {
        (Some(T::UserId(id)), keep) => Ok(Target::User(user_id(&id)?, keep)),
        (_, Some(_)) => Err(Error::invalid("keep_session_id", "goes with user_id only")),
        (Some(T::SessionId(id)), None) => Ok(Target::Session(session_id("session_id", &id)?)),
        (Some(T::RefreshToken(token)), None) => Ok(Target::RefreshToken(Secret::new(token))),
        (Some(T::AccessToken(token)), None) => Ok(Target::AccessToken(Secret::new(token))),
        (None, None) => Err(Error::invalid("target", "one of refresh_token, access_token, session_id, user_id")),
    }
}

pub(super) fn new_password(field: &'static str, text: String, min_chars: usize) -> Result<Password, Error> {
    let text = zeroize::Zeroizing::new(text);
    Password::parse_new(field, &text, min_chars)
}

pub(super) fn user_key(request: v1::GetUserRequest) -> Result<UserKey, Error> {
    use v1::get_user_request::Key;
    match request.key {
        Some(Key::UserId(id)) => Ok(UserKey::Id(user_id(&id)?)),
        Some(Key::Username(name)) => Ok(UserKey::Name(Username::parse(&name)?)),
        None => Err(Error::invalid("key", "one of user_id, username")),
    }
}

pub(super) fn user_change(request: v1::UpdateUserRequest) -> Result<UserChange, Error> {
    let status = |disabled| if disabled { AccountStatus::Disabled } else { AccountStatus::Enabled };
    Ok(UserChange {
        roles: request.roles.map(|roles| parse_roles(roles.names)).transpose()?,
        status: request.disabled.map(status),
        sessions: if request.end_sessions { LiveSessions::End } else { LiveSessions::Keep },
    })
}

pub(super) fn password_change(
    request: v1::ChangePasswordRequest,
    min_chars: usize,
    device: Option<Device>,
) -> Result<PasswordChange, Error> {
    Ok(PasswordChange {
        username: Username::parse(&request.username)?,
        old_password: password("old_password", request.old_password)?,
        new_password: new_password("new_password", request.new_password, min_chars)?,
        keep: optional_session_id("keep_session_id", &request.keep_session_id)?,
        device,
    })
}

/// A message of an import, with its rows as they are: what is wrong with one is reported and ends nothing.
pub(super) fn imported(message: v1::ImportUsersRequest) -> Result<(ImportMode, Vec<ImportRow>), Error> {
    if message.users.len() > MAX_BATCH {
        return Err(Error::invalid("users", format!("at most {MAX_BATCH} in a message")));
    }
    let mode = if message.dry_run { ImportMode::DryRun } else { ImportMode::Write };
    Ok((mode, message.users.into_iter().map(row).collect()))
}

fn row(user: v1::ImportedUser) -> ImportRow {
    ImportRow {
        username: user.username,
        password_hash: Secret::new(user.password_hash),
        normalization: if user.nfkc { Normalization::Nfkc } else { Normalization::Typed },
        roles: user.roles,
        status: if user.disabled { AccountStatus::Disabled } else { AccountStatus::Enabled },
        created_at: user.created_at.as_ref().map(moment),
    }
}

/// A moment beyond what can be written is the end of time, which no field accepts.
fn moment(at: &prost_types::Timestamp) -> OffsetDateTime {
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(PrimitiveDateTime::MAX.assume_utc())
}

pub(super) fn user_id(text: &str) -> Result<UserId, Error> {
    UserId::parse(text).ok_or_else(|| Error::invalid("user_id", UUID))
}

pub(super) fn page(size: i32, token: &str) -> Result<Page, Error> {
    let size = match u16::try_from(size) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) if size <= MAX_PAGE => size,
        _ => return Err(Error::invalid("page_size", format!("0 to {MAX_PAGE}"))),
    };
    let after = match token {
        "" => Uuid::nil(),
        token => {
            Uuid::try_parse(token).map_err(|_| Error::invalid("page_token", "the next_page_token of a page before"))?
        }
    };
    Ok(Page { after, size })
}

fn session_id(field: &'static str, text: &str) -> Result<SessionId, Error> {
    SessionId::parse(text).ok_or_else(|| Error::invalid(field, UUID))
}

fn optional_session_id(field: &'static str, text: &str) -> Result<Option<SessionId>, Error> {
    if text.is_empty() { Ok(None) } else { session_id(field, text).map(Some) }
}

fn password(field: &'static str, text: String) -> Result<Password, Error> {
    let text = zeroize::Zeroizing::new(text);
    Password::parse(field, &text)
}

fn audiences(all: Vec<String>) -> Result<Vec<String>, Error> {
    if all.len() > MAX_AUDIENCES {
        return Err(Error::invalid("audience", format!("at most {MAX_AUDIENCES}")));
    }
    all.iter().try_for_each(|one| audience(one)).map(|()| all)
}

fn audience(text: &str) -> Result<(), Error> {
    bounded("audience", text, MAX_AUDIENCE)
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<(), Error> {
    if (1..=max).contains(&text.len()) { Ok(()) } else { Err(Error::invalid(field, format!("1 to {max} bytes"))) }
}

fn client(client: Option<v1::ClientInfo>) -> Result<Option<ClientInfo>, Error> {
    client.map(|c| ClientInfo::parse(&c.ip, &c.user_agent, &c.device)).transpose()
}

fn duration(field: &'static str, duration: &prost_types::Duration) -> Result<Duration, Error> {
    let invalid = || Error::invalid(field, "a duration that is not negative");
    if duration.seconds < 0 || !(0..1_000_000_000).contains(&duration.nanos) {
        return Err(invalid());
    }
    Duration::try_from(*duration).map_err(|_| invalid())
}
