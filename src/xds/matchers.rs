//! The extensions that are pushed, as Envoy reads them. Sessions and users are matched by names that the proxy's configuration makes
//! of the claims of a verified token (`cli/mesh/filters.yaml`).

use countersign_token::ids::UserId;

use super::wire::{Encoded, any, double, extension, field, number, put};
use crate::domain::proxy_lists::ProxyLists;

/// Name of the filter state with claim `sid`.
pub(super) const SESSION_KEY: &str = "countersign.session";
/// Name of the filter state with claims `epoch` and `sub`, as `e3.SUB`.
pub(super) const USER_KEY: &str = "countersign.user";
/// Name of the filter state with claim `sub`.
const SUBJECT_KEY: &str = "countersign.subject";
/// Namespace of the claims in the metadata of the filter that verifies tokens.
pub(super) const PAYLOAD: &str = "countersign";

const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const JWT_AUTHN: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const JWT_FILTER: &str = "envoy.filters.http.jwt_authn";
const ALLOW: u32 = 0;
const DENY: u32 = 1;
/// Names that no token has: a list needs one, and no name may be on two of the same matcher.
const NOBODY: [&str; 3] = ["no-session.invalid", "no-user.invalid", "no-epoch.invalid"];
/// Epochs of a user, from the least one that lives on, that pass. Who logs in at once after a logout everywhere is not to wait until
/// this has spread.
pub(super) const EPOCHS: i64 = 8;
const TOKEN_LEEWAY_SECONDS: u32 = 5;

/// The facts that the extension that verifies tokens needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenRules {
    /// The claim `iss`.
    pub issuer: String,
    /// Names of which claim `aud` must hold one.
    pub audiences: Vec<String>,
    /// The public keys (RFC 7517 section 5).
    pub jwks: String,
    /// Name of a cookie that may hold the token.
    pub cookie: String,
}

/// Sessions, and users with the least epoch that lives on, that are refused. None may come twice.
pub(super) fn refused<'e>(
    lists: ProxyLists,
    sessions: impl Iterator<Item = String>,
    users: impl Iterator<Item = (&'e UserId, i64)>,
) -> Encoded {
    let mut ended = Keys::new(lists, "session", DENY);
    for session in sessions {
        ended.add(&session);
    }
    let (mut banned, mut alive) = (Keys::new(lists, "user", DENY), Keys::new(lists, "epoch", ALLOW));
    for (user, least) in users {
        banned.add(&match lists {
            ProxyLists::Names => format!("*.{user}"),
            ProxyLists::Exact => user.to_string(),
        });
        for epoch in least..least.saturating_add(EPOCHS) {
            alive.add(&format!("e{epoch}.{user}"));
        }
    }
    for (keys, nobody) in [&mut ended, &mut banned, &mut alive].into_iter().zip(NOBODY) {
        if keys.encoded.is_empty() {
            keys.add(nobody);
        }
    }
    let passes = action("passes", ALLOW);
    let matcher = match lists {
        // Of the names that match, the longest counts: an epoch that lives on before all of its user.
        ProxyLists::Names => {
            let by_user = names(USER_KEY, &[banned, alive], &passes);
            names(SESSION_KEY, &[ended], &field(1, &by_user))
        }
        ProxyLists::Exact => {
            let by_user = exact(SUBJECT_KEY, &banned, &passes);
            let by_epoch = exact(USER_KEY, &alive, &field(1, &by_user));
            exact(SESSION_KEY, &ended, &field(1, &by_epoch))
        }
    };
    any(RBAC, &field(4, &matcher))
}

/// The keys that have one verdict, encoded as the form of the lists wants them.
struct Keys {
    lists: ProxyLists,
    on_match: Encoded,
    encoded: Encoded,
}

impl Keys {
    fn new(lists: ProxyLists, name: &str, verdict: u32) -> Self {
        Self { lists, on_match: action(name, verdict), encoded: Encoded::new() }
    }

    fn add(&mut self, key: &str) {
        match self.lists {
            ProxyLists::Names => put(&mut self.encoded, 1, key.as_bytes()),
            ProxyLists::Exact => {
                put(&mut self.encoded, 1, &[field(1, key.as_bytes()), field(2, &self.on_match)].concat());
            }
        }
    }
}

/// A `Matcher` of the names in a filter state: lists with what becomes of those who are on them, and what becomes of all others.
fn names(key: &str, lists: &[Keys], otherwise: &[u8]) -> Encoded {
    let list = |keys: &Keys| field(1, &[keys.encoded.as_slice(), &field(2, &keys.on_match)].concat());
    let lists = lists.iter().map(list).collect::<Vec<_>>().concat();
    tree(key, &field(4, &extension("names", "xds.type.matcher.v3.ServerNameMatcher", &lists)), otherwise)
}

/// A `Matcher` of a filter state as a whole: a map with what becomes of each, and what becomes of all others.
fn exact(key: &str, keys: &Keys, otherwise: &[u8]) -> Encoded {
    tree(key, &field(2, &keys.encoded), otherwise)
}

/// A `Matcher` that looks a filter state up.
fn tree(key: &str, lookup: &[u8], otherwise: &[u8]) -> Encoded {
    let input = "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput";
    let input = extension("key", input, &field(1, key.as_bytes()));
    [field(2, &[&field(1, &input), lookup].concat()), field(3, otherwise)].concat()
}

/// An `OnMatch` with an action of RBAC.
fn action(name: &str, verdict: u32) -> Encoded {
    let mut action = field(1, name.as_bytes());
    if verdict != ALLOW {
        action.extend(number(2, verdict));
    }
    field(2, &extension(name, "envoy.config.rbac.v3.Action", &action))
}

/// A filter that refuses sessions that were opened before a moment, in seconds since 1970; none for None.
pub(super) fn opened_before(moment: Option<u64>) -> Encoded {
    let Some(moment) = moment else {
        return any(RBAC, &[]);
    };
    // From the first to the last moment; the end is not among them. Whole seconds are exact.
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
    let range = [double(1, -1.0), double(2, moment as f64)].concat();
    let value = field(2, &field(1, &range));
    let path = [PAYLOAD, "auth_time"].map(|key| field(2, &field(1, key.as_bytes()))).concat();
    let claim = [field(1, JWT_FILTER.as_bytes()), path, field(3, &value)].concat();
    let principal = field(13, &field(1, &claim));
    let policy = [field(1, &number(3, 1)), field(2, &principal)].concat();
    let entry = [field(1, b"opened"), field(2, &policy)].concat();
    let rules = [number(1, DENY), field(2, &entry)].concat();
    any(RBAC, &field(1, &rules))
}

/// A filter that verifies tokens. Routes may choose the requirement `optional`, or turn it off.
///
/// Header and cookie have providers of their own, of which one has to succeed. Envoy would add the claims of all tokens of one
/// provider to the request, and hold one of them against the lists.
pub(super) fn tokens(rules: &TokenRules) -> Encoded {
    let header = field(6, &[field(1, b"authorization"), field(2, b"Bearer ")].concat());
    let cookie = field(13, rules.cookie.as_bytes());
    let (by_header, by_cookie) = (field(1, b"countersign"), field(1, b"countersign-cookie"));
    let any_of = |needs: &[&[u8]]| field(3, &needs.iter().map(|needed| field(1, needed)).collect::<Vec<_>>().concat());
    let required = any_of(&[&by_header, &by_cookie]);
    let optional = any_of(&[&by_header, &by_cookie, &field(6, &[])]);
    let everything = [field(1, &field(1, b"/")), field(2, &required)].concat();
    let entry = |name: &str, value: &[u8]| [field(1, name.as_bytes()), field(2, value)].concat();
    let filter = [
        field(1, &entry("countersign", &provider(rules, &header))),
        field(1, &entry("countersign-cookie", &provider(rules, &cookie))),
        field(2, &everything),
        field(5, &entry("required", &required)),
        field(5, &entry("optional", &optional)),
    ];
    any(JWT_AUTHN, &filter.concat())
}

/// A `JwtProvider` of tokens in one place of the request.
fn provider(rules: &TokenRules, place: &[u8]) -> Encoded {
    let mut provider = field(1, rules.issuer.as_bytes());
    for audience in &rules.audiences {
        put(&mut provider, 2, audience.as_bytes());
    }
    provider.extend(field(4, &field(3, rules.jwks.as_bytes())));
    provider.extend(number(5, 1));
    provider.extend_from_slice(place);
    provider.extend(field(9, PAYLOAD.as_bytes()));
    provider.extend(number(10, TOKEN_LEEWAY_SECONDS));
    for (header, claim) in [("x-auth-user-id", "sub"), ("x-auth-session-id", "sid"), ("x-auth-scope", "scope")] {
        provider.extend(field(15, &[field(1, header.as_bytes()), field(2, claim.as_bytes())].concat()));
    }
    provider.extend(number(20, 1));
    provider
}

#[cfg(test)]
mod tests {
    use prost::bytes::Buf as _;
    use uuid::Uuid;

    use super::*;

    /// The fields of a message: numbers, and what is text or a message.
    fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while message.has_remaining() {
            let tag = prost::decode_length_delimiter(&mut message).expect("a tag");
            let value = prost::decode_length_delimiter(&mut message).expect("a number");
            let content = if tag & 7 == 2 { message.copy_to_bytes(value).to_vec() } else { value.to_string().into() };
            found.push((u8::try_from(tag >> 3).expect("a number of a field"), content));
        }
        found
    }

    fn all(message: &[u8], number: u8) -> Vec<Vec<u8>> {
        fields(message).into_iter().filter(|(found, _)| *found == number).map(|(_, content)| content).collect()
    }

    /// The content of nested fields, each of which is there once.
    fn at(message: &[u8], path: &[u8]) -> Vec<u8> {
        path.iter().fold(message.to_vec(), |message, number| {
            let [only] = <[Vec<u8>; 1]>::try_from(all(&message, *number)).expect("one field");
            only
        })
    }

    fn text(message: &[u8], path: &[u8]) -> String {
        String::from_utf8(at(message, path)).expect("text")
    }

    /// The name of the action that a matcher takes, as Envoy evaluates it.
    fn evaluate(matcher: &[u8], states: &[(&str, String)]) -> String {
        let key = text(matcher, &[2, 1, 2, 2, 1]);
        let value = states.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
        let on_match = value.and_then(|value| matched(&at(matcher, &[2]), value)).unwrap_or_else(|| at(matcher, &[3]));
        match all(&on_match, 1).first() {
            Some(next) => evaluate(next, states),
            None => text(&on_match, &[2, 2, 2, 1]),
        }
    }

    fn matched(tree: &[u8], value: &str) -> Option<Vec<u8>> {
        if let [map] = all(tree, 2).as_slice() {
            assert!(!all(map, 1).is_empty(), "Envoy refuses an empty map");
            return all(map, 1).iter().find(|entry| text(entry, &[1]) == value).map(|entry| at(entry, &[2]));
        }
        let names = std::iter::successors(Some(value), |name| name.split_once('.').map(|(_, rest)| rest));
        let suffixes = names.skip(1).map(|suffix| format!("*.{suffix}"));
        let lists = all(&at(tree, &[4, 2, 2]), 1);
        [value.to_owned()].into_iter().chain(suffixes).find_map(|name| {
            let is_on = |list: &&Vec<u8>| all(list, 1).contains(&name.clone().into_bytes());
            lists.iter().find(is_on).map(|list| at(list, &[2]))
        })
    }

    fn states(session: &str, epoch: i64, user: UserId) -> Vec<(&'static str, String)> {
        vec![(SESSION_KEY, session.to_owned()), (USER_KEY, format!("e{epoch}.{user}")), (SUBJECT_KEY, user.to_string())]
    }

    #[test]
    fn both_forms_refuse_the_same() {
        let [banned, other] = [1, 2].map(|id| UserId(Uuid::from_u128(id)));
        for lists in [ProxyLists::Names, ProxyLists::Exact] {
            let ended = ["dead".to_owned()].into_iter();
            let content = refused(lists, ended, [(&banned, 5)].into_iter());
            assert_eq!(text(&content, &[1]), format!("type.googleapis.com/{RBAC}"));
            let matcher = at(&content, &[2, 4]);
            let verdict = |session, epoch, user| evaluate(&matcher, &states(session, epoch, user));
            assert_eq!(verdict("dead", 1, other), "session", "{lists:?}");
            assert_eq!(verdict("alive", 1, other), "passes", "{lists:?}");
            for (epoch, expected) in [(0, "user"), (4, "user"), (5, "epoch"), (12, "epoch"), (13, "user")] {
                assert_eq!(verdict("alive", epoch, banned), expected, "{lists:?}: {epoch}");
            }
            assert_eq!(verdict("dead", 5, banned), "session", "{lists:?}");
            // A request without a token has these states, or none.
            assert_eq!(evaluate(&matcher, &[(USER_KEY, "e-.-".to_owned())]), "passes", "{lists:?}");
            assert_eq!(evaluate(&matcher, &[]), "passes", "{lists:?}");
        }
    }

    /// Envoy would verify all tokens of one provider, add the claims of each to the request, and hold one against the lists.
    #[test]
    fn a_provider_takes_tokens_from_one_place() {
        let rules = TokenRules {
            issuer: "countersign".to_owned(),
            audiences: vec!["internal".to_owned()],
            jwks: "{}".to_owned(),
            cookie: "access".to_owned(),
        };
        let filter = at(&tokens(&rules), &[2]);
        let providers: Vec<_> = all(&filter, 1).iter().map(|entry| at(entry, &[2])).collect();
        let places = |provider: &Vec<u8>| (all(provider, 6).len(), all(provider, 13).len());
        assert_eq!(providers.iter().map(places).collect::<Vec<_>>(), [(1, 0), (0, 1)]);
    }

    #[test]
    fn nothing_is_refused_when_nothing_has_ended() {
        let user = UserId(Uuid::from_u128(1));
        for lists in [ProxyLists::Names, ProxyLists::Exact] {
            let matcher = at(&refused(lists, std::iter::empty(), std::iter::empty()), &[2, 4]);
            assert_eq!(evaluate(&matcher, &states("alive", 0, user)), "passes", "{lists:?}");
        }
    }
}
