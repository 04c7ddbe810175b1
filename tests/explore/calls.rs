//! Revoke, and calls that are denied, at the replica that revokes.

use countersign::revocation::protocol::CommitPosition;

use crate::{
    database::{At, Database, Ending, Lead, Row, commit, row},
    revoking::{ask, confirm, lead, take},
    rules::{self, Proof, Variant},
    verifying::said,
    world::{Call, Step, World, step},
};

type Steps = Vec<(Step, World)>;

/// What the calls may do next.
pub(crate) fn steps(variant: &Variant, world: &World, out: &mut Steps) {
    for nth in 0..world.calls.len() {
        let calls = Calls { variant, world, nth, who: ["R", "R2"][nth] };
        match world.calls[nth] {
            Call::Idle(_) => calls.begin(out),
            Call::Committed(lead) => {
                world.reached(lead).iter().for_each(|at| out.push(calls.read(lead, *at)));
            }
            Call::Read { .. } => calls.commit(out),
            Call::First { lead, .. } => {
                world.reached(lead).iter().for_each(|at| out.push(calls.first_reading(*at)));
            }
            Call::Waiting { .. } | Call::Denied { .. } | Call::Over => {}
        }
    }
}

struct Calls<'a> {
    variant: &'a Variant,
    world: &'a World,
    nth: usize,
    who: &'static str,
}

impl Calls<'_> {
    fn kind(&self) -> rules::Call {
        self.variant.calls[self.nth]
    }

    fn after(&self, call: Call) -> World {
        let mut world = self.world.clone();
        world.calls[self.nth] = call;
        world
    }

    /// On a connection that was kept, or on a new one.
    fn begin(&self, out: &mut Steps) {
        if !self.world.opened {
            return;
        }
        let new = lead(self.variant, self.world);
        let kept = self.world.a.pool.filter(|kept| *kept != new);
        for lead in kept.into_iter().chain([new]) {
            for at in self.world.reached(lead) {
                self.begin_on(lead, *at, out);
            }
        }
    }

    fn begin_on(&self, lead: Lead, at: At, out: &mut Steps) {
        if self.variant.rules.m1 != Proof::CommitThenRead {
            let (step, world) = self.read(lead, at);
            // What writes holds a lock from the snapshot to the commit.
            let is_writing = matches!(world.calls[self.nth], Call::Read { found, .. } if self.writes(found));
            match is_writing {
                true => Calls { world: &world, ..*self }.commit(out),
                false => out.push((step, world)),
            }
            return;
        }
        for (ending, note, mut world) in commit(self.variant, self.world, at, |_| {}) {
            world.calls[self.nth] = if ending == Ending::Answered { Call::Committed(lead) } else { Call::Over };
            out.push((said(step(self.who, "commits first").on(at), ending, note), world));
        }
    }

    /// The snapshot. What need not commit ends here.
    fn read(&self, lead: Lead, at: At) -> (Step, World) {
        let database = self.world.database(at);
        let was_live = self.world.database(self.world.primary()).session == Row::Live;
        let (found, newest) = (database.session, database.log.head());
        let read = Call::Read { lead, at, found, newest, was_live };
        let finds = match found {
            Row::Live => "finds a session that lives",
            Row::Absent => "finds no session",
            Row::Ended => "finds that it has ended",
        };
        let world = if self.writes(found) || self.variant.rules.m1 == Proof::ReadThenCommit {
            self.after(read)
        } else {
            let mut world = self.world.clone();
            self.answer(&mut world, read);
            world
        };
        (step(self.who, finds).on(at), world)
    }

    /// Whether it appends to the log.
    fn writes(&self, found: Row) -> bool {
        self.kind() == rules::Call::Revoke && (found == Row::Live || found == Row::Absent && self.variant.rules.m2)
    }

    fn commit(&self, out: &mut Steps) {
        let read = self.world.calls[self.nth];
        let Call::Read { at, found, .. } = read else {
            return;
        };
        let id = row::CALL + self.nth as u8 + 2 * self.world.restarts.1;
        let change = |database: &mut Database| {
            if self.writes(found) {
                database.log.append(id);
                database.session = if database.session == Row::Absent { Row::Absent } else { Row::Ended };
            }
        };
        for (ending, note, mut world) in commit(self.variant, self.world, at, change) {
            match ending {
                Ending::Answered => self.answer(&mut world, read),
                Ending::Lost => world.calls[self.nth] = Call::Over,
            }
            let what = match (self.writes(found), found) {
                (true, Row::Absent) => "logs what is not there",
                (true, _) => "ends the session",
                (false, _) => "commits what it has read",
            };
            out.push((said(step(self.who, what).on(at), ending, note), world));
        }
    }

    /// Applied where it was asked for, before anything is said.
    fn answer(&self, world: &mut World, read: Call) {
        let Call::Read { lead, at, found, newest, was_live } = read else {
            return;
        };
        if self.kind() == rules::Call::Refresh {
            world.calls[self.nth] = if found == Row::Live { Call::Over } else { Call::Denied { was_live } };
            return;
        }
        world.a.known = true;
        let database = *world.database(at);
        let row = if self.writes(found) { database.log.head() } else { newest };
        let commit = CommitPosition { row, reading: u64::from(world.readings()) };
        world.calls[self.nth] = Call::First { lead, commit, since: 0 };
    }

    /// In one step: the observer's readings are made in two.
    fn first_reading(&self, at: At) -> (Step, World) {
        let mut world = self.world.clone();
        if let Call::First { commit, since, .. } = self.world.calls[self.nth] {
            let (mut call, question) = (Call::Waiting { commit, since, is_confirmed: false }, ask(self.world, at));
            let observed = take(self.variant, &mut world.a, question, self.variant.rules.first_observed);
            let database = *world.database(at);
            if !world.a.standing.is_followed(Some(database.identity())) || !database.log.holds(commit.row) {
                world.a.follow.distrust();
            }
            confirm(self.variant, &mut call, &observed, &question);
            world.calls[self.nth] = call;
        }
        (step(self.who, "reads the list").on(at), world)
    }
}

/// A call that was under way when its process ended has promised nothing, unless it was answered.
pub(crate) fn crash(variant: &Variant, world: &World) -> Vec<World> {
    let mut worlds = vec![World { a: crate::start::revoking(variant), ..world.clone() }];
    for nth in 0..world.calls.len() {
        let again = |mut world: World| {
            world.calls[nth] = Call::Idle(1);
            world
        };
        worlds = match world.calls[nth] {
            Call::Idle(_) | Call::Denied { .. } | Call::Over => worlds,
            Call::Waiting { is_confirmed: true, .. } => worlds,
            Call::Waiting { .. } => worlds.iter().cloned().chain(worlds.iter().cloned().map(again)).collect(),
            Call::Committed(_) | Call::Read { .. } | Call::First { .. } => worlds.into_iter().map(again).collect(),
        };
    }
    worlds
}
