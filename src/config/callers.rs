//! The callers of a policy file: tables `callers`, `tokens` and `trusted_proxies`.

use std::{collections::HashMap, ops::Range, sync::Arc};

use toml::de::DeTable;

use super::toml_notes::{Notes, Text, Value};
use crate::domain::{
    caller::{CallerId, CallerPattern},
    caller_policy::{CallerPolicy, Grants, Patterns, ServiceToken, TrustedProxies},
    network::Network,
    rate::RateLimit,
    rpc::RpcSet,
    user::parse_roles,
};

/// The keys of an entry of `callers`.
const CALLER_KEYS: [&str; 10] = [
    "id",
    "ids",
    "rpcs",
    "audiences",
    "roles",
    "revoke_by_id",
    "name_client_addresses",
    "bind_sessions",
    "login_rate",
    "verify_rate",
];
/// The name of the service token that no policy file gives: it is the one of COUNTERSIGN_ADMIN_TOKEN_FILE.
pub(super) const ADMIN: &str = "admin";
const PATTERN: &str = "spiffe://trust.domain/path, such with /* at its end, dns:name, token:name or anyone";
const NAME: &str = "1 to 64 letters, digits and . _ -";

/// Reads the part of a policy file that is about callers.
pub(super) fn read(document: &DeTable<'_>, notes: &mut Notes<'_>) -> CallerPolicy {
    let tokens = document.get("tokens").map(|value| read_tokens(value, notes)).unwrap_or_default();
    let proxies = document.get("trusted_proxies").map(|value| read_proxies(value, notes)).unwrap_or_default();
    let callers = document.get("callers").map(|value| read_callers(value, &tokens, notes));
    CallerPolicy { callers, tokens, proxies }
}

fn read_tokens(value: &Value<'_>, notes: &mut Notes<'_>) -> Vec<ServiceToken> {
    let (mut tokens, mut names) = (Vec::new(), HashMap::new());
    for (table, at) in notes.tables(value) {
        let (mut id, mut digests) = (None, Vec::new());
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => id = notes.text(value).and_then(|name| token_id(name, notes)),
                "sha256" => digests = notes.texts(value),
                _ => notes.unknown_key(key, &["name", "sha256"]),
            }
        }
        if !table.contains_key("name") {
            notes.add(&at, "a token needs a `name`");
        }
        if digests.is_empty() {
            notes.add(&at, "a token needs `sha256`, a list of hashes as `countersign policy hash` prints them");
        }
        let Some(id) = id else { continue };
        if let Some(line) = names.insert(id.clone(), notes.line(&at)) {
            notes.add(&at, format!("{id} is there already, on line {line}: list its hashes together"));
        }
        for (text, at) in digests {
            let Some(sha256) = parse_sha256(text) else {
                notes.add(&at, "a SHA-256 has 64 hexadecimal digits");
                continue;
            };
            if tokens.iter().any(|token: &ServiceToken| token.sha256 == sha256) {
                notes.add(&at, "the same hash is there already");
            }
            tokens.push(ServiceToken { id: id.clone(), sha256 });
        }
    }
    tokens
}

fn token_id((name, at): Text<'_>, notes: &mut Notes<'_>) -> Option<CallerId> {
    let id = CallerId::token(name);
    if id.is_none() {
        notes.add(&at, format!("a token's name has {NAME}"));
    } else if name == ADMIN {
        notes.add(&at, "the name `admin` is that of the token in COUNTERSIGN_ADMIN_TOKEN_FILE");
    }
    id
}

fn read_proxies(value: &Value<'_>, notes: &mut Notes<'_>) -> TrustedProxies {
    let mut proxies = TrustedProxies::default();
    for (key, value) in notes.table(value).into_iter().flatten() {
        match key.get_ref().as_ref() {
            "ids" => {
                for (text, at) in notes.texts(value) {
                    let pattern = CallerPattern::parse(text).filter(is_of_certificate);
                    match pattern.map(|pattern| proxies.ids.insert(pattern, ())) {
                        Some(None) => {}
                        Some(Some(())) => notes.add(&at, format!("{text} is there already")),
                        None => notes.add(&at, "expected a SPIFFE id, such with /* at its end, or dns:name"),
                    }
                }
            }
            "addresses" => {
                for (text, at) in notes.texts(value) {
                    match Network::parse(text) {
                        Some(network) => proxies.networks.push(network),
                        None => notes.add(&at, "expected an address or a network, such as 10.0.0.0/8"),
                    }
                }
            }
            _ => notes.unknown_key(key, &["ids", "addresses"]),
        }
    }
    proxies
}

fn is_of_certificate(pattern: &CallerPattern) -> bool {
    match pattern {
        CallerPattern::Exact(id) => id.token_name().is_none(),
        CallerPattern::Below(_) => true,
        CallerPattern::Anyone => false,
    }
}

fn read_callers(value: &Value<'_>, tokens: &[ServiceToken], notes: &mut Notes<'_>) -> Patterns<Arc<Grants>> {
    let mut callers: Patterns<Arc<Grants>> = Patterns::default();
    for (table, at) in notes.tables(value) {
        let (ids, grants) = read_caller(table, &at, notes);
        let grants = Arc::new(grants);
        for (text, at) in ids {
            let Some(pattern) = CallerPattern::parse(text) else {
                notes.add(&at, format!("unknown identity `{text}`, expected {PATTERN}"));
                continue;
            };
            if let CallerPattern::Exact(id) = &pattern
                && let Some(name) = id.token_name()
                && !tokens.iter().any(|token| token.id == *id)
            {
                notes.add(&at, format!("unknown identity `{text}`: no token of this file is called {name}"));
            }
            if let Some(former) = callers.insert(pattern, Arc::clone(&grants)) {
                notes.add(&at, format!("{text} is there already, in the entry of line {}", former.line));
            }
        }
    }
    callers
}

/// The identities that an entry names, and what it grants.
fn read_caller<'v>(table: &'v DeTable<'_>, at: &Range<usize>, notes: &mut Notes<'_>) -> (Vec<Text<'v>>, Grants) {
    let (mut ids, mut grants) = (Vec::new(), Grants { line: notes.line(at), ..Grants::default() });
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "id" => ids.extend(notes.text(value)),
            "ids" => ids.extend(notes.texts(value)),
            "rpcs" => grants.rpcs = read_rpcs(value, notes),
            "audiences" => grants.audiences = Some(owned(&notes.texts(value))),
            "roles" => grants.roles = Some(read_roles(value, notes)),
            "revoke_by_id" => grants.revoke_by_id = notes.boolean(value),
            "name_client_addresses" => grants.name_client_addresses = notes.boolean(value),
            "bind_sessions" => grants.bind_sessions = notes.boolean(value),
            "login_rate" => grants.login_rate = read_rate(value, notes),
            "verify_rate" => grants.verify_rate = read_rate(value, notes),
            _ => notes.unknown_key(key, &CALLER_KEYS),
        }
    }
    if !table.contains_key("id") && !table.contains_key("ids") {
        notes.add(at, "a caller needs an `id`, or `ids`");
    }
    if !table.contains_key("rpcs") {
        notes.add(at, "a caller needs `rpcs`, if only an empty list");
    }
    (ids, grants)
}

fn read_rpcs(value: &Value<'_>, notes: &mut Notes<'_>) -> RpcSet {
    let mut rpcs = RpcSet::default();
    for (text, at) in notes.texts(value) {
        match RpcSet::parse(text) {
            Some(more) => rpcs = rpcs.with(more),
            None => {
                let expected =
                    "expected one as `Verify` or `AuthService/Verify`, all of a service as `UserService/*`, or `*`";
                notes.add(&at, format!("unknown RPC `{text}`, {expected}"));
            }
        }
    }
    rpcs
}

fn read_roles(value: &Value<'_>, notes: &mut Notes<'_>) -> Vec<String> {
    let texts = notes.texts(value);
    for (text, at) in &texts {
        if parse_roles(vec![(*text).to_owned()]).is_err() {
            notes.add(at, format!("`{text}` is no role: 1 to 64 letters, digits and . _ : / -"));
        }
    }
    owned(&texts)
}

fn read_rate(value: &Value<'_>, notes: &mut Notes<'_>) -> Option<RateLimit> {
    let (text, at) = notes.text(value)?;
    let rate = RateLimit::parse(text);
    if rate.is_none() {
        notes.add(&at, format!("`{text}` is no rate: a number from 1 on and /s, /m or /h, as 50/s"));
    }
    rate
}

fn owned(texts: &[Text<'_>]) -> Vec<String> {
    texts.iter().map(|(text, _)| (*text).to_owned()).collect()
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{domain::rpc::Rpc, error::Error};

    fn parse(text: &str) -> Result<CallerPolicy, Error> {
        let mut notes = Notes::new("policy-file", Path::new("p"), text);
        let document = notes.document();
        let policy = read(&document, &mut notes);
        notes.finish(policy)
    }

    /// The lines that are complained of, and the beginning of each complaint.
    fn complaints(text: &str) -> Vec<(usize, String)> {
        let Err(Error::InvalidArgument(violations)) = parse(text) else {
            panic!("accepted: {text}");
        };
        let split = |description: &str| {
            let (line, message) = description.strip_prefix("p:").expect("the file").split_once(": ").expect("a line");
            (line.parse().expect("a number"), message.to_owned())
        };
        violations.iter().map(|violation| split(&violation.description)).collect()
    }

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_policy_says_what_each_caller_may_ask_for() {
        let text = format!(
            "\n[[callers]]\r\nid = \"spiffe://example.org/ns/shop/*\"\r\nrpcs = [\"Verify\", \"UserService/*\"]\naudiences = [\"orders\"]\n\
             roles = [\"reader\"]\nbind_sessions = true\nname_client_addresses = true\nlogin_rate = \"50/s\"\n\
             [[callers]]\nids = [\"token:deploy\", \"anyone\"]\nrpcs = []\n\
             [[tokens]]\nname = \"deploy\"\nsha256 = [\"{HASH}\", \"{}\"]\n\
             [trusted_proxies]\nids = [\"dns:proxy\"]\naddresses = [\"10.0.0.0/8\"]\n",
            "A".repeat(64)
        );
        let policy = parse(&text).expect("sound");
        let callers = policy.callers.expect("a list");
        let web = callers.find(CallerId::parse("spiffe://example.org/ns/shop/web").as_ref()).expect("an entry");
        assert!(
            web.rpcs.contains(Rpc::Verify) && web.rpcs.contains(Rpc::ImportUsers) && !web.rpcs.contains(Rpc::Login)
        );
        assert_eq!(
            (web.audiences.as_deref(), web.roles.as_deref()),
            (Some(&["orders".into()][..]), Some(&["reader".into()][..]))
        );
        assert!(web.bind_sessions && web.name_client_addresses && !web.revoke_by_id);
        assert_eq!((web.login_rate, web.verify_rate, web.line), (RateLimit::parse("50/s"), None, 2));
        assert_eq!(callers.find(None).map(|grants| (grants.rpcs, grants.line)), Some((RpcSet::default(), 10)));
        assert_eq!(policy.tokens.iter().map(|token| token.sha256[0]).collect::<Vec<_>>(), [0x9f, 0xaa]);
        assert!(policy.proxies.has_address("10.1.2.3".parse().ok()) && !policy.proxies.has_address(None));
    }

    #[test]
    fn without_a_list_of_callers_the_defaults_hold() {
        assert!(parse("").expect("sound").callers.is_none());
        assert!(parse("callers = []").expect("sound").callers.expect("a list").is_empty());
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_its_line() {
        let text = format!(
            "[[tokens]]\nname = \"admin\"\nsha256 = [\"{HASH}\"]\n\
             [[tokens]]\nname = \"a b\"\nsha256 = [\"{HASH}\", \"xyz\", 3]\n\
             [[tokens]]\nwhat = 1\n\
             [trusted_proxies]\nids = [\"token:deploy\", \"anyone\", \"dns:a\", \"dns:a\"]\naddresses = [\"10.0.0.1/8\"]\nother = 1\n\
             [[callers]]\nid = \"example.org\"\nrpcs = [\"Verify\", \"Verfy\", 7]\nlogin_rate = \"fast\"\n\
             [[callers]]\nids = [\"token:lost\", \"spiffe://e/x\"]\nroles = [\"a b\"]\nbind_sessions = \"yes\"\n\
             [[callers]]\nid = \"spiffe://e/x\"\nrpcs = \"Verify\"\naudience = []\n\
             [[callers]]\nrpcs = []\n"
        );
        let found = complaints(&text);
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(
            lines,
            [2, 5, 6, 7, 7, 8, 10, 10, 10, 11, 12, 14, 15, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25],
            "{found:#?}"
        );
        for (line, message) in [
            (2, "the name `admin`"),
            (8, "unknown key `what`, expected one of name, sha256"),
            (14, "unknown identity `example.org`"),
            (15, "unknown RPC `Verfy`"),
            (18, "unknown identity `token:lost`: no token"),
            (19, "`a b` is no role"),
            (22, "spiffe://e/x is there already, in the entry of line 17"),
            (24, "unknown key `audience`"),
        ] {
            let said = found.iter().any(|(at, said)| *at == line && said.starts_with(message));
            assert!(said, "{line}: {message}: {found:#?}");
        }
    }

    #[test]
    fn a_hash_is_there_once_and_so_is_a_name() {
        let text = format!(
            "[[tokens]]\nname = \"a\"\nsha256 = [\"{HASH}\"]\n[[tokens]]\nname = \"a\"\nsha256 = [\"{HASH}\"]\n"
        );
        let found: Vec<_> = complaints(&text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, [4, 6]);
    }

    #[test]
    fn what_has_another_shape_is_said() {
        for text in ["callers = 1", "tokens = {}", "trusted_proxies = []", "callers = [1]", "[callers]\nid = \"x\""] {
            assert_eq!(complaints(text).len(), 1, "{text}");
        }
    }
}
