//! Audit events. What was done is written by the transaction that did it, so the two cannot differ. What was refused is
//! counted in memory first and written once a second, with equal events as one row with a count. There is a budget of
//! such rows: what is beyond is told apart by its reason alone, and written once a minute. So refusals by the thousand
//! fill neither the table nor the log. An event is logged once it is stored.

pub mod call;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_token::clock::Clock;
use uuid::Uuid;

use crate::{
    domain::{
        audit::{Actor, CallNames, Denial, Event, Failure, Kind},
        caller::CallerId,
        policy::AuditPolicy,
        rate::Rate,
        rpc::Rpc,
        session::ClientInfo,
        user::{User, Username},
    },
    error::Error,
    store::{
        Store,
        audit::{self, Old, StoredEvent},
    },
};

/// Kinds of refusals in a second that are told apart by address; as many more are told apart by user or caller. What is
/// beyond is counted together.
const DISTINCT: usize = 200;
/// Rows of refusals that a replica writes: so many at once, and one more each second.
const ROWS: u32 = 3600;
const ROWS_REFILL: Duration = Duration::from_secs(1);
/// Time between two writings of refusals that are beyond the budget.
const BEYOND_EVERY: Duration = Duration::from_secs(60);
/// Old events that one statement looks at.
const PRUNED_AT_ONCE: i64 = 5000;

/// The audit log: writes events, and says them in the log. Events of a transaction are written by [`audit::insert`].
#[derive(Debug)]
pub struct AuditLog {
    store: Store,
    clock: Clock,
    policy: AuditPolicy,
    refusals: Refusals,
    budget: Mutex<Budget>,
}

/// The budget of rows that strangers can bring about.
#[derive(Debug)]
struct Budget {
    rows: Rate,
    beyond: Rate,
}

/// Refusals that have not been written yet, and how often each happened.
#[derive(Debug, Default)]
struct Refusals(Mutex<HashMap<Event, u32>>);

impl Refusals {
    fn count(&self, event: Event, times: u32) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from_anywhere = Event { client: ClientInfo::default(), ..event.clone() };
        let of_anybody = Event { user: None, caller: String::new(), ..from_anywhere.clone() };
        let kinds = counted.len();
        let told_apart = [(event, DISTINCT), (from_anywhere, 2 * DISTINCT)]
            .into_iter()
            .find(|(event, room)| kinds < *room || counted.contains_key(event));
        let count = counted.entry(told_apart.map_or(of_anybody, |(event, _)| event)).or_default();
        *count = count.saturating_add(times);
    }

    fn take(&self) -> Unwritten<'_> {
        let counted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let events = counted.into_iter().map(|(event, count)| Event { count, ..event }).collect();
        Unwritten { refusals: self, events }
    }
}

/// The wish for refusals to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// Refusals beyond the budget may wait.
    Later,
    /// Nothing may wait, because this process ends.
    Last,
}

/// Refusals that are being written. Dropped before that, they are counted again.
struct Unwritten<'r> {
    refusals: &'r Refusals,
    events: Vec<Event>,
}

impl Unwritten<'_> {
    /// Tells the refusals apart by what happened and why alone: neither by user nor by caller nor by address.
    fn unite(&mut self) {
        let mut united: HashMap<Event, u32> = HashMap::new();
        for event in self.events.drain(..) {
            let times = event.count;
            let client = ClientInfo::default();
            let event = Event { user: None, caller: String::new(), client, count: 1, ..event };
            let count = united.entry(event).or_default();
            *count = count.saturating_add(times);
        }
        self.events = united.into_iter().map(|(event, count)| Event { count, ..event }).collect();
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        for event in self.events.drain(..) {
            let count = event.count;
            self.refusals.count(Event { count: 1, ..event }, count);
        }
    }
}

impl AuditLog {
    /// A log in this database, whose events are kept as the policy says.
    pub fn new(store: Store, clock: Clock, policy: AuditPolicy) -> Self {
        let budget = Budget { rows: Rate::new(ROWS, ROWS_REFILL), beyond: Rate::new(1, BEYOND_EVERY) };
        Self { store, clock, policy, refusals: Refusals::default(), budget: Mutex::new(budget) }
    }

    /// The number of kinds of refusals that are not written yet.
    pub fn unwritten(&self) -> usize {
        self.refusals.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Notes that a password from `source` was of no use.
    pub fn refused(&self, kind: Kind, user: Option<&User>, source: String, failure: Failure) {
        let client = ClientInfo { ip: source, ..ClientInfo::default() };
        let event = Event { reason: failure.as_str(), client, ..Event::new(kind, Actor::User) };
        let event = match user {
            Some(user) => event.about(user),
            None => event,
        };
        self.refusals.count(event, 1);
    }

    /// Notes that a caller may not call this RPC, or not so. It is at the network address `peer`, as far as that is known.
    pub fn refused_caller(&self, rpc: Rpc, caller: Option<&CallerId>, denial: Denial, peer: Option<IpAddr>) {
        let ip = peer.map(|ip| ip.to_canonical().to_string()).unwrap_or_default();
        let client = ClientInfo { ip, ..ClientInfo::default() };
        let caller = caller.map(CallerId::to_string).unwrap_or_default();
        let event = Event::new(Kind::CallerRefused, Actor::Caller).detail(rpc.name());
        self.refusals.count(Event { client, caller, reason: denial.as_str(), ..event }, 1);
    }

    /// Writes the refusals that were noted since the last time; what cannot be written now, or need not, is kept.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: some may be written twice.
    pub async fn write_refusals(&self) -> Result<(), Error> {
        self.write(Urgency::Later).await
    }

    /// Writes all refusals that were noted, because this process ends.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: they are lost.
    pub async fn write_last_refusals(&self) -> Result<(), Error> {
        self.write(Urgency::Last).await
    }

    async fn write(&self, urgency: Urgency) -> Result<(), Error> {
        let mut unwritten = self.refusals.take();
        if unwritten.events.is_empty() || !self.fit(&mut unwritten, urgency) {
            return Ok(());
        }
        // One may stand for many calls.
        let (conn, none) = (&mut self.store.acquire().await?, CallNames::default());
        audit::insert(conn, &unwritten.events, &none, self.clock.now()).await?;
        log(&std::mem::take(&mut unwritten.events));
        Ok(())
    }

    /// Fits refusals into the budget. False: they have to wait.
    fn fit(&self, unwritten: &mut Unwritten<'_>, urgency: Urgency) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.boot();
        if budget.rows.take(unwritten.events.len(), now) {
            return true;
        }
        unwritten.unite();
        budget.beyond.take(1, now) || urgency == Urgency::Last
    }

    /// Writes an event of what changed nothing.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn note(&self, event: Event) -> Result<(), Error> {
        let events = [event];
        audit::insert(&mut self.store.acquire().await?, &events, &call::names(), self.clock.now()).await?;
        log(&events);
        Ok(())
    }

    /// Deletes events that have been kept for long enough.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn delete_old(&self) -> Result<(), Error> {
        let AuditPolicy { retention, refusal_retention } = self.policy;
        let mut conn = self.store.acquire().await?;
        for (which, kept) in [(Old::Refusals, refusal_retention), (Old::All, retention)] {
            let before = self.clock.now() - kept;
            while audit::prune(&mut conn, which, before, kept, PRUNED_AT_ONCE).await? > 0 {}
        }
        Ok(())
    }
}

/// The newest `limit` events with an id above `after`, oldest first; with `name`, those of users that were called so.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn newest(
    store: &Store,
    name: Option<&Username>,
    after: Uuid,
    limit: u32,
) -> Result<Vec<StoredEvent>, Error> {
    audit::newest(&mut store.acquire().await?, name, after, limit.into()).await
}

/// Logs events that have been stored. By the user's id alone: names are no matter of logs.
pub fn log(events: &[Event]) {
    for event in events {
        let Event { kind, actor, user, session, reason, detail, client, caller, count } = event;
        let some = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
        tracing::info!(
            target: "countersign::audit",
            actor = actor.as_str(),
            user_id = user.as_ref().map(|(id, _)| tracing::field::display(id)),
            session_id = session.map(tracing::field::display),
            reason = some(reason),
            detail = some(detail),
            caller = some(caller),
            ip = some(&client.ip),
            count,
            "{}", kind.as_str()
        );
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::ids::UserId;

    use super::*;

    fn refusal(ip: usize) -> Event {
        let client = ClientInfo { ip: ip.to_string(), ..ClientInfo::default() };
        Event { reason: Failure::UnknownUser.as_str(), client, ..Event::new(Kind::LoginFailed, Actor::User) }
    }

    fn alice() -> (UserId, Username) {
        (UserId(Uuid::nil()), Username::parse("alice").expect("a name"))
    }

    #[test]
    fn a_flood_of_refusals_becomes_few_events_that_count_all_of_them() {
        let refusals = Refusals::default();
        for n in 0..10 * DISTINCT {
            refusals.count(refusal(n % (3 * DISTINCT)), 1);
        }
        // Whom somebody hides in the flood is told all the same.
        refusals.count(Event { user: Some(alice()), ..refusal(10_000) }, 1);
        let mut taken = refusals.take();
        let events = std::mem::take(&mut taken.events);
        assert_eq!(events.len(), DISTINCT + 2);
        let total: usize = events.iter().map(|event| usize::try_from(event.count).expect("small")).sum();
        assert_eq!(total, 10 * DISTINCT + 1);
        assert!(events.iter().any(|event| event.client.ip == "0") && events.iter().any(|e| e.user == Some(alice())));
        assert!(refusals.take().events.is_empty());
    }

    #[test]
    fn what_is_united_counts_all_and_tells_apart_by_reason_alone() {
        let refusals = Refusals::default();
        for n in 0..DISTINCT {
            refusals.count(refusal(n), 2);
            refusals.count(Event { user: Some(alice()), reason: Failure::WrongPassword.as_str(), ..refusal(n) }, 3);
        }
        let mut taken = refusals.take();
        taken.unite();
        let mut counts: Vec<_> = taken.events.iter().map(|event| (event.reason, event.count)).collect();
        counts.sort_unstable();
        let all = u32::try_from(DISTINCT).expect("small");
        assert_eq!(counts, [("unknown_user", 2 * all), ("wrong_password", 3 * all)]);
    }

    #[test]
    fn refusals_whose_writing_was_given_up_are_counted_again() {
        let refusals = Refusals::default();
        refusals.count(refusal(1), 3);
        drop(refusals.take());
        refusals.count(refusal(1), 2);
        assert_eq!(refusals.take().events.iter().map(|event| event.count).collect::<Vec<_>>(), [5]);
    }
}
