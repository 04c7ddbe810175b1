//! What the service promises and how it behaves: the same settings in `serve`, `dev` and the commands that change things.

use std::time::Duration;

use clap::Args;

use super::{
    audit::AuditSettings,
    hints::Hints,
    login::{LoginSettings, Peppering},
    passwords::PasswordSettings,
    restores::AfterRestore,
    rule::Rule,
    sessions::{SessionLimit, SessionSettings},
};
use crate::{
    domain::{
        key::{Algorithm, KeyPolicy},
        moment::DAY,
        revocation::{MAX_ACCESS_TOKEN_TTL, MAX_CLOCK_SKEW},
        rotation::RotationPolicy,
        throttle::LoginFailures,
    },
    error::{Error, Violation},
};

/// What the service promises and how it behaves; the same in `serve` and `dev`.
#[derive(Args, Clone, Debug)]
pub struct PolicySettings {
    /// Claim iss of access tokens
    #[arg(long, env = "COUNTERSIGN_ISSUER", default_value = "countersign")]
    pub issuer: String,

    /// Claim aud of access tokens; give it several times, or with commas, for several
    #[arg(long, env = "COUNTERSIGN_AUDIENCE", default_value = "internal", value_delimiter = ',')]
    pub audience: Vec<String>,

    /// How the next key of access tokens signs: EdDSA, ES256, RS256 or HS256
    #[arg(long, env = "COUNTERSIGN_SIGNING_ALGORITHM", default_value = "EdDSA")]
    pub signing_algorithm: Algorithm,

    /// Length of the next RSA key: 2048, 3072 or 4096
    #[arg(long, env = "COUNTERSIGN_RSA_BITS", default_value_t = 2048)]
    pub rsa_bits: u16,

    /// How long a key is published before it signs, 20m to 30d
    #[arg(long, env = "COUNTERSIGN_KEY_PUBLISH_LEAD", default_value = "1h", value_parser = humantime::parse_duration)]
    pub key_publish_lead: Duration,

    /// How long a key signs until the next one takes over
    #[arg(long, env = "COUNTERSIGN_KEY_LIFETIME", default_value = "30d", value_parser = humantime::parse_duration)]
    pub key_lifetime: Duration,

    /// Where verifiers reach the HTTP port, as http(s)://host[:port][/path]; without it, the issuer if that is such a URL,
    /// and else the host that they ask for
    #[arg(long, env = "COUNTERSIGN_PUBLIC_URL")]
    pub public_url: Option<String>,

    /// Lifetime of an access token, at most 1h
    #[arg(long, env = "COUNTERSIGN_ACCESS_TOKEN_TTL", default_value = "10m", value_parser = humantime::parse_duration)]
    pub access_token_ttl: Duration,

    /// Lifetime of a session, however often it is refreshed
    #[arg(long, env = "COUNTERSIGN_SESSION_TTL", default_value = "30d", value_parser = humantime::parse_duration)]
    pub session_ttl: Duration,

    /// Lifetime of a session that is not refreshed
    #[arg(long, env = "COUNTERSIGN_SESSION_IDLE_TTL", default_value = "14d", value_parser = humantime::parse_duration)]
    pub session_idle_ttl: Duration,

    /// How long an exchanged refresh token gives the same successor again; 0s to 5m
    #[arg(long, env = "COUNTERSIGN_REFRESH_GRACE", default_value = "30s", value_parser = humantime::parse_duration)]
    pub refresh_grace: Duration,

    /// How long an exchanged refresh token whose successor was never used is forgiven; 0s turns it off
    #[arg(long, env = "COUNTERSIGN_REFRESH_LATE_RETRY", default_value = "24h", value_parser = humantime::parse_duration)]
    pub refresh_late_retry: Duration,

    /// Verify refuses when it has not heard of revocations for longer; 2s to 5m
    #[arg(long, env = "COUNTERSIGN_MAX_STALENESS", default_value = "30s", value_parser = humantime::parse_duration)]
    pub max_staleness: Duration,

    /// Signs no tokens while its wall clock is further from the database's; 5s to 1h
    #[arg(long, env = "COUNTERSIGN_MAX_CLOCK_DISTANCE", default_value = "60s", value_parser = humantime::parse_duration)]
    pub max_clock_distance: Duration,

    /// Decides about sessions when the database was restored from a backup that is older than what replicas remember
    #[arg(long, env = "COUNTERSIGN_AFTER_RESTORE", default_value = "ask", value_enum)]
    pub after_restore: AfterRestore,

    /// Whether Postgres tells of revocations (NOTIFY), so that they are known in milliseconds; without, replicas ask ten
    /// times a second
    #[arg(long, env = "COUNTERSIGN_HINTS", default_value = "on", value_enum)]
    pub hints: Hints,

    /// Grace past the end of an access token; 0s to 10s
    #[arg(long, env = "COUNTERSIGN_LEEWAY", default_value = "0s", value_parser = humantime::parse_duration)]
    pub leeway: Duration,

    /// Least number of characters of a new password
    #[arg(long, env = "COUNTERSIGN_PASSWORD_MIN_LENGTH", default_value_t = 15)]
    pub password_min_length: usize,

    /// What else a new password must not be
    #[command(flatten)]
    pub passwords: PasswordSettings,

    /// How many sessions a user may have
    #[command(flatten)]
    pub sessions: SessionSettings,

    /// How long audit events are kept
    #[command(flatten)]
    pub audit: AuditSettings,

    /// How many access tokens are remembered whose signature was verified, 0 to 10000000; 0 means none
    #[arg(long, env = "COUNTERSIGN_VERIFY_CACHE", default_value_t = 50_000)]
    pub verify_cache: usize,

    /// Threads that hash passwords; 0 means one for each core
    #[arg(long, env = "COUNTERSIGN_HASH_THREADS", default_value_t = 0)]
    pub hash_threads: usize,

    /// How many passwords may wait to be hashed
    #[arg(long, env = "COUNTERSIGN_HASH_QUEUE", default_value_t = 128)]
    pub hash_queue: usize,

    /// What a password costs, and how often one may be guessed
    #[command(flatten)]
    pub login: LoginSettings,

    /// How long a stop waits for calls under way
    #[arg(long, env = "COUNTERSIGN_DRAIN_TIMEOUT", default_value = "10s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,
}

/// What the deployment has chosen, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Claim iss.
    pub issuer: String,
    /// What claim aud may hold.
    pub audiences: Vec<String>,
    /// How the next key of access tokens signs.
    pub signing_algorithm: Algorithm,
    /// Length of the next RSA key.
    pub rsa_bits: u16,
    /// How keys rotate.
    pub keys: KeyPolicy,
    /// Where verifiers reach the HTTP port, without a slash at the end, if it is known.
    pub public_url: Option<String>,
    /// Claim client_id, until callers have identities.
    pub client_id: String,
    /// Lifetime of an access token.
    pub access_token_ttl: Duration,
    /// Lifetime of a session.
    pub session_ttl: Duration,
    /// Lifetime of a session that is not refreshed.
    pub session_idle_ttl: Duration,
    /// How many live sessions a user may have; None for any number.
    pub session_limit: Option<SessionLimit>,
    /// How long the row of a session that has ended is kept.
    pub session_retention: Duration,
    /// How long audit events are kept.
    pub audit_retention: Duration,
    /// How exchanged refresh tokens are forgiven.
    pub rotation: RotationPolicy,
    /// The bound of promise P1.
    pub max_staleness: Duration,
    /// The distance of the wall clock from the database's beyond which no tokens are signed.
    pub max_clock_distance: Duration,
    /// The decision about sessions after a restore.
    pub after_restore: AfterRestore,
    /// Whether hints of revocations are sent and listened for.
    pub hints: Hints,
    /// Grace past the end of an access token.
    pub leeway: Duration,
    /// How many verified access tokens are remembered.
    pub verify_cache: usize,
    /// Least number of characters of a new password.
    pub password_min_length: usize,
    /// Whether new password hashes have a pepper.
    pub pepper: Peppering,
    /// How long a Login waits whose caller gives no deadline.
    pub login_deadline: Duration,
    /// How many wrong passwords are free.
    pub login_failures: LoginFailures,
}

impl PolicySettings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names each setting that is out of range.
    pub fn check(&self) -> Result<Policy, Error> {
        let violations: Vec<Violation> = self
            .rules()
            .into_iter()
            .chain(self.login.rules())
            .chain(self.passwords.rules())
            .chain(self.sessions.rules())
            .chain(self.audit.rules())
            .filter(|(_, holds, _)| !holds)
            .map(|(field, _, range)| Violation { field, description: range.to_owned() })
            .collect();
        if violations.is_empty() { Ok(self.policy()) } else { Err(Error::InvalidArgument(violations)) }
    }

    fn rules(&self) -> [Rule; 19] {
        let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
        let text = |value: &str| (1..=256).contains(&value.len()) && value.chars().all(plain);
        // As JSON writes them, so that a token stays below what Verify reads.
        let audience_bytes: usize = self.audience.iter().map(|a| a.len() + 3).sum();
        let audiences = audience_bytes <= 1024 && self.audience.iter().all(|a| text(a));
        let within = |value, from: Duration, to| (from..=to).contains(&value);
        let seconds = Duration::from_secs;
        let (access, session) = (self.access_token_ttl, self.session_ttl);
        let (idle, lead) = (self.session_idle_ttl, self.key_publish_lead);
        [
            ("issuer", text(&self.issuer), "1 to 256 bytes, without quotes and backslashes"),
            ("audience", audiences, "1 to 256 bytes each, without quotes and backslashes, 1 KiB together"),
            ("rsa-bits", [2048, 3072, 4096].contains(&self.rsa_bits), "2048, 3072 or 4096"),
            // Istio keeps a key set for 20 minutes.
            ("key-publish-lead", within(lead, seconds(1200), 30 * DAY), "20m to 30d"),
            ("key-lifetime", within(self.key_lifetime, lead, 3650 * DAY), "key-publish-lead to 10 years"),
            ("public-url", self.public_url.as_deref().is_none_or(is_url), "http(s)://host[:port][/path]"),
            ("access-token-ttl", within(access, seconds(10), MAX_ACCESS_TOKEN_TTL), "10s to 1h"),
            ("session-ttl", within(session, access, 3650 * DAY), "access-token-ttl to 10 years"),
            ("session-idle-ttl", within(idle, access, session), "access-token-ttl to session-ttl"),
            ("refresh-grace", self.refresh_grace <= seconds(300), "0s to 5m"),
            ("refresh-late-retry", self.refresh_late_retry <= 30 * DAY, "0s to 30d"),
            ("max-staleness", within(self.max_staleness, seconds(2), seconds(300)), "2s to 5m"),
            ("max-clock-distance", within(self.max_clock_distance, seconds(5), MAX_CLOCK_SKEW), "5s to 1h"),
            ("leeway", self.leeway <= seconds(10), "0s to 10s"),
            ("password-min-length", (8..=256).contains(&self.password_min_length), "8 to 256"),
            ("verify-cache", self.verify_cache <= 10_000_000, "0 to 10000000"),
            ("hash-threads", self.hash_threads <= 256, "0 to 256"),
            ("hash-queue", (1..=65_536).contains(&self.hash_queue), "1 to 65536"),
            ("drain-timeout", self.drain_timeout <= seconds(600), "0s to 10m"),
        ]
    }

    fn policy(&self) -> Policy {
        Policy {
            issuer: self.issuer.clone(),
            audiences: self.audience.clone(),
            signing_algorithm: self.signing_algorithm,
            rsa_bits: self.rsa_bits,
            keys: KeyPolicy { publish_lead: self.key_publish_lead, lifetime: self.key_lifetime },
            public_url: Some(self.public_url.as_ref().unwrap_or(&self.issuer))
                .filter(|url| is_url(url))
                .map(|url| url.trim_end_matches('/').to_owned()),
            client_id: "default".to_owned(),
            access_token_ttl: self.access_token_ttl,
            session_ttl: self.session_ttl,
            session_idle_ttl: self.session_idle_ttl,
            session_limit: self.sessions.limit(),
            session_retention: self.sessions.session_retention,
            audit_retention: self.audit.audit_retention,
            rotation: RotationPolicy { grace: self.refresh_grace, late_retry: self.refresh_late_retry },
            max_staleness: self.max_staleness,
            max_clock_distance: self.max_clock_distance,
            after_restore: self.after_restore,
            hints: self.hints,
            leeway: self.leeway,
            verify_cache: self.verify_cache,
            password_min_length: self.password_min_length,
            pepper: self.login.password_pepper,
            login_deadline: self.login.login_deadline,
            login_failures: self.login.failures(),
        }
    }
}

impl Policy {
    /// The audiences of a new session: those that were asked for, or all.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that the server is not set up with.
    pub fn choose_audience(&self, asked: Vec<String>) -> Result<Vec<String>, Error> {
        if asked.is_empty() {
            return Ok(self.audiences.clone());
        }
        if !asked.iter().all(|audience| self.audiences.contains(audience)) {
            return Err(Error::invalid("audience", "only audiences that the server is set up with"));
        }
        // In the server's order and without repetitions: a caller cannot make a token large.
        Ok(self.audiences.iter().filter(|audience| asked.contains(audience)).cloned().collect())
    }
}

/// An absolute URL without query, fragment, credentials or what would need escaping.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%".contains(c);
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && rest.chars().all(plain)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        policy: PolicySettings,
    }

    fn check(args: &[&str]) -> Result<Policy, Error> {
        let all = std::iter::once("test").chain(args.iter().copied());
        Command::try_parse_from(all).expect("a form that clap reads").policy.check()
    }

    #[test]
    fn the_defaults_are_those_of_the_readme() {
        let policy = check(&[]).expect("valid");
        assert_eq!(policy.access_token_ttl, Duration::from_secs(600));
        assert_eq!((policy.session_ttl, policy.session_idle_ttl), (30 * DAY, 14 * DAY));
        assert_eq!(policy.rotation.grace, Duration::from_secs(30));
        assert_eq!(policy.max_staleness, Duration::from_secs(30));
        assert_eq!((policy.leeway, policy.password_min_length), (Duration::ZERO, 15));
        assert_eq!((policy.session_limit, policy.session_retention), (None, DAY));
        assert_eq!(policy.audit_retention, 90 * DAY);
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
            ("verify-cache", "10000001"),
            ("hash-threads", "257"),
            ("hash-queue", "0"),
            ("hash-memory", "19455"),
            ("hash-memory", "262145"),
            ("hash-iterations", "17"),
            ("hash-lanes", "0"),
            ("login-deadline", "999ms"),
            ("login-failures", "100"),
            ("login-failures-per-source", "1000001"),
            ("drain-timeout", "11m"),
            ("issuer", "\""),
            ("rsa-bits", "1024"),
            ("key-publish-lead", "19m"),
            ("key-publish-lead", "31d"),
            ("key-lifetime", "59m"),
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
    fn the_public_url_is_the_setting_or_an_issuer_that_is_one() {
        for (args, expected) in [
            (&[][..], None),
            (&["--issuer=https://auth.example/"], Some("https://auth.example")),
            (&["--issuer=x", "--public-url=http://10.0.0.1:8080/a"], Some("http://10.0.0.1:8080/a")),
        ] {
            assert_eq!(check(args).expect("valid").public_url.as_deref(), expected);
        }
    }

    #[test]
    fn an_algorithm_that_is_not_ours_is_refused() {
        for bad in ["none", "HS512", "eddsa", ""] {
            assert!(Command::try_parse_from(["test", "--signing-algorithm", bad]).is_err(), "{bad}");
        }
        let policy = check(&["--signing-algorithm", "RS256", "--rsa-bits", "4096"]).expect("valid");
        assert_eq!((policy.signing_algorithm, policy.rsa_bits), (Algorithm::Rs256, 4096));
    }

    #[test]
    fn a_login_gets_all_audiences_or_some_of_them_and_no_other() {
        let policy = check(&["--audience", "a,b"]).expect("valid");
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(policy.choose_audience(vec![]).expect("all"), ["a", "b"]);
        assert_eq!(policy.choose_audience(names(&["b", "b"])).expect("some"), ["b"]);
        assert!(policy.choose_audience(names(&["b", "c"])).is_err());
    }
}
