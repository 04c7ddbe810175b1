//! Our reading of tokens beside that of jsonwebtoken: what we accept it accepts, with the same claims, whatever is made of
//! a token; and what it accepts and we do not is a table, which is why we read tokens ourselves.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed; clippy knows test functions only, not their helpers"
)]

mod forge;
mod sides;

use std::cell::Cell;

use countersign_token::algorithm::Algorithm;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::Value;

use forge::{Change, Forge, Member, changes};
use sides::Sides;

const CASES: u32 = 4000;

/// How many tokens the two readers judged in which way.
#[derive(Default)]
struct Tally {
    both: Cell<u32>,
    theirs_alone: Cell<u32>,
    neither: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// Whether each claim that we read has the value that jsonwebtoken reads; one audience may be a string.
fn agree(ours: &Value, theirs: &Value) -> bool {
    let of = |name: &str| match &theirs[name] {
        Value::String(audience) if name == "aud" => Value::from(vec![audience.as_str()]),
        value => value.clone(),
    };
    ours.as_object().expect("object").iter().all(|(name, value)| of(name) == *value)
}

fn token(sides: &Sides, changes: Vec<Change>) -> Vec<u8> {
    let mut forge = Forge::valid(sides);
    changes.into_iter().for_each(|change| forge.apply(change));
    forge.token(sides)
}

fn judge(sides: &Sides, changes: Vec<Change>, tally: &Tally) -> Result<(), TestCaseError> {
    let token = token(sides, changes);
    let text = String::from_utf8_lossy(&token);
    match (sides.ours(&token), sides.theirs(&token)) {
        (Some(ours), Some(theirs)) => {
            prop_assert!(agree(&ours, &theirs), "{text}: {ours} is not {theirs}");
            count(&tally.both);
        }
        (Some(ours), None) => prop_assert!(false, "accepted by us alone: {text}: {ours}"),
        (None, Some(_)) => count(&tally.theirs_alone),
        (None, None) => count(&tally.neither),
    }
    Ok(())
}

/// For a key of this algorithm; that each judgement is met often shows that the property says something.
fn assert_stricter(algorithm: Algorithm) {
    let (sides, tally) = (Sides::new(algorithm), Tally::default());
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&changes(), |changes| judge(&sides, changes, &tally));
    if let Err(failure) = run {
        panic!("{failure}");
    }
    for (judgement, found) in
        [("both", &tally.both), ("jsonwebtoken alone", &tally.theirs_alone), ("neither", &tally.neither)]
    {
        assert!(found.get() > CASES / 20, "accepted by {judgement}: {} of {CASES}", found.get());
    }
}

#[test]
fn with_eddsa_we_accept_nothing_that_jsonwebtoken_refuses() {
    assert_stricter(Algorithm::EdDsa);
}

#[test]
fn with_es256_we_accept_nothing_that_jsonwebtoken_refuses() {
    assert_stricter(Algorithm::Es256);
}

#[test]
fn with_rs256_we_accept_nothing_that_jsonwebtoken_refuses() {
    assert_stricter(Algorithm::Rs256);
}

#[test]
fn with_hs256_we_accept_nothing_that_jsonwebtoken_refuses() {
    assert_stricter(Algorithm::Hs256);
}

/// What jsonwebtoken accepts in a header and we refuse, and why.
const HEADERS: [(&str, &str, &str); 17] = [
    ("typ", r#""JWT""#, "another kind of token (RFC 8725 section 3.11)"),
    ("typ", "null", "no kind"),
    ("kid", r#""../../dev/null""#, "no key of ours"),
    ("crit", r#"["exp"]"#, "what is critical has to be understood (RFC 7515 section 4.1.11)"),
    ("crit", "[]", "and must not be empty"),
    ("b64", "false", "would sign the payload unencoded (RFC 7797)"),
    ("jwk", r#"{"kty":"oct","k":"AAAA"}"#, "a key from the token itself (RFC 8725 section 3.10)"),
    ("jku", r#""https://attacker.example/jwks""#, "a key from an address in the token"),
    ("x5u", r#""https://attacker.example/x5u""#, "the same"),
    ("x5c", r#"["AAAA"]"#, "a certificate from the token"),
    ("x5t", r#""AAAA""#, "names a certificate"),
    ("x5t#S256", r#""AAAA""#, "names a certificate"),
    ("cty", r#""JWT""#, "a token within a token"),
    ("zip", r#""DEF""#, "compression is of JWE"),
    ("enc", r#""A128GCM""#, "encryption is of JWE"),
    ("nonce", r#""x""#, "of ACME"),
    ("x", "1", "we issue no such member"),
];

/// What jsonwebtoken accepts in claims and we refuse, and why. A name that is there is replaced.
const CLAIMS: [(&str, &str, &str); 12] = [
    ("iss", r#"["countersign"]"#, "the issuer is one string (RFC 7519 section 4.1.1)"),
    ("iss", r#"["x","countersign"]"#, "two issuers"),
    ("exp", "18446744073709551615", "a token for ever"),
    ("exp", "9999999999.5", "a date is a whole number with us"),
    ("iat", "9999999999", "issued in the future"),
    ("iat", r#""1""#, "a date is a number"),
    ("sub", r#""root""#, "the subject is a canonical UUID"),
    ("sid", r#""0190A000-0000-7000-8000-000000000000""#, "one session has one name"),
    ("jti", r#""""#, "a token has an id"),
    ("client_id", "null", "RFC 9068 section 2.2"),
    ("epoch", "1.0", "compared as a whole number"),
    ("roles", r#""admin""#, "roles are a list"),
];

fn assert_refused_by_us_alone(sides: &Sides, changes: Vec<Change>, why: &str) {
    let token = token(sides, changes);
    let text = String::from_utf8_lossy(&token);
    assert_eq!(sides.ours(&token), None, "{why}: {text}");
    assert!(sides.theirs(&token).is_some(), "{why}: jsonwebtoken refuses it too: {text}");
}

/// What jsonwebtoken accepts and we refuse, beside single members.
fn other_changes() -> Vec<(Vec<Change>, &'static str)> {
    let long: &'static str = Box::leak(format!("\"{}\"", "a".repeat(8 * 1024)).into_boxed_str());
    let twice =
        |one, other, change: fn(Member) -> Change| vec![change(Member::Add(one, "1")), change(Member::Add(other, "2"))];
    vec![
        (twice("x", "x", Change::Claims), "readers differ on which of two is meant (RFC 7519 section 4)"),
        (twice("x", "\\u0078", Change::Claims), "the same name, written otherwise"),
        (twice("x", "x", Change::Header), "the same in the header"),
        (vec![Change::Claims(Member::Add("x", long))], "longer than any of ours"),
        (vec![Change::Header(Member::Drop("typ"))], "says of no kind"),
        (vec![Change::Header(Member::Drop("kid"))], "names no key"),
    ]
}

#[test]
fn what_jsonwebtoken_accepts_and_we_do_not() {
    for algorithm in Algorithm::ALL {
        let sides = Sides::new(algorithm);
        assert!(sides.ours(&token(&sides, Vec::new())).is_some());
        for (name, value, why) in HEADERS {
            assert_refused_by_us_alone(&sides, vec![Change::Header(Member::Put(name, value))], why);
        }
        for (name, value, why) in CLAIMS {
            assert_refused_by_us_alone(&sides, vec![Change::Claims(Member::Put(name, value))], why);
        }
        for name in ["iat", "jti", "client_id", "auth_time", "sid", "epoch", "roles"] {
            assert_refused_by_us_alone(&sides, vec![Change::Claims(Member::Drop(name))], "a claim is missing");
        }
        for (changes, why) in other_changes() {
            assert_refused_by_us_alone(&sides, changes, why);
        }
    }
}
