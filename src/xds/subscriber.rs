//! A proxy on its stream: which resources it has, and what it is sent next. Pure: time and contents are parameters.
//!
//! - Of each name at most one push is under way; what has changed meanwhile is in the next one. Of the bases at most one in all.
//! - What is left out of the recent list is in bases that the proxy has confirmed. So a new base is sent first, and the list is
//!   shortened when that has been confirmed.
//! - What the proxy has is confirmed to it again and again, as long as it has everything and this replica is fresh. Otherwise it
//!   expires there, and the proxy refuses.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{catalogue::Contents, names::Name, wire::Encoded};

/// Confirmations in the time after which a resource expires.
const HEARTBEATS: u32 = 3;

/// A version of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The base, or the number of a change.
    base: u64,
    /// The number of entries.
    end: u64,
}

/// A resource that is sent.
#[derive(Debug)]
pub struct Pushed {
    /// The name.
    pub name: Name,
    /// The version.
    pub version: String,
    /// The content (`google.protobuf.Any`); None confirms what the proxy has.
    pub content: Option<Arc<Encoded>>,
    /// Time after which it expires there; None for never.
    pub ttl: Option<Duration>,
}

/// A message to the proxy.
#[derive(Debug)]
pub struct Push {
    /// The number by which the proxy confirms it.
    pub nonce: u64,
    /// The resources.
    pub resources: Vec<Pushed>,
}

/// The proxy's word on a push.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The number of the push.
    pub nonce: u64,
    /// The reason for which the proxy keeps what it had before; None if it took it.
    pub refusal: Option<String>,
}

/// The state of a resource at the proxy.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    acked: Option<Version>,
    /// The push under way, and its version.
    sent: Option<(u64, Version)>,
    /// The version that the proxy refused, and until when it is not sent again.
    refused: Option<(Version, Instant)>,
    expires_at: Option<Instant>,
}

/// A proxy on its stream.
#[derive(Debug)]
pub struct Subscriber {
    held: BTreeMap<Name, Held>,
    nonce: u64,
    ttl: Duration,
    confirmed_at: Option<Instant>,
    confirming: Option<u64>,
}

impl Subscriber {
    /// A proxy that has nothing yet, and in which resources expire after this time.
    pub fn new(ttl: Duration) -> Self {
        Self { held: BTreeMap::new(), nonce: 0, ttl, confirmed_at: None, confirming: None }
    }

    /// Notes what it wants from now on, and what not any more.
    pub fn subscribe(&mut self, more: impl IntoIterator<Item = Name>, less: impl IntoIterator<Item = Name>) {
        for name in more {
            // Who asks again has lost it.
            self.held.insert(name, Held::default());
        }
        for name in less {
            self.held.remove(&name);
        }
    }

    /// Notes what it says of a push. Gives the names that it has refused.
    pub fn hear(&mut self, ack: &Ack, now: Instant) -> Vec<Name> {
        if self.confirming == Some(ack.nonce) {
            self.confirming = None;
            if ack.refusal.is_some() {
                // What it does not have any more is sent as a whole.
                self.held.iter_mut().filter(|(name, _)| name.expires()).for_each(|(_, held)| held.acked = None);
            }
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (name, held) in &mut self.held {
            if let Some((nonce, version)) = held.sent
                && nonce == ack.nonce
            {
                held.sent = None;
                if ack.refusal.is_none() {
                    held.acked = Some(version);
                } else {
                    held.refused = Some((version, now + self.ttl));
                    refused.push(*name);
                }
            }
        }
        refused
    }

    /// The messages that are due now. `fresh` says that the contents are complete as of less than the time after which they expire.
    pub fn due(&mut self, contents: &Contents, fresh: bool, now: Instant) -> Vec<Push> {
        let mut pushes = Vec::new();
        let names: Vec<Name> = self.held.keys().copied().collect();
        for name in names {
            let Some(wanted) = self.wanted(name, contents) else { continue };
            let was_refused = |held: &Held| held.refused.is_some_and(|(version, end)| version == wanted && now < end);
            let is_current = |held: &Held| held.acked == Some(wanted) || was_refused(held);
            if self.held.get(&name).is_none_or(|held| held.sent.is_some() || is_current(held)) {
                continue;
            }
            if matches!(name, Name::Base(..)) && self.bases().any(|held| held.sent.is_some()) {
                continue;
            }
            let Some(content) = contents.content(name, self.cover(contents)) else { continue };
            self.nonce += 1;
            let expires_at = name.expires().then(|| now + self.ttl);
            if let Some(held) = self.held.get_mut(&name) {
                held.sent = Some((self.nonce, wanted));
                held.expires_at = expires_at;
            }
            pushes.push(Push { nonce: self.nonce, resources: vec![self.pushed(name, wanted, Some(content))] });
        }
        pushes.extend(self.confirmation(contents, fresh, now));
        pushes
    }

    /// True if the proxy has confirmed the contents as they are.
    pub fn is_current(&self, contents: &Contents) -> bool {
        self.held.iter().all(|(name, held)| {
            // An older base will do: what it lacks is on the recent list.
            matches!(name, Name::Base(..)) || held.acked.is_some() && held.acked == self.wanted(*name, contents)
        })
    }

    /// A message that keeps what the proxy has from expiring.
    fn confirmation(&mut self, contents: &Contents, fresh: bool, now: Instant) -> Option<Push> {
        let is_due = self.confirmed_at.is_none_or(|at| now.duration_since(at) >= self.ttl / HEARTBEATS);
        let expiring: Vec<Name> = self.held.keys().copied().filter(|name| name.expires()).collect();
        if !fresh || !is_due || expiring.is_empty() || self.confirming.is_some() || !self.is_current(contents) {
            return None;
        }
        self.nonce += 1;
        let mut resources = Vec::new();
        for name in expiring {
            let held = self.held.get_mut(&name)?;
            let version = held.acked?;
            // What may have expired is sent as a whole: a confirmation of what is gone would be refused.
            let has_it = held.expires_at.is_some_and(|at| now < at);
            held.expires_at = Some(now + self.ttl);
            let content = if has_it { None } else { Some(contents.content(name, self.cover(contents))?) };
            resources.push(self.pushed(name, version, content));
        }
        (self.confirmed_at, self.confirming) = (Some(now), Some(self.nonce));
        Some(Push { nonce: self.nonce, resources })
    }

    fn pushed(&self, name: Name, version: Version, content: Option<Arc<Encoded>>) -> Pushed {
        let version = format!("{}.{}", version.base, version.end);
        Pushed { name, version, content, ttl: name.expires().then_some(self.ttl) }
    }

    fn bases(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|(name, _)| matches!(name, Name::Base(..))).map(|(_, held)| held)
    }

    /// The base that the proxy has in all its parts: the recent list may leave out what is in it. None if it wants none.
    fn cover(&self, contents: &Contents) -> Option<u64> {
        let parts = self.bases().map(|held| held.acked.map_or(0, |version| version.base));
        parts.min().filter(|base| contents.is_kept(*base))
    }

    /// The version that the proxy should have; None if it has to wait for something else first.
    fn wanted(&self, name: Name, contents: &Contents) -> Option<Version> {
        match name {
            Name::Recent => {
                let cover = self.cover(contents);
                let has_bases = self.bases().next().is_some();
                (cover.is_some() || !has_bases).then(|| Version { base: cover.unwrap_or(0), end: contents.end() })
            }
            Name::Base(..) => Some(Version { base: contents.newest_base(), end: 0 }),
            Name::Opened => Some(Version { base: contents.opened_version(), end: 0 }),
            Name::Tokens => Some(Version { base: contents.tokens_version(), end: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::{
        ids::SessionId,
        revocation::{Revocation, Subject},
    };
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);
    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// An event.
    #[derive(Clone, Debug)]
    enum Step {
        /// Sessions end.
        End(u8),
        /// Time passes, in seconds.
        Pass(u8),
        /// A new base is made.
        Rebase,
        /// All is read anew.
        Replace,
        /// The proxy takes the oldest message that is on its way, or refuses it.
        Take(bool),
        /// The proxy loses its stream, and comes back.
        Reconnect,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..20_u8).prop_map(Step::End),
            4 => (0..7_u8).prop_map(Step::Pass),
            1 => Just(Step::Rebase),
            1 => Just(Step::Replace),
            8 => prop::bool::weighted(0.9).prop_map(Step::Take),
            1 => Just(Step::Reconnect),
        ]
    }

    /// A proxy as Envoy is one, the lists, and what is on the way between them.
    struct World {
        contents: Contents,
        subscriber: Subscriber,
        names: Vec<Name>,
        now: Instant,
        ended: u128,
        on_the_way: Vec<(Push, u128)>,
        /// The content of each resource that the proxy has, and when it expires.
        has: BTreeMap<Name, (Arc<Encoded>, Option<Instant>)>,
        /// The sessions that had ended when the newest message that the proxy took was sent, and confirmed all.
        told: u128,
    }

    fn revocation(number: u128) -> Revocation {
        let expires_at = T0 + Duration::from_secs(1 << 32);
        Revocation { subject: Subject::Session(SessionId(Uuid::from_u128(number))), expires_at }
    }

    impl World {
        fn new(names: &[Name]) -> Self {
            let mut contents = Contents::default();
            contents.lists().replace(&[], T0);
            let mut subscriber = Subscriber::new(TTL);
            subscriber.subscribe(names.iter().copied(), []);
            let (on_the_way, has) = (Vec::new(), BTreeMap::new());
            Self {
                contents,
                subscriber,
                names: names.to_vec(),
                now: Instant::now(),
                ended: 0,
                on_the_way,
                has,
                told: 0,
            }
        }

        fn go(&mut self, step: &Step) {
            match step {
                Step::End(count) => {
                    let more = (self.ended..self.ended + u128::from(*count)).map(revocation).collect::<Vec<_>>();
                    self.ended += u128::from(*count);
                    self.contents.lists().add(&more);
                }
                Step::Pass(seconds) => self.now += Duration::from_secs(u64::from(*seconds)),
                Step::Rebase => drop(self.contents.lists().look_after(T0 + Duration::from_secs(1 << 31))),
                Step::Replace => {
                    let all: Vec<_> = (0..self.ended).map(revocation).collect();
                    self.contents.lists().replace(&all, T0);
                }
                Step::Take(takes) if !self.on_the_way.is_empty() => self.take(*takes),
                Step::Take(_) => {}
                Step::Reconnect => {
                    self.on_the_way.clear();
                    self.subscriber = Subscriber::new(TTL);
                    self.subscriber.subscribe(self.names.iter().copied(), []);
                }
            }
            let due = self.subscriber.due(&self.contents, true, self.now);
            self.on_the_way.extend(due.into_iter().map(|push| (push, self.ended)));
        }

        /// Takes a message as Envoy does: what has expired cannot be confirmed, and is refused.
        fn take(&mut self, takes: bool) {
            let (push, ended) = self.on_the_way.remove(0);
            self.has.retain(|_, (_, end)| end.is_none_or(|end| self.now < end));
            let lacks = push.resources.iter().any(|it| it.content.is_none() && !self.has.contains_key(&it.name));
            if !takes || lacks {
                let refusal = Some("no".to_owned());
                self.subscriber.hear(&Ack { nonce: push.nonce, refusal }, self.now);
                return;
            }
            for Pushed { name, content, ttl, .. } in push.resources {
                let end = ttl.map(|ttl| self.now + ttl);
                match (content, self.has.get_mut(&name)) {
                    (Some(content), _) => drop(self.has.insert(name, (content, end))),
                    (None, Some(held)) => held.1 = end,
                    (None, None) => {}
                }
                if name == Name::Recent {
                    self.told = self.told.max(ended);
                }
            }
            self.subscriber.hear(&Ack { nonce: push.nonce, refusal: None }, self.now);
        }

        /// True if the proxy lets tokens pass: it has all that it wants, and none of it has expired.
        fn is_open(&self) -> bool {
            self.names
                .iter()
                .all(|name| self.has.get(name).is_some_and(|(_, end)| end.is_none_or(|end| self.now < end)))
        }

        fn refuses(&self, number: u128) -> bool {
            let text = Uuid::from_u128(number).to_string();
            let lists = self.has.iter().filter(|(name, _)| matches!(name, Name::Recent | Name::Base(..)));
            lists.into_iter().any(|(_, (content, _))| content.windows(text.len()).any(|at| at == text.as_bytes()))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// An open proxy refuses all that had ended when it was last told, whatever was refused, lost, late or made anew.
        #[test]
        fn p1_an_open_proxy_refuses_all_that_it_was_told_of(
            steps in prop::collection::vec(step(), 1..80),
            parts in 0..3_u16,
        ) {
            let bases = (0..parts).map(|part| Name::Base(part, parts));
            let names: Vec<Name> = bases.chain([Name::Recent]).collect();
            let mut world = World::new(&names);
            for step in &steps {
                world.go(step);
                if world.is_open() {
                    for number in 0..world.told {
                        prop_assert!(world.refuses(number), "{} of {} after {:?}", number, world.told, step);
                    }
                }
            }
        }

        /// And if the proxy takes what it is sent, it is told of everything.
        #[test]
        fn a_proxy_that_takes_everything_is_told_of_everything(steps in prop::collection::vec(step(), 1..60)) {
            let mut world = World::new(&[Name::Base(0, 2), Name::Base(1, 2), Name::Recent, Name::Opened]);
            for step in &steps {
                world.go(step);
            }
            world.go(&Step::End(1));
            for _ in 0..40 {
                world.go(&Step::Take(true));
                world.go(&Step::Pass(1));
            }
            prop_assert!(world.is_open());
            prop_assert_eq!(world.told, world.ended);
        }
    }

    #[test]
    fn nothing_is_confirmed_to_a_proxy_by_a_replica_that_is_not_fresh() {
        let mut world = World::new(&[Name::Recent]);
        for _ in 0..3 {
            world.go(&Step::Pass(0));
            world.go(&Step::Take(true));
        }
        let confirms = |world: &mut World, fresh| {
            world.now += TTL / HEARTBEATS;
            let due = world.subscriber.due(&world.contents, fresh, world.now);
            due.iter().any(|push| push.resources.iter().any(|it| it.content.is_none()))
        };
        assert!(!confirms(&mut world, false) && confirms(&mut world, true));
    }
}
