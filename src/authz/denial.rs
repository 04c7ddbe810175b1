//! Denials: requests that may not pass, and why. What went wrong on our side is none: that is an error (promise P4).

use std::time::Duration;

use crate::{
    auth::tokens::TokenPair,
    edge::{Answer, Class, retry_after},
    error::Error,
};

/// A denial of a request.
#[derive(Debug)]
pub struct Denial {
    /// The class: [`Class::Unauthenticated`], [`Class::PermissionDenied`] or [`Class::ResourceExhausted`].
    pub class: Class,
    /// The reason that programs read.
    pub reason: &'static str,
    /// The message that people read.
    pub message: &'static str,
    /// The pause after which the client may try again.
    pub retry_after: Option<Duration>,
    /// Are the browser's cookies worth nothing any more, so that they are taken away?
    pub clears_cookies: bool,
    /// The login page, for a browser that wants to show a page.
    pub login: Option<String>,
    /// The tokens with which the browser's session went on within the call; the former ones are used up.
    pub renewed: Option<Box<TokenPair>>,
}

/// The reason of a request without a token.
pub(super) const TOKEN_MISSING: &str = "TOKEN_MISSING";

impl Denial {
    fn new(class: Class, reason: &'static str, message: &'static str) -> Self {
        Self { class, reason, message, retry_after: None, clears_cookies: false, login: None, renewed: None }
    }

    /// No token came.
    pub(super) fn token_missing() -> Self {
        Self::new(Class::Unauthenticated, TOKEN_MISSING, "an access token is needed")
    }

    /// The token that came is none, or could be read in two ways.
    pub(super) fn token_malformed() -> Self {
        Self::new(Class::Unauthenticated, "TOKEN_MALFORMED", "access token not accepted")
    }

    /// The token lacks an audience.
    pub(super) fn audience_missing() -> Self {
        Self::new(Class::PermissionDenied, "TOKEN_AUDIENCE_MISMATCH", "the token is for other services")
    }

    /// The token lacks a role.
    pub(super) fn role_missing() -> Self {
        Self::new(Class::PermissionDenied, "ROLE_MISSING", "the user lacks a role")
    }

    /// Servers may read the path in different ways.
    pub(super) fn route_ambiguous() -> Self {
        Self::new(Class::PermissionDenied, "ROUTE_AMBIGUOUS", "the path or the host can be read in two ways")
    }

    /// The route asks for what we do not know.
    pub fn route_misconfigured() -> Self {
        Self::new(Class::PermissionDenied, "ROUTE_MISCONFIGURED", "the route asks for what is not known")
    }

    /// The denial that an error means; the error itself if it is ours.
    pub(super) fn of(error: Error) -> Result<Self, Error> {
        let Answer { class, reason, message, .. } = Answer::of(&error);
        match class {
            Class::Unauthenticated | Class::ResourceExhausted => {
                Ok(Self { retry_after: retry_after(&error), ..Self::new(class, reason, message) })
            }
            _ => Err(error),
        }
    }
}
