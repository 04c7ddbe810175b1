//! The lists of what has ended, for proxies. New entries go to the end. From time to time all are put together into
//! a base, so that what has to be sent for each new one stays short.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use countersign_token::{
    ids::{SessionId, UserId},
    revocation::{Revocation, Subject},
};
use time::OffsetDateTime;

use super::{matchers, wire::Encoded};
use crate::domain::proxy_lists::ProxyLists;

/// Entries that are sent again with each new one.
const RECENT: usize = 1000;
/// Time for which entries stay recent.
const RECENT_FOR: Duration = Duration::from_secs(60);
/// The least time between two bases that are made for users whose epochs have run ahead.
const REBASED_FOR_USERS: Duration = Duration::from_secs(2);
/// Numbers of parts in which a base is kept encoded: proxies of one deployment want the same.
const SHAPES: usize = 3;
/// Bases that proxies may still have: the newest, and the one before.
const BASES: usize = 2;

/// An entry: what has ended.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Session(SessionId),
    User(UserId, i64),
}

/// The lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    form: ProxyLists,
    sessions: HashMap<SessionId, OffsetDateTime>,
    users: HashMap<UserId, (i64, OffsetDateTime)>,
    opened_before: Option<u64>,
    /// The entries since the oldest base.
    recent: VecDeque<Entry>,
    /// The number of the entry after the last.
    end: u64,
    bases: VecDeque<Base>,
    number: u64,
    rebased_at: Option<OffsetDateTime>,
    /// True if a user's newest logins may soon have epochs that the newest base does not let pass.
    is_outrun: bool,
}

/// All entries at a moment.
#[derive(Debug)]
struct Base {
    form: ProxyLists,
    number: u64,
    /// The number of the first entry that is not among them.
    end: u64,
    sessions: Vec<SessionId>,
    users: HashMap<UserId, i64>,
    /// The parts, encoded, by their number.
    parts: Mutex<HashMap<u16, Vec<Arc<Encoded>>>>,
}

impl Lists {
    /// Empty lists that are encoded in this form.
    pub(super) fn new(form: ProxyLists) -> Self {
        Self { form, ..Self::default() }
    }

    /// Adds what has ended.
    pub(super) fn add(&mut self, revocations: &[Revocation]) {
        for revocation in revocations {
            let expires_at = revocation.expires_at;
            let entry = match revocation.subject {
                Subject::Session(id) => {
                    if self.sessions.insert(id, expires_at).is_some() {
                        continue;
                    }
                    Entry::Session(id)
                }
                Subject::User(id, least) => {
                    let known = self.users.entry(id).or_insert((i64::MIN, expires_at));
                    known.1 = known.1.max(expires_at);
                    if known.0 >= least {
                        continue;
                    }
                    known.0 = least;
                    let in_base = self.bases.back().and_then(|base| base.users.get(&id));
                    self.is_outrun |= in_base.is_some_and(|base| least >= base.saturating_add(matchers::EPOCHS / 2));
                    Entry::User(id, least)
                }
                Subject::OpenedBefore(moment) => {
                    self.opened_before = self.opened_before.max(Some(moment));
                    continue;
                }
                Subject::Keys => continue,
            };
            self.recent.push_back(entry);
            self.end += 1;
        }
    }

    /// Begins anew with all that has ended.
    pub(super) fn replace(&mut self, all: &[Revocation], now: OffsetDateTime) {
        let (form, number, end) = (self.form, self.number, self.end);
        *self = Self { form, number, end, ..Self::default() };
        self.add(all);
        // These are another list than what was there, even if nothing is on it.
        self.end += 1;
        self.rebase(now);
        // What was on the way to proxies before is no base of these.
        self.bases.drain(..self.bases.len().saturating_sub(1));
    }

    /// Makes a new base if it is time. True if it was.
    pub(super) fn look_after(&mut self, now: OffsetDateTime) -> bool {
        let newest = self.bases.back().map_or(0, |base| base.end);
        let count = usize::try_from(self.end - newest).unwrap_or(usize::MAX);
        let is_past = |pause| self.rebased_at.is_none_or(|at| now - at >= pause);
        let is_due = is_past(RECENT_FOR) || (self.is_outrun && is_past(REBASED_FOR_USERS));
        let wanted = count > RECENT || (count > 0 && is_due) || self.bases.is_empty();
        if wanted {
            self.rebase(now);
        }
        wanted
    }

    fn rebase(&mut self, now: OffsetDateTime) {
        self.sessions.retain(|_, end| *end > now);
        self.users.retain(|_, (_, end)| *end > now);
        self.number += 1;
        self.bases.push_back(Base {
            form: self.form,
            number: self.number,
            end: self.end,
            sessions: self.sessions.keys().copied().collect(),
            users: self.users.iter().map(|(user, (least, _))| (*user, *least)).collect(),
            parts: Mutex::default(),
        });
        (self.rebased_at, self.is_outrun) = (Some(now), false);
        while self.bases.len() > BASES {
            self.bases.pop_front();
        }
        let oldest = self.bases.front().map_or(self.end, |base| base.end);
        let kept = usize::try_from(self.end - oldest).unwrap_or(usize::MAX);
        self.recent.drain(..self.recent.len().saturating_sub(kept));
    }

    /// The number of the entry after the last.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The number of the newest base.
    pub(super) fn newest(&self) -> u64 {
        self.number
    }

    /// The moment before which no session was opened that lives; None for none.
    pub(super) fn opened_before(&self) -> Option<u64> {
        self.opened_before
    }

    /// True if what is not in this base can still be said.
    pub(super) fn is_kept(&self, base: u64) -> bool {
        self.bases.iter().any(|kept| kept.number == base)
    }

    /// A part of the newest base.
    pub(super) fn part(&self, part: u16, parts: u16) -> Option<Arc<Encoded>> {
        let base = self.bases.back()?;
        let mut all = base.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SHAPES && !all.contains_key(&parts) {
            all.clear();
        }
        let encoded = all.entry(parts).or_insert_with(|| base.encode(parts));
        encoded.get(usize::from(part)).cloned()
    }

    /// The entries that a base does not have, all for None; None if they are not known any more.
    pub(super) fn since(&self, base: Option<u64>) -> Option<Encoded> {
        let Some(number) = base else {
            let sessions = self.sessions.keys().map(ToString::to_string);
            let users = self.users.iter().map(|(user, (least, _))| (user, *least));
            return Some(matchers::refused(self.form, sessions, users));
        };
        let base = self.bases.iter().find(|base| base.number == number)?;
        let count = usize::try_from(self.end - base.end).ok()?;
        let (mut sessions, mut users) = (Vec::new(), HashMap::new());
        for entry in self.recent.range(self.recent.len().checked_sub(count)?..) {
            match entry {
                Entry::Session(id) => sessions.push(id.to_string()),
                // Of one user, the last says the most.
                Entry::User(id, least) => drop(users.insert(*id, *least)),
            }
        }
        let users = users.iter().map(|(user, least)| (user, *least));
        Some(matchers::refused(self.form, sessions.into_iter(), users))
    }
}

impl Base {
    fn encode(&self, parts: u16) -> Vec<Arc<Encoded>> {
        let is_of = |id: u128, part: u16| id % u128::from(parts) == u128::from(part);
        let encode = |part| {
            let sessions = self.sessions.iter().filter(|id| is_of(id.0.as_u128(), part)).map(ToString::to_string);
            let users = self.users.iter().filter(|(id, _)| is_of(id.0.as_u128(), part)).map(|(id, least)| (id, *least));
            Arc::new(matchers::refused(self.form, sessions, users))
        };
        (0..parts).map(encode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn logged_out_everywhere(epoch: i64) -> Revocation {
        let user = UserId::parse("01890a5d-ac96-774b-bcce-b302099a8057").expect("an id");
        Revocation::new(Subject::User(user, epoch), T0)
    }

    /// A base lets some epochs of a user pass, and no later ones.
    #[test]
    fn a_base_is_made_anew_before_a_user_outruns_it() {
        let mut lists = Lists::default();
        lists.replace(&[logged_out_everywhere(1)], T0);
        let mut now = T0;
        for epoch in 2..40 {
            now += REBASED_FOR_USERS / 2;
            lists.add(&[logged_out_everywhere(epoch)]);
            lists.look_after(now);
            let base = lists.part(0, 1).expect("a base");
            let passes = format!("e{epoch}.01890a5d");
            assert!(base.windows(passes.len()).any(|at| at == passes.as_bytes()), "epoch {epoch}");
        }
        assert!(lists.newest() < 20, "and not each time");
    }
}
