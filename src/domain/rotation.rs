//! The decision about a refresh token that is presented: the whole table, as one pure function.
//!
//! ```text
//!              rotate (g = c)              replay (g = p, soon)    skip (g = p, later)      reuse (any other g < c)
//!   p  c   ->     p' = c, c' = c + 1          p  c (no write)         p, c' = c + 1            the session ends
//! ```
//! `c` is the session's current generation, `p` the one that was exchanged for it. Races and lost answers end in replay
//! or skip (promise P2); a token that was replaced before ends the session (RFC 9700 section 4.14.2).

use std::time::Duration;

use time::OffsetDateTime;

/// Times that the successor of one token may be abandoned before a further late retry counts as reuse.
const MAX_SKIPS: u32 = 8;

/// The refresh tokens of a session, as its row has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationState {
    /// The generation that has not been exchanged yet.
    pub generation: u32,
    /// The generation that was exchanged for it; 0 when none was.
    pub previous_generation: u32,
    /// The moment at which `generation` came to be.
    pub rotated_at: OffsetDateTime,
    /// The liveness of the session, which says if it may be refreshed at all.
    pub liveness: Liveness,
}

/// Decides if a session may be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The session may be refreshed until this moment, the earlier of its absolute and its idle end.
    Until(OffsetDateTime),
    /// The session was revoked, or its user is disabled.
    Ended,
    /// Nobody knows if the session has ended: the database was restored from a backup, and may have lost its end.
    Undecided,
}

/// Times for which an exchanged token is forgiven.
#[derive(Clone, Copy, Debug)]
pub struct RotationPolicy {
    /// Within this time of the exchange, the same successor is handed out again.
    pub grace: Duration,
    /// Within this time of the exchange, an unused successor is abandoned for a new one. Zero turns it off.
    pub late_retry: Duration,
}

/// The decision about a presented generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Exchange the token.
    Rotate(GenerationChange),
    /// The token was exchanged a moment ago: hand the current generation out again and write nothing.
    Replay,
    /// The token was exchanged, and nobody has used its successor: abandon that one for a new one.
    Skip(GenerationChange),
    /// The token was replaced before: end the session.
    Reuse,
    /// The session has ended.
    Refuse,
    /// Nobody knows if the session has ended.
    Undecided,
}

/// The write that a rotation or a skip makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationChange {
    /// The row's generation must still be this.
    pub from: u32,
    /// The row's previous generation after the write.
    pub previous: u32,
    /// The row's generation after the write.
    pub to: u32,
}

impl GenerationChange {
    /// The common case: the presented generation is the current one.
    pub fn rotation(presented: u32) -> Option<Self> {
        Some(Self { from: presented, previous: presented, to: presented.checked_add(1)? })
    }
}

/// Decides about generation `presented` of a session, whose tag has been checked.
pub fn decide(state: &RotationState, presented: u32, policy: RotationPolicy, now: OffsetDateTime) -> Decision {
    match state.liveness {
        Liveness::Until(end) if now < end => {}
        Liveness::Until(_) | Liveness::Ended => return Decision::Refuse,
        Liveness::Undecided => return Decision::Undecided,
    }
    let (current, previous) = (state.generation, state.previous_generation);
    if presented >= current {
        return rotate(current, presented);
    }
    if presented != previous {
        return Decision::Reuse;
    }
    let age = now - state.rotated_at;
    if age <= policy.grace {
        return Decision::Replay;
    }
    if age <= policy.late_retry && current - previous <= MAX_SKIPS {
        return skip(current, previous);
    }
    Decision::Reuse
}

/// A generation above the current one carries a tag that only a server can have made. So the database lost rotations in
/// a failover, and the session goes on from what the client holds.
fn rotate(current: u32, presented: u32) -> Decision {
    match presented.checked_add(1) {
        Some(to) => Decision::Rotate(GenerationChange { from: current, previous: presented, to }),
        None => Decision::Refuse,
    }
}

fn skip(current: u32, previous: u32) -> Decision {
    match current.checked_add(1) {
        Some(to) => Decision::Skip(GenerationChange { from: current, previous, to }),
        None => Decision::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RotationPolicy =
        RotationPolicy { grace: Duration::from_secs(30), late_retry: Duration::from_secs(86_400) };
    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn state(generation: u32, previous_generation: u32) -> RotationState {
        RotationState {
            generation,
            previous_generation,
            rotated_at: T0,
            liveness: Liveness::Until(T0 + Duration::from_secs(30 * 86_400)),
        }
    }

    fn at(seconds: u64) -> OffsetDateTime {
        T0 + Duration::from_secs(seconds)
    }

    fn step(from: u32, previous: u32, to: u32) -> GenerationChange {
        GenerationChange { from, previous, to }
    }

    #[test]
    fn p2_the_decision_table() {
        use Decision::*;
        let day = 86_400;
        for (c, p, g, seconds, expected) in [
            (1, 0, 1, 0, Rotate(step(1, 1, 2))),
            (5, 4, 5, 9 * day, Rotate(step(5, 5, 6))),
            (5, 4, 4, 0, Replay),
            (5, 4, 4, 30, Replay),
            (5, 4, 4, 31, Skip(step(5, 4, 6))),
            (5, 4, 4, day, Skip(step(5, 4, 6))),
            (5, 4, 4, day + 1, Reuse),
            (12, 4, 4, 31, Skip(step(12, 4, 13))),
            (13, 4, 4, 31, Reuse),
            (5, 4, 7, 0, Rotate(step(5, 7, 8))),
            (5, 4, 3, 0, Reuse),
            (7, 4, 5, 0, Reuse),
            (7, 4, 6, 31, Reuse),
            (5, 4, u32::MAX, 0, Refuse),
        ] {
            let decision = decide(&state(c, p), g, POLICY, at(seconds));
            assert_eq!(decision, expected, "c={c} p={p} g={g} after {seconds}s");
        }
    }

    #[test]
    fn r34_an_ended_or_expired_session_refuses_every_generation() {
        for liveness in [Liveness::Ended, Liveness::Until(at(10)), Liveness::Until(T0)] {
            let state = RotationState { liveness, ..state(5, 4) };
            for g in 0..8 {
                assert_eq!(decide(&state, g, POLICY, at(10)), Decision::Refuse);
            }
        }
    }

    #[test]
    fn a_time_of_zero_turns_off_its_own_kind_of_forgiveness_alone() {
        let (off, grace, late_retry) = (Duration::ZERO, POLICY.grace, POLICY.late_retry);
        let skip = Decision::Skip(step(5, 4, 6));
        for (grace, late_retry, soon, later) in [
            (off, off, Decision::Reuse, Decision::Reuse),
            (grace, off, Decision::Replay, Decision::Reuse),
            (off, late_retry, skip, skip),
        ] {
            let policy = RotationPolicy { grace, late_retry };
            let decided = [1, 31].map(|seconds| decide(&state(5, 4), 4, policy, at(seconds)));
            assert_eq!(decided, [soon, later], "{policy:?}");
        }
    }

    #[test]
    fn r67_the_exchanged_token_replayed_for_an_hour_is_caught_within_minutes() {
        let mut state = state(2, 1);
        let caught = (0..3600).step_by(5).find(|&s| {
            match decide(&state, 1, POLICY, at(s)) {
                Decision::Skip(step) => apply(&mut state, step, at(s)),
                Decision::Replay => {}
                Decision::Reuse => return true,
                other => panic!("{other:?}"),
            }
            false
        });
        assert!(caught.is_some_and(|s| s <= 600), "{caught:?}");
    }

    fn apply(state: &mut RotationState, step: GenerationChange, now: OffsetDateTime) {
        assert_eq!(state.generation, step.from);
        state.generation = step.to;
        state.previous_generation = step.previous;
        state.rotated_at = now;
    }

    /// Presents `g`; returns the generation that the presenter gets, or None when the session has ended.
    fn present(state: &mut RotationState, g: u32, now: OffsetDateTime) -> Option<u32> {
        match decide(state, g, POLICY, now) {
            Decision::Rotate(step) | Decision::Skip(step) => apply(state, step, now),
            Decision::Replay => {}
            Decision::Reuse | Decision::Refuse | Decision::Undecided => {
                state.liveness = Liveness::Ended;
                return None;
            }
        }
        Some(state.generation)
    }

    proptest! {
        /// An owner alone, whatever answers are lost, is never logged out. (It retries within the late-retry window
        /// and loses at most eight answers in a row.)
        #[test]
        fn p2_an_owner_alone_is_never_logged_out(
            calls in prop::collection::vec((1_u64..20_000, 0_usize..8), 1..60)
        ) {
            let (mut state, mut held, mut now) = (state(1, 0), 1, 0);
            for (pause, lost) in calls {
                for _ in 0..lost {
                    now += pause % 600;
                    prop_assert!(present(&mut state, held, at(now)).is_some());
                }
                now += pause % 600;
                held = present(&mut state, held, at(now)).expect("still logged in");
            }
        }

        /// A generation that was replaced before the previous one never yields a token.
        #[test]
        fn p2_a_reused_token_never_rotates(c in 2_u32..1000, p in 1_u32..1000, g in 1_u32..1000, s in 0_u64..100_000) {
            prop_assume!(p < c && g < c && g != p);
            prop_assert_eq!(decide(&state(c, p), g, POLICY, at(s)), Decision::Reuse);
        }
    }

    /// Exhaustively at small size: an owner and a thief who copied the owner's token each present what they hold. They
    /// do so in every order, an hour apart (never within the grace window). Two refreshes of the owner after a thief's
    /// last, the thief holds nothing usable.
    #[test]
    fn p2_a_thief_never_keeps_a_usable_token_past_the_owners_next_refreshes() {
        const TURNS: u32 = 10;
        for plan in 0_u32..1 << TURNS {
            let mut state = state(3, 2);
            let (mut owner, mut thief, mut owner_turns) = (Some(3), Some(3), 0);
            for turn in 0..TURNS {
                let now = at(3600 * u64::from(turn + 1));
                if plan >> turn & 1 == 0 {
                    owner = owner.and_then(|g| present(&mut state, g, now));
                    owner_turns += 1;
                } else {
                    thief = thief.and_then(|g| present(&mut state, g, now));
                    owner_turns = 0;
                }
                let usable = thief
                    .is_some_and(|g| !matches!(decide(&state, g, POLICY, now), Decision::Reuse | Decision::Refuse));
                assert!(owner_turns < 2 || !usable, "plan {plan:b} turn {turn}");
            }
        }
    }
}
