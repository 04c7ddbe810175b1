//! The keys: what seals them, how the next one is made, and how they rotate.

use std::{env, path::PathBuf, time::Duration};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use countersign_token::{algorithm::Algorithm, moment::DAY};
use zeroize::Zeroizing;

use super::{
    file::read_secret_file,
    range::{Choice, Range},
    violations::Violations,
};
use crate::{
    domain::{
        key::KeyRotation,
        policy::{KeyPolicy, PepperMode},
    },
    error::Error,
};

const RSA_BITS: Choice<3> = Choice { setting: "rsa-bits", values: [2048, 3072, 4096] };
/// Istio keeps a key set for 20 minutes.
const PUBLISH_LEAD: Range<Duration> =
    Range::time("key-publish-lead", Duration::from_secs(1200), DAY.saturating_mul(30));
const LIFETIME: Range<Duration> =
    Range::time("key-lifetime", Duration::ZERO, DAY.saturating_mul(3650)).from_setting("key-publish-lead");

/// Place of the master keys that seal all others: the file, or the variable `COUNTERSIGN_MASTER_KEY`. No flag can set
/// that, because what is on a command line is no secret.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keys")]
pub struct MasterKeySettings {
    /// File with the master keys, 32 bytes in base64 on each line: the first seals, all open. COUNTERSIGN_MASTER_KEY may
    /// hold the same instead
    #[arg(long, env = "COUNTERSIGN_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
}

/// Settings of keys: how they are made, and rotate.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keys")]
pub struct KeySettings {
    /// Algorithm of the next key of access tokens
    #[arg(long, env = "COUNTERSIGN_SIGNING_ALGORITHM", default_value = "EdDSA", value_parser = algorithm())]
    pub signing_algorithm: Algorithm,

    #[arg(
        long,
        env = "COUNTERSIGN_RSA_BITS",
        default_value_t = 2048,
        help = RSA_BITS.help("Length of the next RSA key")
    )]
    pub rsa_bits: u16,

    #[arg(
        long,
        env = "COUNTERSIGN_KEY_PUBLISH_LEAD",
        default_value = "1h",
        value_parser = humantime::parse_duration,
        help = PUBLISH_LEAD.help("Time for which a key is published before it signs")
    )]
    pub key_publish_lead: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_KEY_LIFETIME",
        default_value = "30d",
        value_parser = humantime::parse_duration,
        help = LIFETIME.help("Time for which a key signs until the next one takes over")
    )]
    pub key_lifetime: Duration,
}

impl KeySettings {
    /// Checks them. Peppers are kept among the keys, if the passwords have any.
    pub(super) fn check(self, pepper: PepperMode, violations: &mut Violations) -> KeyPolicy {
        let publish_lead = PUBLISH_LEAD.check(self.key_publish_lead, violations);
        let lifetime = LIFETIME.starting_at(publish_lead).check(self.key_lifetime, violations);
        KeyPolicy {
            algorithm: self.signing_algorithm,
            rsa_bits: RSA_BITS.check(self.rsa_bits, violations),
            rotation: KeyRotation { publish_lead, lifetime },
            pepper,
        }
    }
}

impl MasterKeySettings {
    /// The list of master keys, and the setting that it comes from.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is none, or two, or the file cannot be read.
    pub fn read(&self) -> Result<(&'static str, Zeroizing<String>), Error> {
        let variable =
            env::var("COUNTERSIGN_MASTER_KEY").ok().filter(|list| !list.trim().is_empty()).map(Zeroizing::new);
        match (&self.master_key_file, variable) {
            (Some(path), None) => Ok(("master-key-file", read_secret_file("master-key-file", path)?)),
            (None, Some(list)) => Ok(("COUNTERSIGN_MASTER_KEY", list)),
            (Some(_), Some(_)) => Err(Error::invalid("master-key-file", "not together with COUNTERSIGN_MASTER_KEY")),
            (None, None) => {
                let advice = "needed, or COUNTERSIGN_MASTER_KEY: `countersign keys generate-master` prints a key";
                Err(Error::invalid("master-key-file", advice))
            }
        }
    }
}

fn algorithm() -> impl clap::builder::TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::as_str)).try_map(|name| name.parse::<Algorithm>())
}
