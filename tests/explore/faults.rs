//! What happens to everybody: sessions begin, servers are cut off and promoted, rows get lost, processes end, time passes.

use crate::{
    calls,
    database::{At, Lead, Phase, Row, row},
    rules::{Address, Replication, Variant},
    start,
    time::tick,
    world::{Call, Flight, Step, Verifying, World, step},
};

type Steps = Vec<(Step, World)>;

/// Places in [`World::once`].
const LOST: usize = 0;
const LEFT_OVER: usize = 1;
const OTHER: usize = 2;
const OTHER_LEFT: usize = 3;
const AGAIN: usize = 4;

pub(crate) fn steps(variant: &Variant, world: &World, out: &mut Steps) {
    let mut put = |what: Step, change: &dyn Fn(&mut World)| {
        let mut after = world.clone();
        change(&mut after);
        out.push((what, after));
    };
    put(step("", "a second passes"), &tick);
    let is_untouched = world.calls.iter().all(|call| matches!(call, Call::Idle(0)));
    let primary = world.primary();
    if !world.opened && is_untouched && world.phase != Phase::Cut {
        put(step("", "a session begins").on(primary).fault(), &|world| {
            world.opened = true;
            write(variant, world, primary, |database| database.session = Row::Live);
        });
    }
    if variant.failover {
        failover(variant, world, &mut put);
    }
    if variant.lost_row && world.opened && !world.once[LOST] {
        put(step("", "the session's row is lost").fault(), &|world| {
            world.once[LOST] = true;
            world.databases.iter_mut().filter(|db| db.session == Row::Live).for_each(|db| db.session = Row::Absent);
        });
    }
    left_over(variant, world, &mut put);
    restarts(variant, world, out);
}

type Put<'a> = dyn FnMut(Step, &dyn Fn(&mut World)) + 'a;

/// A commit whose answer nobody looks at.
fn write(variant: &Variant, world: &mut World, at: At, change: impl Fn(&mut crate::database::Database)) {
    change(world.database_mut(at));
    if at == At::D1 && world.phase == Phase::Together && variant.replication == Replication::Sync {
        change(world.database_mut(At::D2));
    }
}

fn failover(variant: &Variant, world: &World, put: &mut Put<'_>) {
    let [d1, d2] = world.databases;
    match world.phase {
        Phase::Together => {
            put(step("", "D1 is cut off").fault(), &|world| world.phase = Phase::Cut);
            if variant.replication != Replication::Sync && d1.copy(0) != d2 {
                put(step("", "D2 receives everything").fault(), &|world| world.databases[1] = d1.copy(0));
            }
        }
        Phase::Cut => put(step("", "D2 is promoted").fault(), &|world| {
            world.phase = Phase::Promoted;
            world.databases[1].timeline = 2;
        }),
        Phase::Promoted => {
            let moved = match variant.address {
                Address::All => [At::D2; 2],
                Address::OnlyTheRevoking => [At::D2, At::D1],
                Address::Pooler => [At::D1; 2],
            };
            if world.address != moved {
                put(step("", "the address moves to D2"), &|world| world.address = moved);
            }
            if let Some(timeline) = variant.again.filter(|_| world.address == moved && !world.once[AGAIN]) {
                put(step("", "D2 is lost, another standby of D1 takes its place").fault(), &|world| {
                    promote_again(world, timeline);
                });
            }
        }
    }
}

/// Connections to the promoted standby break; what takes its place is as that was before its promotion.
fn promote_again(world: &mut World, timeline: u8) {
    world.once[AGAIN] = true;
    let session = world.databases[1].session;
    world.databases[1] = crate::database::Database { timeline, session, ..crate::database::Database::EMPTY };
    for replica in &mut world.verifying {
        if replica.connection == Some(Lead::To(At::D2)) {
            replica.follow.disconnected();
            replica.connection = None;
            replica.flight = Flight::Nothing;
        }
    }
    let a = &mut world.a;
    let broken = Some(Lead::To(At::D2));
    if a.connection == broken {
        a.follow.disconnected();
        a.connection = None;
    }
    a.pool = a.pool.filter(|lead| Some(*lead) != broken);
    a.observing = a.observing.filter(|lead| Some(*lead) != broken);
    a.question = a.question.filter(|question| question.at == At::D1);
    for call in world.calls.iter_mut().filter(|call| matches!(call, Call::Read { .. } | Call::First { .. })) {
        *call = Call::Over;
    }
}

/// Commits of others: on whichever server accepts them, and what hung on the old primary and becomes visible there.
fn left_over(variant: &Variant, world: &World, put: &mut Put<'_>) {
    let old = world.phase != Phase::Together && variant.replication == Replication::Sync;
    let d1 = world.databases[0];
    if variant.left_over && old && !world.once[LEFT_OVER] && d1.session == Row::Live {
        put(step("", "an earlier Revoke that hung becomes visible on D1").fault(), &|world| {
            world.once[LEFT_OVER] = true;
            world.databases[0].session = Row::Ended;
            world.databases[0].log.append(row::EARLIER);
        });
    }
    if variant.other_row && variant.left_over && old && !world.once[OTHER_LEFT] {
        put(step("", "another revocation that hung becomes visible on D1").fault(), &|world| {
            world.once[OTHER_LEFT] = true;
            world.databases[0].log.append(row::OTHER_LEFT);
        });
    }
    if variant.other_row && !world.once[OTHER] && world.phase != Phase::Cut {
        let primary = world.primary();
        put(step("", "another session is revoked").on(primary).fault(), &|world| {
            world.once[OTHER] = true;
            write(variant, world, primary, |database| database.log.append(row::OTHER));
        });
    }
}

fn restarts(variant: &Variant, world: &World, out: &mut Steps) {
    if world.restarts.0 > 0 {
        for nth in 0..world.verifying.len() {
            let mut after = world.clone();
            after.restarts.0 -= 1;
            let slot = world.verifying.iter().map(|replica| replica.slot).max().unwrap_or_default() + 1;
            after.verifying[nth] = Verifying { slot, ..start::verifying(variant, slot) };
            out.push((step(["B", "C"][nth], "starts anew").fault(), after));
        }
    }
    if world.restarts.1 > 0 {
        for mut after in calls::crash(variant, world) {
            after.restarts.1 -= 1;
            out.push((step("A", "starts anew").fault(), after));
        }
    }
}
