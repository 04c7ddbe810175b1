//! Writes answers.

use countersign_token::{
    claims::Principal,
    revocation::{Revocation, Subject},
};
use prost::Message;
use prost_types::Timestamp;
use time::OffsetDateTime;

use super::v1;
use crate::{
    auth::{Page, tokens::TokenPair, users::import::Outcome},
    domain::{replica::Confirmation, session::Session, user::User},
    revocation::changes::Revoked,
};

/// Bytes of the items of a listing: well below the 4 MiB that clients of gRPC take in a message.
const LISTING: usize = 1024 * 1024;

pub(super) fn tokens(tokens: TokenPair) -> v1::TokenPair {
    v1::TokenPair {
        access_token: tokens.access_token.expose().to_owned(),
        access_token_expires_at: timestamp(tokens.access_token_expires_at),
        refresh_token: tokens.refresh_token.expose().to_owned(),
        refresh_token_expires_at: timestamp(tokens.refresh_token_expires_at),
        session_id: tokens.session_id.to_string(),
    }
}

pub(super) fn principal(principal: &Principal) -> v1::Principal {
    v1::Principal {
        user_id: principal.user_id.to_string(),
        session_id: principal.session_id.to_string(),
        token_id: principal.token_id.clone(),
        roles: principal.roles.clone(),
        audience: principal.audience.clone(),
        issued_at: seconds(principal.issued_at),
        expires_at: seconds(principal.expires_at),
        username: principal.username.clone().unwrap_or_default(),
    }
}

pub(super) fn revoked(revoked: Revoked, confirmation: Confirmation) -> v1::RevokeResponse {
    v1::RevokeResponse {
        sessions_revoked: i32::try_from(revoked.sessions).unwrap_or(i32::MAX),
        confirmed: confirmation.confirmed,
        everywhere_by: revoked.committed.everywhere_by.and_then(timestamp),
        proxies_connected: count(confirmation.proxies.connected),
        proxies_confirmed: count(confirmation.proxies.confirmed),
    }
}

fn count(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A revocation for subscribers; None for a row that says something else.
pub(super) fn revocation(revocation: &Revocation) -> Option<v1::Revocation> {
    use v1::revocation::Subject as S;
    let subject = match revocation.subject {
        Subject::Session(id) => S::SessionId(id.to_string()),
        Subject::User(id, least_epoch) => S::User(v1::UserRevocation { user_id: id.to_string(), least_epoch }),
        Subject::OpenedBefore(moment) => {
            S::OpenedBefore(Timestamp { seconds: moment.try_into().unwrap_or(i64::MAX), nanos: 0 })
        }
        // Keys are sent by themselves.
        Subject::Keys => return None,
    };
    Some(v1::Revocation { subject: Some(subject), expires_at: timestamp(revocation.expires_at) })
}

pub(super) fn session(session: Session) -> v1::Session {
    v1::Session {
        session_id: session.id.to_string(),
        user_id: session.user_id.to_string(),
        created_at: timestamp(session.created_at),
        last_refreshed_at: timestamp(session.rotation.rotated_at),
        expires_at: timestamp(session.idle_expires_at.min(session.expires_at)),
        client: Some(v1::ClientInfo {
            ip: session.client.ip,
            user_agent: session.client.user_agent,
            device: session.client.device,
        }),
        absolute_expires_at: timestamp(session.expires_at),
    }
}

pub(super) fn user(user: User) -> v1::User {
    v1::User {
        user_id: user.id.to_string(),
        username: user.username.as_str().to_owned(),
        roles: user.roles,
        disabled: user.disabled_at.is_some(),
        created_at: timestamp(user.created_at),
        updated_at: timestamp(user.updated_at),
        password_changed_at: timestamp(user.password_changed_at),
    }
}

/// A row that was not imported. `Imported` has no reason.
pub(super) fn unimported(row: u64, outcome: Outcome) -> v1::UnimportedRow {
    use v1::UnimportedReason as R;
    let (reason, violations) = match outcome {
        Outcome::Imported => (R::Unspecified, vec![]),
        Outcome::Invalid(violations) => (R::Invalid, violations),
        Outcome::Duplicate => (R::Duplicate, vec![]),
        Outcome::Exists => (R::Exists, vec![]),
    };
    v1::UnimportedRow {
        row: i64::try_from(row).unwrap_or(i64::MAX),
        reason: reason.into(),
        violations: violations
            .into_iter()
            .map(|v| v1::FieldViolation { field: v.field.to_owned(), description: v.description })
            .collect(),
    }
}

/// Cuts a listing to what an answer has room for, but to no less than one item. Gives the token of the next page too: the last
/// id, unless these are all.
pub(super) fn listing<T: Message>(page: Page, mut items: Vec<T>, id: fn(&T) -> &String) -> (Vec<T>, String) {
    let full = items.len() == usize::from(page.size);
    let mut bytes = 0;
    let over = items.iter().position(|item| {
        bytes += item.encoded_len();
        bytes > LISTING
    });
    let room = over.map_or(items.len(), |index| index.max(1));
    let more = full || room < items.len();
    items.truncate(room);
    let token = items.last().filter(|_| more).map(|item| id(item).clone());
    (items, token.unwrap_or_default())
}

pub(super) fn timestamp(at: OffsetDateTime) -> Option<Timestamp> {
    Some(Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or(0) })
}

fn seconds(at: u64) -> Option<Timestamp> {
    i64::try_from(at).ok().map(|seconds| Timestamp { seconds, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn listed(size: u16, bytes: &[usize]) -> (usize, String) {
        let user = |(n, bytes): (usize, &usize)| v1::User {
            user_id: n.to_string(),
            username: "x".repeat(*bytes),
            ..Default::default()
        };
        let users = bytes.iter().enumerate().map(user).collect();
        let (users, token) = listing(Page { after: Uuid::nil(), size }, users, |user| &user.user_id);
        (users.len(), token)
    }

    #[test]
    fn a_listing_is_cut_by_its_bytes_too_and_goes_on_where_it_was_cut() {
        assert_eq!(listed(3, &[1, 1]), (2, String::new()), "all");
        assert_eq!(listed(2, &[1, 1]), (2, "1".to_owned()), "a full page");
        assert_eq!(listed(3, &[LISTING / 2, LISTING / 3, LISTING / 4]), (2, "1".to_owned()), "cut");
        assert_eq!(listed(9, &[LISTING / 2, LISTING / 3, LISTING / 4]), (2, "1".to_owned()), "cut before the last");
        assert_eq!(listed(9, &[2 * LISTING, 1]), (1, "0".to_owned()), "never empty");
        assert_eq!(listed(9, &[]), (0, String::new()));
    }
}
