//! A second passes: everything that is kept grows older by it. Then the state is brought into its canonical form: ages that
//! no rule tells apart are made equal, and counters are numbered by their order.

use countersign_token::clock::BootInstant;

use crate::{
    database::identity,
    rules::Variant,
    world::{Call, Flight, Then, Verifying, World, age, ago, everywhere, lifetime, process},
};

/// A second later.
pub(crate) fn tick(world: &mut World) {
    for replica in &mut world.verifying {
        let (began, counted, _) = replica.follow.parts();
        for moment in [began, counted].into_iter().flatten() {
            *moment = ago(age(moment.boot()) + 1);
        }
        replica.published.iter_mut().for_each(|age| *age += 1);
        match &mut replica.flight {
            Flight::Heartbeat(beat) | Flight::Keys(_, Then::Answer(beat)) => beat.sent += 1,
            Flight::Publish(age) | Flight::Keys(_, Then::Publish(age)) => *age += 1,
            Flight::Nothing | Flight::Keys(..) => {}
        }
    }
    let a = &mut world.a;
    let seen = a.observer.parts().map(|(_, _, since)| since);
    seen.chain(a.standing.parts()).for_each(|since| *since = older(*since));
    a.question.iter_mut().for_each(|question| question.asked += 1);
    for call in &mut world.calls {
        if let Call::First { since, .. } | Call::Waiting { since, .. } = call {
            *since += 1;
        }
    }
}

fn older(boot: BootInstant) -> BootInstant {
    ago(age(boot) + 1).boot()
}

fn at_most(boot: &mut BootInstant, most: u8) {
    *boot = ago(age(*boot).min(most)).boot();
}

/// Makes states equal that behave alike.
pub(crate) fn make_canonical(variant: &Variant, world: &mut World) {
    for replica in &mut world.verifying {
        limit_follower(variant, replica);
    }
    let quarantine = variant.bound + lifetime(variant) + 1;
    let is_settled = (1..=3).any(|name| world.a.standing.confirms(Some(identity(name))));
    if let Some(since) = world.a.standing.parts() {
        at_most(since, if is_settled { 0 } else { quarantine });
    }
    for call in &mut world.calls {
        if let Call::First { since, .. } | Call::Waiting { since, .. } = call {
            *since = (*since).min(everywhere(variant) + 1);
        }
    }
    compress_observer(variant.bound + 1, world);
    *world.a.follow.parts().2 = 0;
    (0..world.verifying.len()).for_each(|at| number_counters(world, at));
}

/// What is older than the bound, or than the lifetime of a connection at the sending of what is under way.
fn limit_follower(variant: &Variant, replica: &mut Verifying) {
    let stale = variant.bound + 1;
    replica.published = replica.published.map(|age| age.min(stale));
    let mut sent = 0;
    match &mut replica.flight {
        Flight::Heartbeat(beat) | Flight::Keys(_, Then::Answer(beat)) => {
            let (real, most) = (beat.sent, beat.sent.min(stale));
            beat.sent = most;
            sent = most;
            if let (Some(began), _, _) = replica.follow.parts() {
                *began = ago(age(began.boot()) - (real - most));
            }
        }
        Flight::Publish(age) | Flight::Keys(_, Then::Publish(age)) => *age = (*age).min(stale),
        Flight::Nothing | Flight::Keys(..) => {}
    }
    let (began, counted, _) = replica.follow.parts();
    began.into_iter().for_each(|moment| *moment = ago(age(moment.boot()).min(sent + lifetime(variant) + 1)));
    counted.into_iter().for_each(|moment| *moment = ago(age(moment.boot()).min(stale)));
}

/// Only the distances from the question that is under way to answers before it, and from those to now, count.
fn compress_observer(most: u8, world: &mut World) {
    let (question, observer) = (&mut world.a.question, &mut world.a.observer);
    let Some(question) = question else {
        observer.parts().for_each(|(_, _, since)| at_most(since, most));
        return;
    };
    let asked = question.asked;
    question.asked = asked.min(most);
    for (_, _, since) in observer.parts() {
        let since_age = age(*since);
        let short = match since_age.checked_sub(asked) {
            Some(distance) => question.asked + distance.min(most),
            None => since_age.min(question.asked),
        };
        *since = ago(short).boot();
    }
}

/// Counters are compared for equality, and new ones are larger than all before.
fn number_counters(world: &mut World, at: usize) {
    let slot = world.verifying[at].slot;
    let mut counts: Vec<u8> = Vec::new();
    each_count(world, at, slot, &mut |count| counts.push(*count));
    counts.sort_unstable();
    counts.dedup();
    each_count(world, at, slot, &mut |count| *count = counts.binary_search(count).expect("collected") as u8);
}

fn each_count(world: &mut World, at: usize, slot: usize, visit: &mut impl FnMut(&mut u8)) {
    let own = &mut world.verifying[at];
    let count = own.follow.parts().2;
    let mut number = *count as u8;
    visit(&mut number);
    *count = i64::from(number);
    if let Flight::Heartbeat(beat) | Flight::Keys(_, Then::Answer(beat)) = &mut own.flight {
        visit(&mut beat.count);
    }
    for (id, count, _) in world.a.observer.parts() {
        if *id == process(slot) {
            let mut number = *count as u8;
            visit(&mut number);
            *count = i64::from(number);
        }
    }
    let mut lists: Vec<_> = world.databases.iter_mut().map(|database| &mut database.list).collect();
    lists.extend(world.a.question.iter_mut().map(|question| &mut question.list));
    lists.into_iter().filter_map(|list| list[slot].as_mut()).for_each(|entry| visit(&mut entry.count));
}
