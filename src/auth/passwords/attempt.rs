//! What is to be checked.

use tokio::time::Instant;

use super::throttle::Source;
use crate::domain::{audit::Kind, password::Password, user::Username};

/// A password that is to be checked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Whose it should be.
    pub username: Username,
    /// As it was typed.
    pub password: Password,
    /// Where it was typed.
    pub source: Source,
    /// The caller waits no longer.
    pub until: Option<Instant>,
    /// What it is called when it is refused.
    pub refused_as: Kind,
}
