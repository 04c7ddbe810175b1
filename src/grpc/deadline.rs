//! Deadlines of calls: what the caller gives, or else what the RPC has.

use std::time::Duration;

use countersign_token::revocation::MAX_STALENESS;
use http::{HeaderMap, Request};

/// The longest time of a call: long enough for any answer, short enough that nothing piles up.
const BY_DEFAULT: Duration = Duration::from_secs(60);
/// The same where the request itself says how long to wait for other replicas.
const OF_WAITING: Duration = MAX_STALENESS.saturating_add(BY_DEFAULT);

/// The RPC whose requests say how long to wait.
const WAITING: &str = "/countersign.v1.AuthService/Revoke";
/// The RPCs that go on for as long as their caller likes.
const STREAMING: [&str; 7] = [
    "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    "/countersign.v1.AuthService/WatchRevocations",
    "/countersign.v1.UserService/ImportUsers",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The time that a call has: as its caller says, and no longer than the RPC has; None for one that may go on.
pub(super) fn of<B>(request: &Request<B>) -> Option<Duration> {
    let (asked, longest) = (timeout(request.headers()), longest(request.uri().path()));
    asked.into_iter().chain(longest).min()
}

fn longest(path: &str) -> Option<Duration> {
    if STREAMING.contains(&path) {
        return None;
    }
    Some(if path == WAITING { OF_WAITING } else { BY_DEFAULT })
}

/// The caller's `grpc-timeout`: at most eight digits and a unit. Anything else counts as none, as in tonic.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (digits, unit) = headers.get("grpc-timeout")?.as_bytes().split_last().map(|(u, d)| (d, u))?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use countersign_proto::DESCRIPTORS;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_specification_says() {
        for (text, expected) in [
            ("1m", Some(Duration::from_millis(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5S", Some(Duration::from_secs(5))),
            ("7u", Some(Duration::from_micros(7))),
            ("", None),
            ("m", None),
            ("123456789m", None),
            ("-1S", None),
            ("+1S", None),
            ("1x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("header"));
            assert_eq!(timeout(&headers), expected, "{text}");
        }
    }

    #[test]
    fn the_rpcs_without_the_usual_deadline_are_those_that_stream_or_wait() {
        let files = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors").file;
        let ours = files.iter().filter(|file| file.package() == "countersign.v1");
        let messages: Vec<_> = ours.clone().flat_map(|file| &file.message_type).collect();
        for service in ours.flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/countersign.v1.{}/{}", service.name(), method.name());
                let streams = method.client_streaming() || method.server_streaming();
                let request = method.input_type().rsplit('.').next();
                let waits = messages.iter().any(|message| {
                    Some(message.name()) == request && message.field.iter().any(|field| field.name() == "wait")
                });
                let expected = if waits { OF_WAITING } else { BY_DEFAULT };
                assert_eq!(longest(&path), (!streams).then_some(expected), "{path}");
            }
        }
        assert_eq!(longest("/grpc.health.v1.Health/Watch"), None);
        assert_eq!(longest("/grpc.health.v1.Health/Check"), Some(BY_DEFAULT));
    }

    #[test]
    fn no_caller_has_more_time_than_the_rpc_has() {
        for (timeout, expected) in [("99999999H", Some(BY_DEFAULT)), ("1S", Some(Duration::from_secs(1)))] {
            let request = Request::post("/countersign.v1.AuthService/Verify").header("grpc-timeout", timeout);
            assert_eq!(of(&request.body(()).expect("a request")), expected, "{timeout}");
        }
        let watch = Request::post(STREAMING[0]).header("grpc-timeout", "99999999H").body(()).expect("a request");
        assert!(of(&watch).is_some_and(|time| time > BY_DEFAULT));
    }
}
