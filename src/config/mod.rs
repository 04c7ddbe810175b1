//! Settings: each by flag and by `COUNTERSIGN_*` variable, read and checked before any port is bound. A section is a file: what
//! clap reads, the ranges, and one check that makes a policy of it. The violations of all sections are reported together.

mod audit;
mod authz;
mod callers;
mod database;
mod environment;
mod file;
mod keys;
mod log;
mod names;
mod passwords;
mod policy_file;
mod range;
mod revocation;
mod routes;
mod server;
mod sessions;
mod shape;
mod throttling;
mod tls;
mod tokens;
mod toml_notes;
mod traces;
mod violations;

use clap::Args;

pub use self::{
    audit::AuditSettings,
    authz::AuthzSettings,
    database::{DatabasePlace, DatabaseSettings},
    environment::{Given, Source, command, given, parse, variables},
    file::{read_file, read_secret_file, warn_if_open},
    keys::{KeySettings, MasterKeySettings},
    log::{LogFormat, LogSettings},
    passwords::{HASH_THREADS, PasswordSettings, hash_threads},
    policy_file::{FilePolicy, Occasion, PolicyFile, Reread, Routes},
    range::Range,
    revocation::RevocationSettings,
    server::{ListenSettings, ServerSettings},
    sessions::SessionSettings,
    throttling::ThrottleSettings,
    tls::{ClientAuthSetting, TlsSettings},
    tokens::TokenSettings,
    traces::trace_policy,
    violations::{Violations, checked},
};
use crate::domain::policy::{
    AuditPolicy, AuthzPolicy, KeyPolicy, PasswordPolicy, RevocationPolicy, SessionPolicy, ThrottlePolicy, TokenPolicy,
};

/// Settings of what the service promises, and how it behaves: the same in `serve`, `dev` and the commands that change things.
#[derive(Args, Clone, Debug)]
pub struct PolicySettings {
    /// Access tokens
    #[command(flatten)]
    pub tokens: TokenSettings,
    /// Keys
    #[command(flatten)]
    pub keys: KeySettings,
    /// Sessions
    #[command(flatten)]
    pub sessions: SessionSettings,
    /// Passwords
    #[command(flatten)]
    pub passwords: PasswordSettings,
    /// Guesses
    #[command(flatten)]
    pub throttling: ThrottleSettings,
    /// Revocations
    #[command(flatten)]
    pub revocation: RevocationSettings,
    /// Audit events
    #[command(flatten)]
    pub audit: AuditSettings,
    /// Proxies and browsers
    #[command(flatten)]
    pub authz: AuthzSettings,
}

/// Policies of the parts of the service.
#[derive(Clone, Debug)]
pub struct Policies {
    /// Access tokens.
    pub tokens: TokenPolicy,
    /// Keys.
    pub keys: KeyPolicy,
    /// Sessions.
    pub sessions: SessionPolicy,
    /// Passwords.
    pub passwords: PasswordPolicy,
    /// Guesses.
    pub throttle: ThrottlePolicy,
    /// Revocations.
    pub revocation: RevocationPolicy,
    /// Choices of audit events.
    pub audit: AuditPolicy,
    /// Choices of answers to proxies, and of sessions of browsers.
    pub authz: AuthzPolicy,
}

impl PolicySettings {
    /// Checks all sections.
    pub fn check(self, violations: &mut Violations) -> Policies {
        let tokens = self.tokens.check(violations);
        Policies {
            keys: self.keys.check(self.passwords.password_pepper, violations),
            sessions: self.sessions.check(tokens.access_token_ttl, violations),
            passwords: self.passwords.check(violations),
            throttle: self.throttling.check(violations),
            revocation: self.revocation.check(violations),
            audit: self.audit.check(violations),
            authz: self.authz.check(violations),
            tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use countersign_token::{algorithm::Algorithm, moment::DAY};

    use super::*;
    use crate::error::Error;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        policy: PolicySettings,
    }

    fn check(args: &[&str]) -> Result<Policies, Error> {
        let all = std::iter::once("test").chain(args.iter().copied());
        let settings = Command::try_parse_from(all).expect("a form that clap reads").policy;
        checked(|violations| settings.check(violations))
    }

    #[test]
    fn the_defaults_are_those_of_the_readme() {
        let Policies { tokens, sessions, passwords, revocation, audit, .. } = check(&[]).expect("valid");
        assert_eq!((tokens.access_token_ttl, tokens.leeway), (Duration::from_secs(600), Duration::ZERO));
        assert_eq!((sessions.ttl, sessions.idle_ttl), (30 * DAY, 14 * DAY));
        assert_eq!(sessions.rotation.grace, Duration::from_secs(30));
        assert_eq!((sessions.limit, sessions.retention), (None, DAY));
        assert_eq!(revocation.max_staleness, Duration::from_secs(30));
        assert_eq!((passwords.min_length, audit.retention, audit.refusal_retention), (15, 90 * DAY, 30 * DAY));
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        for (flag, bad) in [
            ("issuer", ""),
            ("audience", "a,,b"),
            ("access-token-ttl", "61m"),
            ("access-token-ttl", "9s"),
            ("session-ttl", "1m"),
            ("session-idle-ttl", "31d"),
            ("refresh-grace", "301s"),
            ("refresh-late-retry", "31d"),
            ("max-staleness", "1s"),
            ("max-staleness", "301s"),
            ("leeway", "11s"),
            ("password-min-length", "7"),
            ("password-min-score", "5"),
            ("max-sessions-per-user", "10001"),
            ("session-retention", "4h"),
            ("session-retention", "3651d"),
            ("audit-retention", "59m"),
            ("audit-refusal-retention", "59m"),
            ("verify-cache", "10000001"),
            ("hash-threads", "257"),
            ("hash-queue", "0"),
            ("hash-memory", "19455"),
            ("hash-memory", "262145"),
            ("hash-memory", "7167"),
            ("hash-iterations", "17"),
            ("hash-lanes", "0"),
            ("login-deadline", "999ms"),
            ("login-failures", "100"),
            ("login-failures-per-source", "1000001"),
            ("issuer", "\""),
            ("rsa-bits", "1024"),
            ("key-publish-lead", "19m"),
            ("key-publish-lead", "31d"),
            ("key-lifetime", "59m"),
            ("auth-header-prefix", "X-Auth-"),
            ("access-cookie", "a b"),
            ("refresh-cookie", "__Host-countersign-access"),
            ("token-query-parameter", ""),
            ("allowed-origin", "https://a.example/"),
            ("public-url", "auth.example"),
            ("public-url", "https://"),
            ("public-url", "https://u:p@auth.example"),
            ("public-url", "https://auth.example?q"),
        ] {
            let Err(Error::InvalidArgument(violations)) = check(&[&format!("--{flag}={bad}")]) else {
                panic!("--{flag}={bad} was accepted");
            };
            assert!(violations.iter().any(|v| v.field == flag), "--{flag}={bad}: {violations:?}");
        }
    }

    #[test]
    fn the_violations_of_all_sections_are_reported_together() {
        let bad = ["--issuer=", "--session-retention=4h", "--hash-queue=0", "--audit-retention=59m", "--leeway=11s"];
        let Err(Error::InvalidArgument(violations)) = check(&bad) else {
            panic!("accepted");
        };
        let mut named: Vec<&str> = violations.iter().map(|violation| violation.field).collect();
        named.sort_unstable();
        assert_eq!(named, ["audit-retention", "hash-queue", "issuer", "leeway", "session-retention"]);
    }

    #[test]
    fn the_public_url_is_the_setting_or_an_issuer_that_is_one() {
        for (args, expected) in [
            (&[][..], None),
            (&["--issuer=https://auth.example/"], Some("https://auth.example")),
            (&["--issuer=x", "--public-url=http://10.0.0.1:8080/a"], Some("http://10.0.0.1:8080/a")),
        ] {
            assert_eq!(check(args).expect("valid").tokens.public_url.as_deref(), expected);
        }
    }

    #[test]
    fn an_algorithm_that_is_not_ours_is_refused() {
        for bad in ["none", "HS512", "eddsa", ""] {
            assert!(Command::try_parse_from(["test", "--signing-algorithm", bad]).is_err(), "{bad}");
        }
        let policy = check(&["--signing-algorithm", "RS256", "--rsa-bits", "4096"]).expect("valid");
        assert_eq!((policy.keys.algorithm, policy.keys.rsa_bits), (Algorithm::Rs256, 4096));
    }
}
