//! Puts back what the database has lost. A standby that was behind and took over, or a restore, may not hold
//! revocations that were acknowledged. As long as one replica lives that knew them, they survive (REQUIREMENTS V4).

use std::collections::{HashMap, HashSet};

use countersign_token::{
    ids::{SessionId, UserId},
    moment::at,
    revocation::{Revocation, Subject},
};
use time::OffsetDateTime;

use crate::{
    domain::{
        audit::{Actor, CallNames, Event, Kind},
        revocation::Reason,
    },
    error::Error,
    store::{
        Conn, audit,
        revocation_log::{self, Extent},
        revocations, session_floor, sessions, users,
    },
};

/// Number of revocations that are put back in one transaction.
const BATCH: usize = 1000;

/// Writes what of `known` is not `logged`, which is all of the log's `extent`, and marks the rows that it ends. Says how many the log had lost.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub(super) async fn restore_lost(
    conn: &mut Conn,
    known: Vec<Revocation>,
    extent: Extent,
    logged: &[Revocation],
    now: OffsetDateTime,
) -> Result<usize, Error> {
    let (mut restored, mut head, mut since) = (0, extent.newest.seq, Vec::new());
    for batch in missing(known, logged).chunks(BATCH) {
        conn.begin().await?;
        let ended = mark(conn, batch, now).await?;
        // What was revoked while the log was read, or put back by another replica, is there by now.
        revocations::lock(conn).await?;
        let (extent, added) = revocation_log::load(conn, head).await?;
        since.extend(added);
        head = extent.newest.seq;
        let lost: Vec<(Revocation, Reason)> =
            missing(batch.to_vec(), &since).into_iter().map(|revocation| (revocation, Reason::Restored)).collect();
        if !lost.is_empty() {
            revocations::append(conn, &lost, now).await?;
            restored += lost.len();
        }
        conn.commit().await?;
        if ended > 0 {
            tracing::info!(target: "countersign::audit", reason = Reason::Restored.as_str(), count = ended, "sessions_ended");
        }
    }
    Ok(restored)
}

/// The revocations of `known` that the log does not say, or not as much of.
fn missing(known: Vec<Revocation>, logged: &[Revocation]) -> Vec<Revocation> {
    if known.is_empty() {
        return known;
    }
    let mut sessions: HashSet<SessionId> = HashSet::new();
    let mut users: HashMap<UserId, i64> = HashMap::new();
    let mut opened_before = None;
    for revocation in logged {
        match revocation.subject {
            Subject::Session(id) => drop(sessions.insert(id)),
            Subject::User(id, epoch) => {
                let least = users.entry(id).or_insert(epoch);
                *least = epoch.max(*least);
            }
            Subject::OpenedBefore(moment) => opened_before = opened_before.max(Some(moment)),
            Subject::Keys => {}
        }
    }
    let lost = |revocation: &Revocation| match revocation.subject {
        Subject::Session(id) => !sessions.contains(&id),
        Subject::User(id, epoch) => users.get(&id).is_none_or(|least| *least < epoch),
        Subject::OpenedBefore(moment) => opened_before < Some(moment),
        Subject::Keys => false,
    };
    known.into_iter().filter(lost).collect()
}

/// Ends the sessions in their rows too, as far as there are rows, and writes the audit event; says how many.
async fn mark(tx: &mut Conn, revocations: &[Revocation], now: OffsetDateTime) -> Result<usize, Error> {
    let (mut sessions, mut epochs) = (Vec::new(), Vec::new());
    for revocation in revocations {
        match revocation.subject {
            Subject::Session(id) => sessions.push(id),
            Subject::User(id, epoch) => epochs.push((id, epoch)),
            Subject::OpenedBefore(moment) => session_floor::raise(tx, at(moment)).await?,
            Subject::Keys => {}
        }
    }
    users::raise_epochs(tx, &epochs).await?;
    let ended = sessions::revoke(tx, &sessions, Reason::Restored, now).await?;
    if !ended.is_empty() {
        let event = Event::new(Kind::SessionsEnded, Actor::Server).times(ended.len());
        audit::insert(tx, &[Event { reason: Reason::Restored.as_str(), ..event }], &CallNames::default(), now).await?;
    }
    Ok(ended.len())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn revocation(subject: Subject) -> Revocation {
        Revocation { subject, expires_at: OffsetDateTime::UNIX_EPOCH }
    }

    #[test]
    fn what_the_log_says_is_not_missing_and_a_lower_epoch_is_not_enough() {
        let (here, gone) = (SessionId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        let user = |id: u128, epoch| Subject::User(UserId(Uuid::from_u128(id)), epoch);
        let log = [Subject::Session(here), user(1, 4), user(2, 2), user(2, 1), Subject::Keys, Subject::OpenedBefore(5)];
        let known = [
            Subject::Session(here),
            Subject::Session(gone),
            user(1, 4),
            user(2, 3),
            user(3, 1),
            Subject::OpenedBefore(5),
            Subject::OpenedBefore(6),
        ];
        let lost = missing(known.map(revocation).into(), &log.map(revocation));
        let lost: Vec<Subject> = lost.into_iter().map(|revocation| revocation.subject).collect();
        assert_eq!(lost, [Subject::Session(gone), user(2, 3), user(3, 1), Subject::OpenedBefore(6)]);
    }
}
