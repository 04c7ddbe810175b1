//! Where a walk begins.

use countersign::{
    domain::revocation::Position,
    revocation::protocol::{Follow, Observer, Origin, Standing},
};

use crate::{
    database::{At, Database, Lead, Phase, Row, identity},
    rules::{Address, Proof, Replication, Start, Variant},
    world::{Call, Flight, NOW, Revoking, Verifying, World, ago, seconds},
};

/// All states in which a variant may begin.
pub(crate) fn starts(variant: &Variant) -> Vec<World> {
    let mut world = nothing(variant);
    if variant.start == Start::Nothing {
        return vec![world];
    }
    (0..world.verifying.len()).for_each(|nth| follow(variant, &mut world, nth, At::D1));
    hear(variant, &mut world, At::D1);
    world.databases[1] = world.databases[0].copy(0);
    if variant.start != Start::Following {
        world.phase = Phase::Promoted;
        world.databases[1].timeline = 2;
    }
    match variant.start {
        Start::Over => {
            hear(variant, &mut world, At::D2);
            world.databases[1].settled = 2;
            world.address = [At::D2; 2];
            (0..world.verifying.len()).for_each(|nth| follow(variant, &mut world, nth, At::D2));
        }
        Start::Unlisted => world.databases[1].list = Database::EMPTY.list,
        Start::Moved => {
            world.address = [At::D2; 2];
            (0..world.verifying.len()).for_each(|nth| follow(variant, &mut world, nth, At::D2));
        }
        Start::Settled => {
            hear(variant, &mut world, At::D2);
            world.databases[1].settled = 2;
        }
        Start::Nothing | Start::Following | Start::Promoted => {}
    }
    if variant.start == Start::Moved && variant.rules.m1 == Proof::CommitThenRead {
        world.calls.iter_mut().for_each(|call| *call = Call::Committed(lead(variant, At::D1)));
    }
    seen(variant, world)
}

/// With and without the session, and with what an observer may have seen.
fn seen(variant: &Variant, world: World) -> Vec<World> {
    let mut opened = World { opened: true, ..world.clone() };
    opened.databases.iter_mut().for_each(|database| database.session = Row::Live);
    let mut worlds = if variant.is_open { vec![opened] } else { vec![world, opened] };
    for age in if variant.start == Start::Moved { vec![0, variant.bound + 1] } else { vec![0] } {
        for world in worlds.clone().into_iter().filter(|world| world.a.observer == Observer::default()) {
            let mut seen = world;
            let question = crate::revoking::ask(&seen, At::D1);
            crate::revoking::take(variant, &mut seen.a, question, true);
            seen.a.observer.parts().for_each(|(_, _, since)| *since = ago(age).boot());
            worlds.push(seen);
        }
    }
    worlds
}

/// A verifying replica is fresh from this server.
fn follow(variant: &Variant, world: &mut World, nth: usize, at: At) {
    let replica = &mut world.verifying[nth];
    replica.follow.connected(NOW);
    let report = replica.follow.report();
    let log = identity(at as u8 + 1);
    replica.follow.registered(NOW, log);
    replica.follow.loaded(log, Position::default());
    replica.connection = Some(lead(variant, at));
    replica.published = Some(0);
    world.database_mut(at).report(nth, report.applied, report.count as u8, true);
}

/// The replica that revokes follows the log of this server, which is settled.
fn hear(variant: &Variant, world: &mut World, at: At) {
    let (a, log, lead) = (&mut world.a, identity(at as u8 + 1), Some(lead(variant, at)));
    a.follow.connected(NOW);
    a.follow.registered(NOW, log);
    a.follow.loaded(log, Position::default());
    a.standing.heard(Origin { log, settled: true }, NOW.boot());
    (a.connection, a.pool, a.observing) = (lead, lead, lead);
    world.address[0] = at;
}

fn lead(variant: &Variant, at: At) -> Lead {
    if variant.address == Address::Pooler { Lead::Pooler } else { Lead::To(at) }
}

fn nothing(variant: &Variant) -> World {
    let primary = Database { timeline: 1, ..Database::EMPTY };
    World {
        databases: [primary, if variant.replication == Replication::Sync { primary.copy(0) } else { Database::EMPTY }],
        phase: Phase::Together,
        address: [At::D1; 2],
        opened: false,
        once: [false; 5],
        a: revoking(variant),
        verifying: (0..usize::from(variant.verifying)).map(|slot| verifying(variant, slot)).collect(),
        calls: variant.calls.iter().map(|_| Call::Idle(0)).collect(),
        restarts: variant.restarts,
    }
}

/// A process of the replica that revokes, at its start.
pub(crate) fn revoking(variant: &Variant) -> Revoking {
    Revoking {
        follow: Follow::new(seconds(variant.bound)),
        connection: None,
        known: false,
        standing: Standing::default(),
        observer: Observer::default(),
        pool: None,
        observing: None,
        question: None,
    }
}

/// A process of a replica that verifies, at its start.
pub(crate) fn verifying(variant: &Variant, slot: usize) -> Verifying {
    let follow = Follow::new(seconds(variant.bound));
    Verifying { slot, follow, connection: None, flight: Flight::Nothing, known: false, published: None }
}
