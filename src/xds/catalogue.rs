//! The contents for all proxies: made once, by one task that follows the feed of revocations, and read by each stream.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_token::{clock::Moment, ids::new_v7};
use tokio::{sync::watch, time::timeout};

use super::{lists::Lists, matchers, matchers::TokenRules, names::Name, wire::Encoded};
use crate::{
    auth::Auth,
    domain::{proxy_lists::ProxyLists, revocation::Position},
    error::Error,
    revocation::feed::News,
};

/// Time between two looks at what is due, if nothing has changed.
const PAUSE: Duration = Duration::from_millis(500);

/// The contents at a moment.
#[derive(Debug, Default)]
pub struct Contents {
    /// Tells versions of this process from those of others.
    id: u64,
    reached: Reached,
    position: Position,
    lists: Lists,
    opened: Versioned,
    tokens: Versioned,
    rules: Option<TokenRules>,
    complete_as_of: Option<Moment>,
    /// The recent lists that were asked for last: by the base that they leave out, and the number of entries.
    encoded: Mutex<Vec<(RecentKey, Arc<Encoded>)>>,
}

/// The last row of the log that is in the contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// Number of times that everything was read anew: perhaps another log then, whose numbers cannot be compared.
    load: u64,
    /// The number of the row.
    pub seq: i64,
}

impl Reached {
    #[cfg(test)]
    pub(super) fn of(load: u64, seq: i64) -> Self {
        Self { load, seq }
    }

    /// True if both are rows of one log.
    pub(super) fn is_of(self, other: Self) -> bool {
        self.load == other.load
    }
}

/// A base, and the number of entries up to which a list goes.
type RecentKey = (Option<u64>, u64);

/// Recent lists that are kept, for the bases that proxies may have.
const KEPT: usize = 3;

/// A content with the number of its changes.
#[derive(Debug, Default)]
struct Versioned {
    version: u64,
    content: Arc<Encoded>,
}

impl Versioned {
    fn set(&mut self, content: Encoded) -> bool {
        let changed = *self.content != content || self.version == 0;
        if changed {
            self.version += 1;
            self.content = Arc::new(content);
        }
        changed
    }
}

impl Contents {
    /// The content of a resource, for a proxy that has this base.
    pub(super) fn content(&self, name: Name, base: Option<u64>) -> Option<Arc<Encoded>> {
        match name {
            Name::Recent(_) => self.recent(base),
            Name::Base(part, parts) => self.lists.part(part, parts),
            Name::Opened(_) => Some(Arc::clone(&self.opened.content)),
            Name::Tokens(_) => Some(Arc::clone(&self.tokens.content)),
        }
    }

    /// The recent list without what is in a base. It is encoded once, however many proxies there are.
    fn recent(&self, base: Option<u64>) -> Option<Arc<Encoded>> {
        let key = (base, self.lists.end());
        let mut kept = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, content)) = kept.iter().find(|(known, _)| *known == key) {
            return Some(Arc::clone(content));
        }
        let content = Arc::new(self.lists.since(base)?);
        kept.truncate(KEPT - 1);
        kept.insert(0, (key, Arc::clone(&content)));
        Some(content)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The last row of the log that is in them.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// The same, and the position of that row.
    pub(super) fn place(&self) -> (Reached, Position) {
        (self.reached, self.position)
    }

    pub(super) fn is_kept(&self, base: u64) -> bool {
        self.lists.is_kept(base)
    }

    pub(super) fn end(&self) -> u64 {
        self.lists.end()
    }

    pub(super) fn newest_base(&self) -> u64 {
        self.lists.newest()
    }

    pub(super) fn opened_version(&self) -> u64 {
        self.opened.version
    }

    pub(super) fn tokens_version(&self) -> u64 {
        self.tokens.version
    }

    /// Empty contents with this id, for tests.
    #[cfg(test)]
    pub(super) fn of(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// Says that they hold the log up to this row, for tests.
    #[cfg(test)]
    pub(super) fn reach(&mut self, load: u64, seq: i64) {
        self.reached = Reached { load, seq };
    }

    /// The lists, for tests that change them.
    #[cfg(test)]
    pub(super) fn lists(&mut self) -> &mut Lists {
        &mut self.lists
    }

    /// The moment as of which they are complete; None before the first load.
    pub fn complete_as_of(&self) -> Option<Moment> {
        self.complete_as_of
    }
}

/// The contents, and the news of their changes.
#[derive(Debug)]
pub struct Catalogue {
    auth: Arc<Auth>,
    cookie: String,
    contents: Mutex<Contents>,
    changes: watch::Sender<u64>,
}

impl Catalogue {
    /// An empty catalogue of these operations, with lists of this form; tokens may be in this cookie.
    pub fn new(auth: Arc<Auth>, cookie: String, lists: ProxyLists) -> Self {
        let (_, id) = new_v7(auth.base.clock.now()).as_u64_pair();
        let contents = Mutex::new(Contents { id, lists: Lists::new(lists), ..Contents::default() });
        Self { auth, cookie, contents, changes: watch::Sender::new(0) }
    }

    /// The contents as they are now.
    pub fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each time there is something new, or it is known to be complete as of a later moment.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows the feed until it is dropped.
    pub async fn follow(&self) {
        let mut position = None;
        let mut published = self.auth.revocations().freshness_changes();
        loop {
            published.mark_unchanged();
            if let Err(error) = self.read_on(&mut position).await {
                // Proxies refuse once what they have has expired.
                tracing::debug!(%error, "the lists for proxies are not fresh");
            }
            // The sender lives as long as the server.
            drop(timeout(PAUSE, published.changed()).await);
        }
    }

    /// Reads what is new. What was fresh before is complete afterwards.
    async fn read_on(&self, position: &mut Option<Position>) -> Result<(), Error> {
        let fresh = self.auth.revocations().state().fresh(None)?;
        let now = self.auth.base.clock.now();
        let mut load = self.contents().reached.load;
        loop {
            let news = self.auth.revocations().changes_since(*position).await;
            let mut contents = self.contents();
            match news {
                News::Nothing => break,
                News::Added(added, upto) => {
                    contents.lists.add(&added);
                    *position = Some(upto);
                }
                News::Everything(all, upto) => {
                    contents.lists.replace(&all, now);
                    load += 1;
                    *position = Some(upto);
                }
            }
        }
        // After the rows that may say that the keys have changed.
        let ring = self.auth.keys.ring().jwks()?.json;
        let policy = &self.auth.token_policy;
        let rules = TokenRules {
            issuer: policy.issuer.clone(),
            audiences: policy.audiences.clone(),
            jwks: ring,
            cookie: self.cookie.clone(),
        };
        let mut contents = self.contents();
        contents.lists.look_after(now);
        let opened = matchers::opened_before(contents.lists.opened_before());
        contents.opened.set(opened);
        if contents.rules.as_ref() != Some(&rules) {
            contents.tokens.set(matchers::tokens(&rules));
            contents.rules = Some(rules);
        }
        contents.position = position.unwrap_or_default();
        contents.reached = Reached { load, seq: contents.position.seq };
        contents.complete_as_of = Some(Moment::at(fresh.as_of_boot(), fresh.as_of()));
        drop(contents);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}
