//! The access tokens: what they say, how long they live, and how they are read.

use std::time::Duration;

use clap::Args;
use countersign_token::revocation::MAX_ACCESS_TOKEN_TTL;

use super::{range::Range, violations::Violations};
use crate::domain::policy::TokenPolicy;

const TTL: Range<Duration> = Range::time("access-token-ttl", Duration::from_secs(10), MAX_ACCESS_TOKEN_TTL);
const LEEWAY: Range<Duration> = Range::time("leeway", Duration::ZERO, Duration::from_secs(10));
const VERIFY_CACHE: Range<usize> = Range::number("verify-cache", 0, 10_000_000);

/// Settings of access tokens: what they say, how long they live, and how they are read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
pub struct TokenSettings {
    /// Claim iss of access tokens
    #[arg(long, env = "COUNTERSIGN_ISSUER", default_value = "countersign")]
    pub issuer: String,

    /// Claim aud of access tokens; give it several times, or with commas, for several
    #[arg(long, env = "COUNTERSIGN_AUDIENCE", default_value = "internal", value_delimiter = ',')]
    pub audience: Vec<String>,

    #[arg(
        long,
        env = "COUNTERSIGN_ACCESS_TOKEN_TTL",
        default_value = "10m",
        value_parser = humantime::parse_duration,
        help = TTL.help("Lifetime of an access token")
    )]
    pub access_token_ttl: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_LEEWAY",
        default_value = "0s",
        value_parser = humantime::parse_duration,
        help = LEEWAY.help("Grace past the end of an access token")
    )]
    pub leeway: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_VERIFY_CACHE",
        default_value_t = 50_000,
        help = VERIFY_CACHE.help("Access tokens that are remembered because their signature was verified; 0 means none")
    )]
    pub verify_cache: usize,

    /// URL by which verifiers reach the HTTP port, as `http(s)://host[:port][/path]`. Without it, the issuer if that is
    /// such a URL, and else localhost alone
    #[arg(long, env = "COUNTERSIGN_PUBLIC_URL")]
    pub public_url: Option<String>,

    /// Access tokens say the user's name (claim preferred_username); proxies then pass it on
    #[arg(long, env = "COUNTERSIGN_TOKEN_USERNAME")]
    pub token_username: bool,
}

impl TokenSettings {
    pub(super) fn check(self, violations: &mut Violations) -> TokenPolicy {
        // As JSON writes them, so that a token stays below what Verify reads.
        let audience_bytes: usize = self.audience.iter().map(|a| a.len() + 3).sum();
        let audiences = audience_bytes <= 1024 && self.audience.iter().all(|a| is_text(a));
        let described = "1 to 256 bytes each, without quotes and backslashes, 1 KiB together";
        violations.require(audiences, "audience", described);
        violations.require(is_text(&self.issuer), "issuer", "1 to 256 bytes, without quotes and backslashes");
        let is_public = self.public_url.as_deref().is_none_or(is_url);
        violations.require(is_public, "public-url", "http(s)://host[:port][/path]");
        TokenPolicy {
            public_url: Some(self.public_url.as_ref().unwrap_or(&self.issuer))
                .filter(|url| is_url(url))
                .map(|url| url.trim_end_matches('/').to_owned()),
            issuer: self.issuer,
            audiences: self.audience,
            access_token_ttl: TTL.check(self.access_token_ttl, violations),
            leeway: LEEWAY.check(self.leeway, violations),
            verify_cache: VERIFY_CACHE.check(self.verify_cache, violations),
            username: self.token_username,
        }
    }
}

/// A claim that JSON writes as it is.
fn is_text(value: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    (1..=256).contains(&value.len()) && value.chars().all(is_plain)
}

/// An absolute URL without query, fragment, credentials or what would need escaping.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%".contains(c);
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && rest.chars().all(plain)
    })
}
