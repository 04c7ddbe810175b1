//! Demands on requests.

use crate::{
    error::{Error, ROLE_MISSING},
    principal::Principal,
};

/// The things that a request needs beside a valid token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    pub(crate) audience: Option<String>,
    roles: Vec<String>,
}

impl Demand {
    /// Any valid token.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also demands that the token is for this service, in place of the verifier's own audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Also demands this role. All that are demanded are needed.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Also demands this scope (RFC 8693 section 4.2): scopes of Countersign's tokens are the roles.
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        self.role(scope)
    }

    pub(crate) fn check(&self, principal: &Principal) -> Result<(), Error> {
        let has_all = self.roles.iter().all(|role| principal.has_role(role));
        if has_all { Ok(()) } else { Err(Error::Forbidden(ROLE_MISSING)) }
    }
}
