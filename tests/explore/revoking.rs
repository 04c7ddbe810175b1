//! The replica that revokes, apart from its calls: its follower, which tells it of logs and puts rows back, and its observer,
//! which reads the list of replicas.

use countersign::revocation::protocol::{self, Listed, Next, Observed, Origin, Reading, Reply};
use uuid::Uuid;

use crate::{
    database::{At, Ending, Lead, commit, identity, row},
    rules::{Address, Beside, Shown, Variant},
    verifying::said,
    world::{Call, NOW, Question, Revoking, Step, World, ago, process, seconds, step},
};

type Steps = Vec<(Step, World)>;

/// A on the list, if it were shown there.
const OWN: Uuid = Uuid::from_u128(99);

/// What its follower and its observer may do next.
pub(crate) fn steps(variant: &Variant, world: &World, out: &mut Steps) {
    if variant.beside == Beside::Nothing {
        return;
    }
    let (connection, new) = (world.a.connection, lead(variant, world));
    if connection != Some(new) {
        let mut after = world.clone();
        after.a.follow.connected(NOW);
        after.a.connection = Some(new);
        world.reached(new).iter().for_each(|at| follow(variant, &after, *at, "follower connects, registers", out));
    }
    for at in connection.map_or(&[][..], |lead| world.reached(lead)) {
        follow(variant, world, *at, "follower", out);
    }
    if variant.beside == Beside::Everything {
        observe(variant, world, out);
    }
}

/// Where its address leads.
pub(crate) fn lead(variant: &Variant, world: &World) -> Lead {
    if variant.address == Address::Pooler { Lead::Pooler } else { Lead::To(world.address[0]) }
}

/// Its statements up to a load, or a heartbeat, from the sending to the answer.
fn follow(variant: &Variant, world: &World, at: At, what: &'static str, out: &mut Steps) {
    let database = *world.database(at);
    let mut machine = world.a.follow.clone();
    if machine.next(NOW) == Next::Register {
        machine.registered(NOW, database.identity());
    }
    let loads = machine.next(NOW) == Next::Load;
    let id = if loads && world.a.known && !database.log.revokes() { row::PUT_BACK } else { 0 };
    for (ending, note, mut after) in commit(variant, world, at, |db| restore_lost(db, id)) {
        if ending == Ending::Lost && id == 0 && after.phase == world.phase {
            continue;
        }
        match ending {
            Ending::Lost => {
                after.a.follow.disconnected();
                after.a.connection = None;
            }
            Ending::Answered if loads => {
                after.a.known |= database.log.revokes();
                let head = after.database(at).log.head();
                after.a.follow = machine.clone();
                after.a.follow.loaded(database.identity(), head);
            }
            Ending::Answered => {
                after.a.follow = machine.clone();
                hear(variant, &mut after, at);
            }
        }
        let what = step("A", what).on(at).note(if loads { "loads" } else { "beats" });
        out.push((if ending == Ending::Lost { said(what, ending, note) } else { what }, after));
    }
}

fn restore_lost(database: &mut crate::database::Database, id: u8) {
    if id != 0 {
        database.log.append(id);
    }
}

/// The answer of a heartbeat: rows for the index, the log for the standing. Another log retires all older connections.
fn hear(variant: &Variant, world: &mut World, at: At) {
    let database = *world.database(at);
    let a = &mut world.a;
    let position = a.follow.position();
    let rows = database.log.from(position);
    a.known |= database.log.revokes();
    a.follow.report();
    let reply = Reply { log: database.identity(), head: database.log.head().seq, rows: &rows };
    a.follow.heartbeat_answered(NOW, NOW, reply);
    let is_settled = !variant.rules.a3 || database.settled == database.timeline;
    if a.standing.heard(Origin { log: database.identity(), settled: is_settled }, NOW.boot()) {
        (a.pool, a.observing) = (None, None);
    }
    if let Some(log) = a.standing.settle(seconds(variant.bound), NOW.boot()) {
        world.database_mut(at).settled = log.0.as_u128() as u8;
    }
}

fn observe(variant: &Variant, world: &World, out: &mut Steps) {
    let a = &world.a;
    let mut put = |what: Step, change: &dyn Fn(&mut World)| {
        let mut after = world.clone();
        change(&mut after);
        out.push((what, after));
    };
    if let Some(question) = a.question {
        put(step("A", "observer has its answer").on(question.at), &|world| {
            world.a.question = None;
            let observed = take(variant, &mut world.a, question, true);
            for call in &mut world.calls {
                confirm(variant, call, &observed, &question);
            }
        });
        return;
    }
    let new = lead(variant, world);
    let kept = a.observing.filter(|kept| *kept != new);
    for lead in kept.into_iter().chain([new]) {
        if kept.is_some() && lead == new && !variant.losses {
            continue;
        }
        for at in world.reached(lead) {
            put(step("A", "observer asks").on(*at), &|world| {
                world.a.observing = Some(lead);
                world.a.question = Some(ask(world, *at));
            });
        }
    }
}

/// A reading of the list, whose answer is on its way.
pub(crate) fn ask(world: &World, at: At) -> Question {
    let database = world.database(at);
    let (list, log, timeline) = (database.list, database.log, database.timeline);
    Question { at, asked: 0, number: world.readings(), list, log, timeline }
}

/// The answer of a reading, as the machines see it.
pub(crate) fn take(variant: &Variant, a: &mut Revoking, question: Question, observes: bool) -> Observed {
    let listed = |(slot, entry): (usize, &Option<crate::database::Entry>)| {
        entry.map(|entry| Listed {
            id: process(slot),
            applied_seq: i64::from(entry.applied),
            count: i64::from(entry.count),
            max_staleness: seconds(variant.bound),
        })
    };
    let list: Vec<Listed> = question.list.iter().enumerate().filter_map(listed).collect();
    if observes {
        a.observer.observe(&list, NOW.boot());
    }
    // What is shown is asked for by the row: `confirm` does.
    let reading = Reading { log: Some(identity(question.timeline)), replicas: list, shown: vec![], proxies: vec![] };
    let asked = protocol::Question { number: u64::from(question.number), asked_at: ago(question.asked).boot() };
    a.observer.conclude(OWN, asked, reading, &a.standing)
}

/// Whether this reading confirms the call.
pub(crate) fn confirm(variant: &Variant, call: &mut Call, observed: &Observed, question: &Question) {
    let (Call::Waiting { commit, is_confirmed, .. }, log) = (call, question.log) else {
        return;
    };
    let is_shown = match variant.rules.m3 {
        Shown::Row => log.holds(commit.row),
        Shown::Number => log.head().seq >= commit.row.seq,
        Shown::Nothing => true,
    };
    let shown = if is_shown { vec![commit.row] } else { vec![] };
    *is_confirmed |= commit.is_reached(&Observed { shown, ..observed.clone() });
}
