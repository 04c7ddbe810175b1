//! The driver of a follower, as the service drives it, one step at a time: the replica may stop between any two.

use countersign::{
    domain::revocation::Position,
    revocation::protocol::{Next, Outcome, Reply},
};

use crate::{
    database::{At, Ending, Lead, Phase, Row, commit, identity, row},
    rules::{Address, Replication, Variant},
    world::{Beat, Flight, NOW, Step, Then, Verifying, World, age, ago, step},
};

type Steps = Vec<(Step, World)>;

/// What the `nth` verifying replica may do next.
pub(crate) fn steps(variant: &Variant, world: &World, nth: usize, out: &mut Steps) {
    let driver = Driver { variant, world, nth, who: ["B", "C"][nth] };
    let replica = &world.verifying[nth];
    let Some(lead) = replica.connection else {
        out.push(driver.connect());
        return;
    };
    if variant.losses {
        let mut after = world.clone();
        disconnect(&mut after.verifying[nth]);
        out.push((step(driver.who, "loses its connection").fault(), after));
    }
    match replica.flight {
        Flight::Heartbeat(beat) if !beat.is_committed => driver.commit_beat(beat, out),
        Flight::Heartbeat(beat) => out.push(driver.take_answer(beat)),
        Flight::Publish(age) => out.push(driver.publish(age)),
        Flight::Keys(told, then) => {
            world.reached(lead).iter().for_each(|at| out.push(driver.read_keys(told, then, *at)));
        }
        Flight::Nothing => driver.begin(lead, out),
    }
}

fn disconnect(replica: &mut Verifying) {
    replica.follow.disconnected();
    replica.connection = None;
    replica.flight = Flight::Nothing;
}

struct Driver<'a> {
    variant: &'a Variant,
    world: &'a World,
    nth: usize,
    who: &'static str,
}

impl Driver<'_> {
    fn replica(&self) -> &Verifying {
        &self.world.verifying[self.nth]
    }

    /// The world after a change of this replica.
    fn after(&self, change: impl FnOnce(&mut Verifying)) -> World {
        let mut world = self.world.clone();
        change(&mut world.verifying[self.nth]);
        world
    }

    fn connect(&self) -> (Step, World) {
        let at = self.world.address[1];
        let lead = if self.variant.address == Address::Pooler { Lead::Pooler } else { Lead::To(at) };
        let world = self.after(|replica| {
            replica.follow.connected(NOW);
            replica.connection = Some(lead);
        });
        (step(self.who, "connects, address").on(at), world)
    }

    fn begin(&self, lead: Lead, out: &mut Steps) {
        let next = match self.replica().follow.next(NOW) {
            Next::Connect if !self.variant.rules.a1 => Next::Heartbeat,
            next => next,
        };
        for at in self.world.reached(lead) {
            match next {
                Next::Connect => {}
                Next::Register => self.register(*at, out),
                Next::Load => self.load(*at, out),
                Next::Heartbeat => self.read_or_beat(*at, out),
            }
        }
        if next == Next::Connect {
            out.push(self.connect());
        }
    }

    fn register(&self, at: At, out: &mut Steps) {
        let slot = self.replica().slot;
        let mut follow = self.replica().follow.clone();
        let report = follow.report();
        let checked = self.variant.rules.m4;
        let ends =
            commit(self.variant, self.world, at, |db| db.report(slot, report.applied, report.count as u8, checked));
        for (ending, note, mut world) in ends {
            let identity = world.database(at).identity();
            let replica = &mut world.verifying[self.nth];
            replica.follow = follow.clone();
            match ending {
                Ending::Answered => replica.follow.registered(NOW, identity),
                Ending::Lost => disconnect(replica),
            }
            out.push((said(step(self.who, "registers").on(at), ending, note), world));
        }
    }

    /// Reads all, and puts back what is not there.
    fn load(&self, at: At, out: &mut Steps) {
        let database = self.world.database(at);
        let (log, replica) = (database.log, self.replica());
        if log.revokes() || !replica.known {
            let (identity, head) = (database.identity(), log.head());
            let reads_keys = self.variant.keys && log.revokes() && !replica.known;
            let world = self.after(|replica| match (reads_keys, self.variant.rules.keys_first) {
                (false, _) => {
                    replica.known |= log.revokes();
                    replica.follow.loaded(identity, head);
                }
                (true, true) => replica.flight = Flight::Keys(head, Then::Load(database.timeline)),
                (true, false) => {
                    replica.follow.loaded(identity, head);
                    replica.flight = Flight::Keys(head, Then::Nothing);
                }
            });
            out.push((step(self.who, "loads").on(at), world));
            return;
        }
        let id = row::PUT_BACK + 1 + self.nth as u8;
        for (ending, note, mut world) in commit(self.variant, self.world, at, |db| db.log.append(id)) {
            let (identity, head) = (world.database(at).identity(), world.database(at).log.head());
            let replica = &mut world.verifying[self.nth];
            match ending {
                Ending::Answered => replica.follow.loaded(identity, head),
                Ending::Lost => disconnect(replica),
            }
            out.push((said(step(self.who, "loads and puts back").on(at), ending, note), world));
        }
    }

    fn read_or_beat(&self, at: At, out: &mut Steps) {
        let (database, replica) = (self.world.database(at), self.replica());
        if database.list[replica.slot].is_none() {
            let world = self.after(disconnect);
            out.push((step(self.who, "heartbeat finds itself not on the list").on(at), world));
            return;
        }
        let world = self.after(|replica| {
            let report = replica.follow.report();
            let (log, timeline) = (database.log, database.timeline);
            let beat = Beat { at, sent: 0, count: report.count as u8, log, timeline, is_committed: false };
            replica.flight = Flight::Heartbeat(beat);
        });
        out.push((step(self.who, "sends a heartbeat, its snapshot is taken").on(at), world));
        let position = replica.follow.position();
        let news = position != database.log.head() || replica.follow.log() != Some(database.identity());
        if !self.variant.keys && (news || replica.follow.has_news()) {
            out.push(self.read(at));
        }
    }

    /// Between two heartbeats. Its report is no commit that is waited for.
    fn read(&self, at: At) -> (Step, World) {
        let (position, slot) = (self.replica().follow.position(), self.replica().slot);
        let database = *self.world.database(at);
        let mut world = self.world.clone();
        let is_copied = world.phase == Phase::Together && self.variant.replication == Replication::Sync;
        for (own, database) in world.databases.iter_mut().enumerate() {
            if (is_copied || own == at as usize) && database.list[slot].is_some() {
                let count = database.list[slot].expect("listed").count;
                database.report(slot, position, count, self.variant.rules.m4);
            }
        }
        let replica = &mut world.verifying[self.nth];
        let rows = database.log.from(position);
        replica.known |= database.log.revokes();
        let reply = Reply { log: database.identity(), head: database.log.head().seq, rows: &rows };
        replica.follow.read_answered(reply);
        (step(self.who, "reads and reports by a notification").on(at), world)
    }

    fn commit_beat(&self, beat: Beat, out: &mut Steps) {
        let (slot, position) = (self.replica().slot, self.replica().follow.position());
        let checked = self.variant.rules.m4;
        if !self.variant.rules.beat_commits {
            let beat = Beat { is_committed: true, ..beat };
            let world = self.after(|replica| replica.flight = Flight::Heartbeat(beat));
            out.push((step(self.who, "heartbeat is answered without a commit").on(beat.at), world));
        }
        for (ending, note, mut world) in
            commit(self.variant, self.world, beat.at, |db| db.report(slot, position, beat.count, checked))
        {
            let replica = &mut world.verifying[self.nth];
            match ending {
                Ending::Answered => replica.flight = Flight::Heartbeat(Beat { is_committed: true, ..beat }),
                Ending::Lost => disconnect(replica),
            }
            out.push((said(step(self.who, "heartbeat ends").on(beat.at), ending, note), world));
        }
    }

    /// The rows are applied, keys read where the rows say so, and the machine is told.
    fn take_answer(&self, beat: Beat) -> (Step, World) {
        let rows = beat.log.from(self.replica().follow.position());
        let told = beat.log.revokes() && !self.replica().known;
        if told && self.variant.keys && self.variant.rules.keys_first {
            let keys = Flight::Keys(beat.log.head(), Then::Answer(beat));
            return (step(self.who, "is told of changed keys"), self.after(|replica| replica.flight = keys));
        }
        let mut note = "";
        let world = self.after(|replica| {
            let outcome = self.tell(replica, beat, &rows);
            note = match outcome {
                Outcome::Gap => "a gap",
                Outcome::Applied => "makes nothing fresh",
                Outcome::Fresh(_) => "fresh",
            };
            replica.flight = after_outcome(outcome);
            if told && self.variant.keys {
                let then = match replica.flight {
                    Flight::Publish(age) => Then::Publish(age),
                    _ => Then::Nothing,
                };
                replica.flight = Flight::Keys(beat.log.head(), then);
            } else {
                replica.known |= beat.log.revokes();
            }
        });
        (step(self.who, "has its heartbeat's answer").note(note), world)
    }

    /// The machine, or what it was before a rule.
    fn tell(&self, replica: &mut Verifying, beat: Beat, rows: &[Position]) -> Outcome {
        let (sent, rules) = (ago(beat.sent), self.variant.rules);
        let (began, counted, _) = replica.follow.parts();
        if let (Some(began), false) = (began, rules.a1) {
            *began = sent;
        }
        if let (Some(counted), false) = (counted, rules.silence) {
            *counted = NOW;
        }
        replica.follow.heartbeat_answered(
            sent,
            NOW,
            Reply { log: identity(beat.timeline), head: beat.log.head().seq, rows },
        )
    }

    fn publish(&self, age: u8) -> (Step, World) {
        let world = self.after(|replica| {
            replica.published = Some(age);
            replica.flight = Flight::Nothing;
        });
        (step(self.who, "publishes"), world)
    }

    /// Reads the keys, on whichever server: they count if the row is there that says so.
    fn read_keys(&self, told: Position, then: Then, at: At) -> (Step, World) {
        let database = self.world.database(at);
        if self.variant.rules.keys_shown && !database.log.holds(told) {
            return (step(self.who, "reads keys without the row, drops it").on(at), self.after(disconnect));
        }
        let ended = database.session == Row::Ended;
        let world = self.after(|replica| {
            replica.known |= ended;
            replica.flight = match then {
                Then::Answer(beat) => {
                    let rows = beat.log.from(replica.follow.position());
                    after_outcome(self.tell(replica, beat, &rows))
                }
                Then::Load(timeline) => {
                    replica.follow.loaded(identity(timeline), told);
                    Flight::Nothing
                }
                Then::Publish(age) => Flight::Publish(age),
                Then::Nothing => Flight::Nothing,
            };
        });
        (step(self.who, "reads the keys").on(at), world)
    }
}

fn after_outcome(outcome: Outcome) -> Flight {
    match outcome {
        Outcome::Fresh(as_of) => Flight::Publish(age(as_of.boot())),
        Outcome::Applied | Outcome::Gap => Flight::Nothing,
    }
}

/// A step that ends in a commit. That one hangs is noticed sooner or later.
pub(crate) fn said(step: Step, ending: Ending, note: &'static str) -> Step {
    let step = step.note(note);
    if ending == Ending::Lost && note != "hangs" { step.fault() } else { step }
}
