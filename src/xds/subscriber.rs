//! A proxy on its stream: which resources it has, and what it is sent next. Pure: time and contents are parameters.
//!
//! - Of each name at most one push is under way; what has changed meanwhile is in the next one. Of the bases at most one in all.
//! - What is left out of the recent list is in bases that the proxy has confirmed. So a new base is sent first, and the list is
//!   shortened when that has been confirmed.
//! - A proxy that comes from another replica has bases of that one, and its recent list leaves out what is in them. So it gets
//!   everything as its recent list before any base is replaced.
//! - What the proxy has is confirmed to it again and again, as long as it has everything and this replica is fresh. Otherwise it
//!   expires there, and the proxy refuses. Its life begins at the moment as of which it was complete, and not when it was sent. So the
//!   life is the whole bound.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    catalogue::{Contents, Reached},
    names::Name,
    wire::Encoded,
};

/// Confirmations in the life of a resource.
const HEARTBEATS: u32 = 4;
/// Time after which a base that was not confirmed is taken for one that holds up the wire.
const SLOW: Duration = Duration::from_secs(1);

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
    sent: Option<Sent>,
    /// The version that the proxy refused, and until when it is not sent again.
    refused: Option<(Version, Instant)>,
    expires_at: Option<Instant>,
    /// The last row of the log up to which the proxy has everything.
    reached: Option<Reached>,
}

/// A push under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    nonce: u64,
    version: Version,
    reached: Reached,
    at: Instant,
}

/// A proxy on its stream.
#[derive(Debug)]
pub struct Subscriber {
    held: BTreeMap<Name, Held>,
    nonce: u64,
    /// The life of resources whose names say nothing of it.
    life: Duration,
    confirmed_as_of: Option<Instant>,
    /// The confirmation under way, and since when.
    confirming: Option<(u64, Instant)>,
    refusal: Option<String>,
}

impl Version {
    fn text(self, catalogue: u64) -> String {
        format!("{catalogue:x}.{}.{}", self.base, self.end)
    }

    /// Reads a version that the proxy has from before; None if another process made it, whose numbers mean nothing here.
    fn read(text: &str, catalogue: u64) -> Option<Self> {
        let (base, end) = text.strip_prefix(&format!("{catalogue:x}."))?.split_once('.')?;
        Some(Self { base: base.parse().ok()?, end: end.parse().ok()? })
    }
}

impl Subscriber {
    /// A proxy that has nothing yet, and in which resources live so long unless their names say otherwise.
    pub fn new(life: Duration) -> Self {
        Self { held: BTreeMap::new(), nonce: 0, life, confirmed_as_of: None, confirming: None, refusal: None }
    }

    /// Notes what it wants from now on, with the version that it says it has from a stream before.
    pub fn subscribe<'v>(&mut self, names: impl IntoIterator<Item = (Name, Option<&'v str>)>, contents: &Contents) {
        for (name, version) in names {
            // A proxy that asks again has lost it, unless it says that it has it.
            let acked = version.and_then(|version| Version::read(version, contents.id()));
            self.held.insert(name, Held { acked, ..Held::default() });
        }
    }

    /// Notes what it wants no more.
    pub fn unsubscribe(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            self.held.remove(&name);
        }
    }

    /// Notes what it says of a push. Gives the names that it has refused; None if there was no such push.
    pub fn hear(&mut self, ack: &Ack, now: Instant) -> Option<Vec<Name>> {
        if self.confirming.take_if(|(nonce, _)| *nonce == ack.nonce).is_some() {
            if ack.refusal.is_some() {
                // What it does not have any more is sent as a whole.
                let life = self.life;
                let expiring = self.held.iter_mut().filter(|(name, _)| name.life(life).is_some());
                expiring.for_each(|(_, held)| held.acked = None);
            }
            return Some(Vec::new());
        }
        let (mut refused, mut is_known) = (Vec::new(), false);
        for (name, held) in &mut self.held {
            let Some(sent) = held.sent.take_if(|sent| sent.nonce == ack.nonce) else { continue };
            is_known = true;
            if ack.refusal.is_none() {
                (held.acked, held.reached, held.refused) = (Some(sent.version), Some(sent.reached), None);
            } else {
                held.refused = Some((sent.version, now + self.life));
                refused.push(*name);
            }
        }
        if !refused.is_empty() {
            self.refusal.clone_from(&ack.refusal);
        } else if self.held.values().all(|held| held.refused.is_none()) {
            self.refusal = None;
        }
        is_known.then_some(refused)
    }

    /// The messages that are due now. The contents are complete as of a moment; None if this replica is not fresh.
    pub fn due(&mut self, contents: &Contents, as_of: Option<Instant>, now: Instant) -> Vec<Push> {
        let mut pushes = Vec::new();
        let names: Vec<Name> = self.held.keys().copied().collect();
        for name in names {
            let wanted = self.wanted(name, contents);
            let has_to_wait = name.is_base() && (self.bases().any(|held| held.sent.is_some()) || self.awaits_list());
            let Ok(expires_at) = self.expiry(name, as_of, now) else { continue };
            let cover = self.cover(contents);
            let Some(held) = self.held.get_mut(&name) else { continue };
            if held.acked == Some(wanted) {
                held.reached = Some(contents.reached());
                continue;
            }
            let was_refused = held.refused.is_some_and(|(version, end)| version == wanted && now < end);
            if held.sent.is_some() || was_refused || has_to_wait {
                continue;
            }
            let Some(content) = contents.content(name, cover) else { continue };
            self.nonce += 1;
            held.sent = Some(Sent { nonce: self.nonce, version: wanted, reached: contents.reached(), at: now });
            held.expires_at = expires_at;
            let (version, ttl) = (wanted.text(contents.id()), expires_at.map(|end| end - now));
            let pushed = Pushed { name, version, content: Some(content), ttl };
            pushes.push(Push { nonce: self.nonce, resources: vec![pushed] });
        }
        pushes.extend(self.confirmation(contents, as_of, now));
        pushes
    }

    /// The moment until which a resource holds at the proxy; None for ever. An error if it must not be sent now, because what the proxy
    /// has may be newer.
    fn expiry(&self, name: Name, as_of: Option<Instant>, now: Instant) -> Result<Option<Instant>, NotFresh> {
        let as_of = as_of.ok_or(NotFresh)?;
        let end = name.life(self.life).map(|life| as_of + life);
        if end.is_some_and(|end| end <= now) { Err(NotFresh) } else { Ok(end) }
    }

    /// True if it wants a recent list, and has none of this replica yet.
    fn awaits_list(&self) -> bool {
        self.held.iter().any(|(name, held)| matches!(name, Name::Recent(_)) && held.acked.is_none())
    }

    /// True if the proxy has confirmed the contents as they are.
    pub fn is_current(&self, contents: &Contents) -> bool {
        self.held.iter().all(|(name, held)| {
            // An older base will do: what it lacks is on the recent list.
            name.is_base() || held.acked == Some(self.wanted(*name, contents))
        })
    }

    /// True if it is told of sessions and users that have ended.
    pub fn has_list(&self) -> bool {
        self.held.keys().any(|name| matches!(name, Name::Recent(_)))
    }

    /// The last row of the log up to which it has confirmed everything; None for nothing.
    pub fn reached(&self) -> Option<Reached> {
        let others = self.held.iter().filter(|(name, _)| !name.is_base());
        others.map(|(_, held)| held.reached).min().flatten()
    }

    /// The moment since which it has left a push unanswered; None if there is none.
    pub fn waits_since(&self) -> Option<Instant> {
        let pushes = self.held.values().filter_map(|held| held.sent.map(|sent| sent.at));
        pushes.chain(self.confirming.map(|(_, since)| since)).min()
    }

    /// The longest time for which something that it wants holds without being confirmed.
    pub fn longest_life(&self) -> Duration {
        self.held.keys().filter_map(|name| name.life(self.life)).max().unwrap_or(self.life)
    }

    /// The reason for which it refused something that it has not taken since.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The moment until which it accepts tokens if it hears nothing more; None if it does so for ever.
    pub fn accepts_until(&self) -> Option<Instant> {
        self.held.values().filter_map(|held| held.expires_at).min()
    }

    /// A message that keeps what the proxy has from expiring.
    fn confirmation(&mut self, contents: &Contents, as_of: Option<Instant>, now: Instant) -> Option<Push> {
        let as_of = as_of?;
        let expiring: Vec<Name> = self.held.keys().copied().filter(|name| name.life(self.life).is_some()).collect();
        let shortest = expiring.iter().filter_map(|name| name.life(self.life)).min()?;
        // Behind a base that takes long it would be late, and prolong what it confirms.
        let is_held_up = self.bases().any(|held| held.sent.is_some_and(|sent| now.duration_since(sent.at) > SLOW));
        let is_due = self.confirmed_as_of.is_none_or(|before| as_of - before >= shortest / HEARTBEATS);
        if is_held_up || !is_due || as_of + shortest <= now || self.confirming.is_some() || !self.is_current(contents) {
            return None;
        }
        self.nonce += 1;
        let mut resources = Vec::new();
        let cover = self.cover(contents);
        for name in expiring {
            let end = as_of + name.life(self.life)?;
            let held = self.held.get_mut(&name)?;
            let version = held.acked?.text(contents.id());
            // What may have expired is sent as a whole: a confirmation of what is gone would be refused.
            let has_it = held.expires_at.is_some_and(|at| now < at);
            held.expires_at = Some(end);
            let content = if has_it { None } else { Some(contents.content(name, cover)?) };
            resources.push(Pushed { name, version, content, ttl: Some(end - now) });
        }
        (self.confirmed_as_of, self.confirming) = (Some(as_of), Some((self.nonce, now)));
        Some(Push { nonce: self.nonce, resources })
    }

    fn bases(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|(name, _)| name.is_base()).map(|(_, held)| held)
    }

    /// The base that the proxy has in all its parts: the recent list may leave out what is in it. None for none.
    fn cover(&self, contents: &Contents) -> Option<u64> {
        let parts = self.bases().map(|held| held.acked.map_or(0, |version| version.base));
        parts.min().filter(|base| contents.is_kept(*base))
    }

    /// The version that the proxy should have.
    fn wanted(&self, name: Name, contents: &Contents) -> Version {
        let of = |base| Version { base, end: 0 };
        match name {
            Name::Recent(_) => Version { base: self.cover(contents).unwrap_or(0), end: contents.end() },
            Name::Base(..) => of(contents.newest_base()),
            Name::Opened(_) => of(contents.opened_version()),
            Name::Tokens(_) => of(contents.tokens_version()),
        }
    }
}

/// The contents are too old for a resource that expires.
struct NotFresh;

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
    use crate::xds::names::Life;

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
        /// The proxy loses its stream, and comes back. It may find another replica, and may forget what it has.
        Reconnect { elsewhere: bool, remembers: bool },
        /// The replica hears from the database, or not for a while.
        Hear(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..20_u8).prop_map(Step::End),
            4 => (0..7_u8).prop_map(Step::Pass),
            1 => Just(Step::Rebase),
            1 => Just(Step::Replace),
            8 => prop::bool::weighted(0.9).prop_map(Step::Take),
            1 => any::<(bool, bool)>()
                .prop_map(|(elsewhere, remembers)| Step::Reconnect { elsewhere, remembers }),
            1 => any::<bool>().prop_map(Step::Hear),
        ]
    }

    /// A proxy as Envoy is one, two replicas, and what is on the way between them.
    struct World {
        /// The one that tells the proxy is the first.
        replicas: [Replica; 2],
        subscriber: Subscriber,
        names: Vec<Name>,
        now: Instant,
        /// Messages, and when each was sent.
        on_the_way: Vec<(Push, Instant)>,
        /// The content of each resource that the proxy has, its version, and when it expires.
        has: BTreeMap<Name, (Arc<Encoded>, String, Option<Instant>)>,
        /// The moment from which on each session has ended.
        ends: Vec<Instant>,
    }

    struct Replica {
        contents: Contents,
        /// The number of sessions that it knows to have ended, the moment as of which that is all, and whether it hears of more.
        known: u128,
        as_of: Instant,
        hears: bool,
    }

    impl Replica {
        fn hear(&mut self, ended: u128, now: Instant) {
            if self.hears {
                self.contents.lists().add(&(self.known..ended).map(revocation).collect::<Vec<_>>());
                (self.known, self.as_of) = (ended, now);
            }
        }
    }

    fn revocation(number: u128) -> Revocation {
        let expires_at = T0 + Duration::from_secs(1 << 32);
        Revocation { subject: Subject::Session(SessionId(Uuid::from_u128(number))), expires_at }
    }

    impl World {
        fn new(names: &[Name]) -> Self {
            let now = Instant::now();
            let replicas = [1, 2].map(|id| {
                let mut contents = Contents::of(id);
                contents.lists().replace(&[], T0);
                Replica { contents, known: 0, as_of: now, hears: true }
            });
            let mut subscriber = Subscriber::new(TTL);
            subscriber.subscribe(names.iter().map(|name| (*name, None)), &replicas[0].contents);
            let (names, on_the_way, has, ends) = (names.to_vec(), Vec::new(), BTreeMap::new(), Vec::new());
            Self { replicas, subscriber, names, now, on_the_way, has, ends }
        }

        fn go(&mut self, step: &Step) {
            let [first, _] = &mut self.replicas;
            match step {
                Step::End(count) => self.ends.extend(std::iter::repeat_n(self.now, usize::from(*count))),
                Step::Pass(seconds) => self.now += Duration::from_secs(u64::from(*seconds)),
                Step::Rebase => drop(first.contents.lists().look_after(T0 + Duration::from_secs(1 << 31))),
                Step::Replace => {
                    let all: Vec<_> = (0..first.known).map(revocation).collect();
                    first.contents.lists().replace(&all, T0);
                }
                Step::Take(takes) if !self.on_the_way.is_empty() => self.take(*takes),
                Step::Take(_) => {}
                Step::Reconnect { elsewhere, remembers } => self.reconnect(*elsewhere, *remembers),
                Step::Hear(hears) => first.hears = *hears,
            }
            let ended = self.ends.len() as u128;
            self.replicas.iter_mut().for_each(|replica| replica.hear(ended, self.now));
            let [Replica { contents, as_of, .. }, _] = &self.replicas;
            let due = self.subscriber.due(contents, Some(*as_of), self.now);
            self.on_the_way.extend(due.into_iter().map(|push| (push, self.now)));
        }

        fn reconnect(&mut self, elsewhere: bool, remembers: bool) {
            self.on_the_way.clear();
            if elsewhere {
                self.replicas.reverse();
            }
            self.expire();
            self.subscriber = Subscriber::new(TTL);
            let version = |name: &Name| self.has.get(name).map(|(_, version, _)| version.as_str());
            let names = self.names.iter().map(|name| (*name, version(name).filter(|_| remembers)));
            self.subscriber.subscribe(names, &self.replicas[0].contents);
        }

        fn expire(&mut self) {
            self.has.retain(|_, (_, _, end)| end.is_none_or(|end| self.now < end));
        }

        /// Takes a message as Envoy does: what has expired cannot be confirmed, and is refused. The time on the way counts as none:
        /// keepalives bound it.
        fn take(&mut self, takes: bool) {
            let (push, sent_at) = self.on_the_way.remove(0);
            self.expire();
            let lacks = push.resources.iter().any(|it| it.content.is_none() && !self.has.contains_key(&it.name));
            if !takes || lacks {
                let refusal = Some("no".to_owned());
                self.subscriber.hear(&Ack { nonce: push.nonce, refusal }, self.now);
                return;
            }
            for Pushed { name, version, content, ttl } in push.resources {
                let end = ttl.map(|ttl| sent_at + ttl);
                match (content, self.has.get_mut(&name)) {
                    (Some(content), _) => drop(self.has.insert(name, (content, version, end))),
                    (None, Some(held)) => held.2 = end,
                    (None, None) => {}
                }
            }
            self.subscriber.hear(&Ack { nonce: push.nonce, refusal: None }, self.now);
        }

        /// True if the proxy lets tokens pass: it has all that it wants, and none of it has expired.
        fn is_open(&mut self) -> bool {
            self.expire();
            self.names.iter().all(|name| self.has.contains_key(name))
        }

        fn refuses(&self, number: u128) -> bool {
            let text = Uuid::from_u128(number).to_string();
            let lists = self.has.iter().filter(|(name, _)| matches!(name, Name::Recent(_) | Name::Base(..)));
            lists.into_iter().any(|(_, (content, ..))| content.windows(text.len()).any(|at| at == text.as_bytes()))
        }
    }

    const RECENT: Name = Name::Recent(Life::AsSet);
    const OPENED: Name = Name::Opened(Life::AsSet);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// An open proxy refuses what had ended for the life of a resource, whatever is lost, late, refused or made anew. It does so
        /// whichever replica tells it. What was refused once is refused for ever, unless it hears a replica that has not heard of it yet.
        #[test]
        fn p1_an_open_proxy_refuses_what_ended_a_life_ago(
            steps in prop::collection::vec(step(), 1..80),
            parts in 0..3_u16,
        ) {
            let bases = (0..parts).map(|part| Name::Base(part, parts));
            let names: Vec<Name> = bases.chain([RECENT]).collect();
            let mut world = World::new(&names);
            let mut refused = std::collections::BTreeSet::new();
            for step in &steps {
                world.go(step);
                refused.retain(|number| *number < world.replicas[0].known);
                if !world.is_open() {
                    continue;
                }
                for (number, ended_at) in (0..).zip(world.ends.clone()) {
                    let refuses = world.refuses(number);
                    prop_assert!(refuses || !refused.contains(&number), "{number} is let in again after {step:?}");
                    prop_assert!(refuses || world.now - ended_at < TTL, "{number} is let in after {step:?}");
                    if refuses {
                        refused.insert(number);
                    }
                }
            }
        }

        /// And if the proxy takes what it is sent, it is told of everything.
        #[test]
        fn a_proxy_that_takes_everything_is_told_of_everything(steps in prop::collection::vec(step(), 1..60)) {
            let mut world = World::new(&[Name::Base(0, 2), Name::Base(1, 2), RECENT, OPENED]);
            for step in &steps {
                world.go(step);
            }
            world.go(&Step::Hear(true));
            world.go(&Step::End(1));
            for _ in 0..40 {
                world.go(&Step::Take(true));
                world.go(&Step::Pass(1));
            }
            prop_assert!(world.is_open());
            prop_assert!((0..world.ends.len() as u128).all(|number| world.refuses(number)));
            prop_assert!(world.subscriber.reached().is_some());
        }
    }

    /// Goes on until the proxy is open.
    fn open(names: &[Name]) -> World {
        let mut world = World::new(names);
        while !world.is_open() || !world.on_the_way.is_empty() {
            world.go(&Step::Take(true));
        }
        world
    }

    #[test]
    fn nothing_is_confirmed_to_a_proxy_by_a_replica_that_is_not_fresh() {
        let mut world = open(&[RECENT]);
        let confirms = |world: &mut World, fresh: bool| {
            world.now += TTL / HEARTBEATS;
            let due = world.subscriber.due(&world.replicas[0].contents, fresh.then_some(world.now), world.now);
            due.iter().any(|push| push.resources.iter().any(|it| it.content.is_none()))
        };
        assert!(!confirms(&mut world, false) && confirms(&mut world, true));
    }

    #[test]
    fn a_replica_that_is_not_fresh_tells_a_new_proxy_nothing() {
        for names in [[RECENT, OPENED], [Name::Recent(Life::Unlimited), Name::Base(0, 1)]] {
            let mut world = World::new(&names);
            assert!(world.subscriber.due(&world.replicas[0].contents, None, world.now).is_empty());
        }
        let mut world = World::new(&[RECENT]);
        world.now += TTL;
        assert!(world.subscriber.due(&world.replicas[0].contents, Some(world.replicas[0].as_of), world.now).is_empty());
    }

    #[test]
    fn a_life_in_the_name_counts_before_that_of_the_server() {
        let short = Name::Recent(Life::Seconds(4));
        let mut world = open(&[short, OPENED]);
        let lives =
            |world: &World| world.has.values().map(|(.., end)| end.map(|end| end - world.now)).collect::<Vec<_>>();
        assert_eq!(lives(&world), [Some(Duration::from_secs(4)), Some(TTL)]);
        // It is confirmed as often as the shorter one needs.
        for _ in 0..10 {
            world.go(&Step::Pass(1));
            world.go(&Step::Take(true));
            assert!(world.is_open());
        }
        let mut world = open(&[Name::Recent(Life::Unlimited)]);
        assert_eq!(lives(&world), [None]);
        world.go(&Step::Pass(200));
        assert!(world.on_the_way.is_empty());
    }

    #[test]
    fn a_proxy_that_comes_back_to_its_replica_is_sent_what_it_lacks() {
        let names = [Name::Base(0, 1), RECENT];
        let mut world = open(&names);
        world.go(&Step::Reconnect { elsewhere: false, remembers: true });
        let sent = |world: &World| {
            let resources = world.on_the_way.iter().flat_map(|(push, _)| &push.resources);
            resources.filter(|it| it.content.is_some()).map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(sent(&world), [RECENT], "confirmed as a whole");
        world.go(&Step::Reconnect { elsewhere: true, remembers: true });
        assert_eq!(sent(&world), [RECENT]);
        world.go(&Step::Take(true));
        assert_eq!(sent(&world), [Name::Base(0, 1)], "after the list that has everything");
    }

    #[test]
    fn a_proxy_has_reached_what_it_has_confirmed_of_this_log() {
        let mut world = open(&[Name::Base(0, 1), RECENT, OPENED]);
        let place = |load, seq| Some(Reached::of(load, seq));
        let reached = |world: &World| world.subscriber.reached();
        assert_eq!(reached(&world), place(0, 0));
        world.replicas[0].contents.reach(0, 7);
        world.go(&Step::End(1));
        // The filter of the opening has not changed, so all of it is known; the list is on its way.
        assert_eq!(reached(&world), place(0, 0));
        world.replicas[0].contents.reach(0, 9);
        world.go(&Step::End(1));
        world.go(&Step::Take(true));
        assert_eq!(reached(&world), place(0, 7), "and a newer one is on its way");
        world.go(&Step::Take(true));
        world.go(&Step::Pass(0));
        assert_eq!(reached(&world), place(0, 9));
        world.replicas[0].contents.reach(1, 3);
        assert!(!Reached::of(0, 9).is_of(world.replicas[0].contents.reached()), "of a log before");
        world.go(&Step::Pass(0));
        assert_eq!(reached(&world), place(1, 3));
    }
}
