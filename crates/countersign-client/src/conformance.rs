//! The conformance suite of all verifiers (`clients/conformance`).

use std::{path::Path, sync::Arc, time::Duration};

use countersign_proto::v1::{self, watch_revocations_response::Event as Told};
use countersign_token::clock::{BootInstant, Clock};
use prost_types::Timestamp;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{
    demand::Demand,
    follow::{Follower, Heard},
    shared::Shared,
    verifier::in_memory,
};

#[derive(Deserialize)]
struct Suite {
    epoch: i64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    settings: Settings,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Settings {
    issuer: Option<String>,
    max_staleness: Option<u64>,
    #[serde(default)]
    clock_ahead: i64,
}

#[derive(Deserialize)]
struct Step {
    at: f64,
    #[serde(flatten)]
    action: Action,
    #[serde(default)]
    fails: bool,
    expect: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Call(serde::de::IgnoredAny),
    Hear(Message),
    Verify { token: String, audience: Option<String>, role: Option<String> },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Message {
    Keys { jwks: String, issuer: String },
    Snapshot(Part),
    Additions(Part),
    Heartbeat { complete_as_of: f64, sent_at: Option<f64> },
}

#[derive(Deserialize)]
struct Part {
    revocations: Vec<Revoked>,
    position: String,
}

#[derive(Deserialize)]
struct Revoked {
    session_id: Option<String>,
    user: Option<User>,
    opened_before: Option<i64>,
    expires_at: i64,
}

#[derive(Deserialize)]
struct User {
    user_id: String,
    least_epoch: i64,
}

impl From<Revoked> for v1::Revocation {
    fn from(it: Revoked) -> Self {
        use v1::revocation::Subject as S;
        let user = it.user.map(|User { user_id, least_epoch }| S::User(v1::UserRevocation { user_id, least_epoch }));
        let opened = it.opened_before.map(|seconds| S::OpenedBefore(Timestamp { seconds, nanos: 0 }));
        let subject = it.session_id.map(S::SessionId).or(user).or(opened);
        Self { subject, expires_at: Some(Timestamp { seconds: it.expires_at, nanos: 0 }) }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
fn parts(seconds: f64) -> (i64, i32) {
    (seconds.trunc() as i64, (seconds.fract() * 1e9).round() as i32)
}

impl From<Message> for v1::WatchRevocationsResponse {
    fn from(message: Message) -> Self {
        let all = |part: Part| (part.revocations.into_iter().map(Into::into).collect(), part.position);
        let event = match message {
            Message::Keys { jwks, issuer } => Told::Keys(v1::SigningKeys { jwks, issuer }),
            Message::Snapshot(part) => {
                let (revocations, position) = all(part);
                Told::Snapshot(v1::RevocationSnapshot { revocations, position })
            }
            Message::Additions(part) => {
                let (revocations, position) = all(part);
                Told::Additions(v1::RevocationAdditions { revocations, position })
            }
            Message::Heartbeat { complete_as_of, sent_at } => {
                let (seconds, nanos) = parts(complete_as_of);
                let sent_at = sent_at.map(parts).map(|(seconds, nanos)| Timestamp { seconds, nanos });
                let complete_as_of = Some(prost_types::Duration { seconds, nanos });
                Told::Heartbeat(v1::RevocationHeartbeat { complete_as_of, sent_at })
            }
        };
        Self { event: Some(event) }
    }
}

fn run(epoch: i64, case: Case) {
    let Case { name, settings, steps } = case;
    let start = OffsetDateTime::from_unix_timestamp(epoch + settings.clock_ahead).expect("a time");
    let clock = Clock::manual_at(start);
    let bound = Duration::from_secs(settings.max_staleness.unwrap_or(10));
    let shared = Arc::new(Shared::new(bound, Duration::ZERO, 100, clock.clone()));
    let mut follower = Follower {
        shared: Arc::clone(&shared),
        connections: Arc::new([]),
        names: Vec::new(),
        issuer: settings.issuer,
        position: String::new(),
        complete_as_of: BootInstant::from_nanos(0),
        place: 0,
        poisoned: false,
    };
    let (mut heard, mut passed) = (None, 0.0);
    for (place, Step { at, action, fails, expect }) in steps.into_iter().enumerate() {
        clock.advance(Duration::from_secs_f64(at - passed));
        passed = at;
        match action {
            Action::Call(_) => heard = Some(Heard::new(clock.moment())),
            Action::Hear(message) => {
                let lacked = shared.lacks.borrow().is_some();
                let result = follower.hear(heard.as_mut().expect("a call"), message.into());
                let is_ready = lacked && shared.lacks.borrow().is_none();
                assert!(!is_ready || shared.state.fresh(None).is_ok(), "{name}: step {place}: ready, and stale");
                assert!(result.is_err() == fails || follower.poisoned, "{name}: step {place}: {result:?}");
            }
            Action::Verify { token, audience, role } => {
                let mut demand = Demand::new();
                demand.audience = audience;
                let demand = role.into_iter().fold(demand, Demand::role);
                let answer = in_memory(&shared, &token, demand.audience.as_deref());
                let answer = answer.and_then(|caller| demand.check(&caller));
                let said = match &answer {
                    Ok(()) => "OK",
                    Err(error) if error.is_outage() => "UNAVAILABLE",
                    Err(error) => error.reason(),
                };
                // The back end in Rust alone has no RS256: its keys cannot be used.
                let lacks_key = cfg!(not(feature = "aws-lc")) && name == "a token of RS256";
                let expected = if lacks_key { Some("UNAVAILABLE") } else { expect.as_deref() };
                assert_eq!(Some(said), expected, "{name}: step {place}");
            }
        }
    }
}

#[test]
fn the_verifier_answers_as_all_verifiers_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/conformance/cases.json");
    let suite: Suite = serde_json::from_str(&std::fs::read_to_string(path).expect("cases")).expect("cases");
    assert!(suite.cases.len() > 140);
    for case in suite.cases {
        run(suite.epoch, case);
    }
}

/// The lines of the README that protect a service are those of the examples, which are run.
#[test]
fn the_examples_are_what_the_readme_says() {
    let (readme, axum) = (include_str!("../README.md"), include_str!("../examples/axum.rs"));
    let examples = [axum, include_str!("../examples/tonic.rs")].join("\n").replace(char::is_whitespace, "");
    let blocks: Vec<&str> = readme.split("```rust,ignore\n").skip(1).filter_map(|it| it.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for line in blocks.iter().flat_map(|block| block.lines()).take_while(|line| !line.starts_with("// In a method")) {
        let needle = line.trim_end_matches(';').replace(char::is_whitespace, "");
        let known = ["serve(addr)", "add_service(orders)", "http://127.0.0.1:50051", "use"];
        assert!(examples.contains(&needle) || known.iter().any(|it| line.contains(it)), "{line}");
    }
}
