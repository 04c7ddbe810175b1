//! Policies: the choices of a deployment, checked. Each part of the service is given its own. Reading them is `config`'s.

use std::{path::PathBuf, time::Duration};

use countersign_token::algorithm::Algorithm;

use super::{
    connection::ConnectionPolicy, key::KeyRotation, password::HashCost, proxy_lists::ProxyLists,
    rotation::RotationPolicy, throttle::LoginFailures,
};
use crate::error::Error;

/// Distance of a server's wall clock from the database's up to which nothing is said.
pub const CLOCK_DISTANCE: Duration = Duration::from_secs(5);

/// Choices of access tokens: what they say, and how they are read.
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// The claim `iss`.
    pub issuer: String,
    /// Names that claim aud may hold.
    pub audiences: Vec<String>,
    /// URL by which verifiers reach the HTTP port, without a slash at the end, if it is known.
    pub public_url: Option<String>,
    /// Lifetime of an access token.
    pub access_token_ttl: Duration,
    /// Grace past the end of an access token.
    pub leeway: Duration,
    /// Number of verified access tokens that are remembered.
    pub verify_cache: usize,
    /// Do tokens say the user's name?
    pub username: bool,
}

/// Choices of keys: how they are made, and rotate.
#[derive(Clone, Copy, Debug)]
pub struct KeyPolicy {
    /// Algorithm of the next key of access tokens.
    pub algorithm: Algorithm,
    /// Length of the next RSA key.
    pub rsa_bits: u16,
    /// Times of rotation.
    pub rotation: KeyRotation,
    /// Choice of a pepper for new password hashes.
    pub pepper: PepperMode,
}

/// Choices of sessions: how long they live, and how many a user may have.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// Lifetime of a session.
    pub ttl: Duration,
    /// Lifetime of a session that is not refreshed.
    pub idle_ttl: Duration,
    /// Most live sessions of a user; None for any number.
    pub limit: Option<SessionLimit>,
    /// Time for which the row of a session that has ended is kept.
    pub retention: Duration,
    /// Forgiveness of exchanged refresh tokens.
    pub rotation: RotationPolicy,
}

/// Choices of passwords: what a new one must not be, and what a hash costs.
#[derive(Clone, Debug)]
pub struct PasswordPolicy {
    /// Least number of characters of a new password.
    pub min_length: usize,
    /// File of passwords that nobody may choose.
    pub blocklist: Option<PathBuf>,
    /// Least strength of a new password by zxcvbn; 0 for any.
    pub min_score: u8,
    /// Choice of a pepper for new password hashes.
    pub pepper: PepperMode,
    /// Choice of weak hashes that an import brings.
    pub weak_hashes: WeakHashes,
    /// Threads that hash, and the cost of a hash.
    pub hashing: HashPolicy,
}

/// Settings of the hashing threads.
#[derive(Clone, Copy, Debug)]
pub struct HashPolicy {
    /// Number of threads that hash.
    pub threads: usize,
    /// Number of passwords that may wait.
    pub queue: usize,
    /// Cost of a new hash.
    pub cost: HashCost,
}

/// Limits of guessing passwords.
#[derive(Clone, Copy, Debug)]
pub struct ThrottlePolicy {
    /// Time for which a Login waits whose caller gives no deadline.
    pub deadline: Duration,
    /// Number of wrong passwords that are free.
    pub failures: LoginFailures,
}

/// Choices of audit events: how long they are kept.
#[derive(Clone, Copy, Debug)]
pub struct AuditPolicy {
    /// Time for which any event is kept at most.
    pub retention: Duration,
    /// Time for which an event of a refusal is kept at most.
    pub refusal_retention: Duration,
}

/// The policy of revocations: their bounds, and the way they spread.
#[derive(Clone, Copy, Debug)]
pub struct RevocationPolicy {
    /// The bound of promise P1.
    pub max_staleness: Duration,
    /// The distance of the wall clock from the database's beyond which no tokens are signed.
    pub max_clock_distance: Duration,
    /// Choice of announcing revocations by NOTIFY.
    pub notifications: Notifications,
    /// The decision about sessions after a restore.
    pub after_restore: AfterRestore,
    /// True if a revocation is confirmed only when the proxies that replicas tell have confirmed it too.
    pub proxies_confirm: bool,
}

/// Choices of a server as a process.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    /// Time for which a stop goes on serving while it says that it is not ready.
    pub lame_duck: Duration,
    /// Time for which a stop waits for calls under way.
    pub drain_timeout: Duration,
    /// The bounds of connections.
    pub connections: ConnectionPolicy,
    /// The file with the lists and tables that flags cannot say.
    pub policy_file: Option<PathBuf>,
}

/// Choices of answers to proxies, and of the sessions of browsers.
#[derive(Clone, Debug)]
pub struct AuthzPolicy {
    /// The beginning of the names of headers that say whose a request is.
    pub header_prefix: String,
    /// Name of the cookie with an access token.
    pub access_cookie: String,
    /// Name of the cookie with a refresh token.
    pub refresh_cookie: String,
    /// Name of a query parameter with an access token, if one may be there.
    pub query_parameter: Option<String>,
    /// Time after which a proxy that verifies tokens by itself refuses them, if nothing is confirmed to it.
    pub proxy_ttl: Duration,
    /// The form in which such a proxy is told what has ended.
    pub proxy_lists: ProxyLists,
    /// Is the access token removed from what a proxy passes on?
    pub remove_token: bool,
    /// Choice of forward auth.
    pub forward_auth: ForwardAuth,
    /// Choice of sessions of browsers.
    pub browser_sessions: BrowserSessions,
    /// Origins, beside that of a request itself, whose pages may log in and out, and to which a login may return.
    pub allowed_origins: Vec<String>,
}

/// Choice of forward auth: how a proxy names the request that it asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardAuth {
    /// There is none.
    Off,
    /// Not at all: the token alone decides.
    Token,
    /// Headers `X-Original-Method`, `X-Original-URI` and `X-Original-Host`.
    XOriginal,
    /// Headers `X-Forwarded-Method`, `X-Forwarded-Uri` and `X-Forwarded-Host`.
    XForwarded,
    /// The method and host of its own request, and the path behind `/forward-auth`.
    Path,
}

/// Choice of sessions that browsers keep in cookies. A later one has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrowserSessions {
    /// There are none.
    Off,
    /// `/session` for scripts of pages.
    Endpoints,
    /// A login page too.
    LoginPage,
}

/// Limit of the live sessions of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// Largest number of sessions, at least one.
    pub most: u32,
    /// Action of a Login that would open one more.
    pub action: SessionLimitAction,
}

/// Action of a Login at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLimitAction {
    /// End the user's oldest sessions.
    EndOldest,
    /// Refuse the Login.
    Refuse,
}

/// The choice whether revocations are announced by NOTIFY. A notification that is lost costs time, never correctness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notifications {
    /// Announce revocations.
    On,
    /// Let replicas poll.
    Off,
}

/// The choice whether new password hashes have a pepper. Those that are stored are checked with theirs in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PepperMode {
    /// New hashes have one.
    On,
    /// New hashes have one, and a stored hash without one is of no use: nobody can have made it but with the keys.
    Required,
    /// New hashes have none.
    Off,
}

/// The choice whether an import takes hashes that are cheap to guess. Those that are stored are checked in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakHashes {
    /// Take them.
    Take,
    /// Refuse their rows.
    Refuse,
}

/// The decision about sessions that were opened before a restore, where revocations may be lost that no replica remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRestore {
    /// Refresh none of them until an operator decides.
    Ask,
    /// End all sessions.
    EndAll,
    /// Let them live, those too that had ended since the backup.
    Accept,
}

impl TokenPolicy {
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

impl SessionLimitAction {
    /// All actions, by the names that settings give them.
    pub const NAMES: [(&str, Self); 2] = [("end-oldest", Self::EndOldest), ("refuse", Self::Refuse)];
}

impl Notifications {
    /// All choices, by the names that settings give them.
    pub const NAMES: [(&str, Self); 2] = [("on", Self::On), ("off", Self::Off)];

    /// True if revocations are announced.
    pub fn are_on(self) -> bool {
        self == Self::On
    }
}

impl PepperMode {
    /// All modes, by the names that settings give them.
    pub const NAMES: [(&str, Self); 3] = [("on", Self::On), ("required", Self::Required), ("off", Self::Off)];

    /// True if new hashes have a pepper.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }
}

impl WeakHashes {
    /// All choices, by the names that settings give them.
    pub const NAMES: [(&str, Self); 2] = [("on", Self::Take), ("off", Self::Refuse)];
}

impl AfterRestore {
    /// All decisions, by the names that settings give them.
    pub const NAMES: [(&str, Self); 3] = [("ask", Self::Ask), ("end-all", Self::EndAll), ("accept", Self::Accept)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_gets_all_audiences_or_some_of_them_and_no_other() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let policy = TokenPolicy {
            issuer: "issuer".to_owned(),
            audiences: names(&["a", "b"]),
            public_url: None,
            access_token_ttl: Duration::from_secs(600),
            leeway: Duration::ZERO,
            verify_cache: 0,
            username: false,
        };
        assert_eq!(policy.choose_audience(vec![]).expect("all"), ["a", "b"]);
        assert_eq!(policy.choose_audience(names(&["b", "b"])).expect("some"), ["b"]);
        assert!(policy.choose_audience(names(&["b", "c"])).is_err());
    }
}
