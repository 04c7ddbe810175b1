//! The extensions that are pushed, as Envoy reads them. Sessions and users are matched by names that the proxy's configuration makes
//! of the claims of a verified token (`cli/mesh/envoy.yaml`).

use countersign_token::ids::UserId;

use super::wire::{Encoded, any, double, extension, field, number, put};

/// Name of the filter state with claim `sid`.
pub(super) const SESSION_KEY: &str = "countersign.session";
/// Name of the filter state with claims `epoch` and `sub`, as `e3.SUB`.
pub(super) const USER_KEY: &str = "countersign.user";
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
const EPOCHS: i64 = 4;
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

/// A list of sessions, and of users with the least epoch that lives on, that are refused. No name may come twice.
pub(super) fn refused<'e>(
    sessions: impl Iterator<Item = String>,
    users: impl Iterator<Item = (&'e UserId, i64)>,
) -> Encoded {
    let mut ended = Encoded::new();
    for session in sessions {
        put(&mut ended, 1, session.as_bytes());
    }
    let (mut banned, mut alive) = (Encoded::new(), Encoded::new());
    for (user, least) in users {
        put(&mut banned, 1, format!("*.{user}").as_bytes());
        for epoch in least..least.saturating_add(EPOCHS) {
            put(&mut alive, 1, format!("e{epoch}.{user}").as_bytes());
        }
    }
    for (list, nobody) in [&mut ended, &mut banned, &mut alive].into_iter().zip(NOBODY) {
        if list.is_empty() {
            put(list, 1, nobody.as_bytes());
        }
    }
    // Of the names that match, the longest counts: an epoch that lives on before all of its user.
    let by_user = matcher(USER_KEY, &[(banned, "user", DENY), (alive, "epoch", ALLOW)], &action("passes", ALLOW));
    let otherwise = field(1, &by_user);
    let by_session = matcher(SESSION_KEY, &[(ended, "session", DENY)], &otherwise);
    any(RBAC, &field(4, &by_session))
}

/// A `Matcher` of the names in a filter state: lists with what becomes of those who are on them, and what becomes of all others.
fn matcher(key: &str, lists: &[(Encoded, &str, u32)], otherwise: &[u8]) -> Encoded {
    let input = "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput";
    let input = extension("key", input, &field(1, key.as_bytes()));
    let lists = lists.iter().map(|(domains, name, verdict)| {
        let list = [domains.as_slice(), &field(2, &action(name, *verdict))].concat();
        field(1, &list)
    });
    let lists = lists.collect::<Vec<_>>().concat();
    let names = extension("names", "xds.type.matcher.v3.ServerNameMatcher", &lists);
    let tree = [field(1, &input), field(4, &names)].concat();
    [field(2, &tree), field(3, otherwise)].concat()
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
pub(super) fn tokens(rules: &TokenRules) -> Encoded {
    let mut provider = field(1, rules.issuer.as_bytes());
    for audience in &rules.audiences {
        put(&mut provider, 2, audience.as_bytes());
    }
    let header = [field(1, b"authorization"), field(2, b"Bearer ")].concat();
    provider.extend(field(4, &field(3, rules.jwks.as_bytes())));
    provider.extend(number(5, 1));
    provider.extend(field(6, &header));
    provider.extend(field(9, PAYLOAD.as_bytes()));
    provider.extend(number(10, TOKEN_LEEWAY_SECONDS));
    provider.extend(field(13, rules.cookie.as_bytes()));
    for (header, claim) in [("x-auth-user-id", "sub"), ("x-auth-session-id", "sid"), ("x-auth-scope", "scope")] {
        provider.extend(field(15, &[field(1, header.as_bytes()), field(2, claim.as_bytes())].concat()));
    }
    provider.extend(number(20, 1));
    let by_provider = field(1, b"countersign");
    let or_none = field(3, &[field(1, &by_provider), field(1, &field(6, &[]))].concat());
    let everything = [field(1, &field(1, b"/")), field(2, &by_provider)].concat();
    let entry = |name: &str, value: &[u8]| [field(1, name.as_bytes()), field(2, value)].concat();
    let filter = [
        field(1, &entry("countersign", &provider)),
        field(2, &everything),
        field(5, &entry("required", &by_provider)),
        field(5, &entry("optional", &or_none)),
    ];
    any(JWT_AUTHN, &filter.concat())
}
