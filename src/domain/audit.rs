//! Events that an operator may have to prove later: who logged in or failed to, which sessions were ended, what was
//! changed, and by whom. No event holds a secret, nor a name that no user has: what was typed there may be a password.

use countersign_token::ids::{SessionId, UserId};

use super::{
    revocation::Reason,
    session::ClientInfo,
    user::{User, Username},
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// The kind of the event.
    pub kind: Kind,
    /// The actor of the event.
    pub actor: Actor,
    /// The user whom the event is about.
    pub user: Option<(UserId, Username)>,
    /// The session that the event is about.
    pub session: Option<SessionId>,
    /// The reason: a [`Reason`] or a [`Failure`]; empty if there is nothing to say.
    pub reason: &'static str,
    /// Details: roles, or a key's purpose and name.
    pub detail: String,
    /// The client, as far as the caller has said.
    pub client: ClientInfo,
    /// Identity of the caller that was refused; empty if it has none, and for other events.
    pub caller: String,
    /// Number of sessions that ended, of users that were written, or of equal events that this one stands for.
    pub count: u32,
}

/// The names that a caller gave to its call, so that what is written of it can be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallNames {
    /// The header `x-request-id`.
    pub request_id: Option<String>,
    /// The trace in the header `traceparent`.
    pub trace_id: Option<String>,
}

/// The reason for which a session ends, and from where somebody made it end, as far as the caller has said.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The reason of the end.
    pub reason: Reason,
    /// The client, as far as the caller has said.
    pub client: ClientInfo,
    /// The names of the call that ends it.
    pub call: CallNames,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self { reason, client: ClientInfo::default(), call: CallNames::default() }
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The name as it is stored and logged.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

names! {
    /// Kinds of events.
    Kind {
        /// A session was opened.
        LoginSucceeded = "login_succeeded",
        /// A Login was refused.
        LoginFailed = "login_failed",
        /// A session ended before its time.
        SessionEnded = "session_ended",
        /// All sessions of a user ended, perhaps but one.
        SessionsEnded = "sessions_ended",
        /// An old refresh token came back, and its session ended.
        RefreshTokenReused = "refresh_token_reused",
        /// A user was created.
        UserCreated = "user_created",
        /// Users were imported.
        UsersImported = "users_imported",
        /// All users were read, with their password hashes.
        UsersExported = "users_exported",
        /// All peppers were read.
        PeppersExported = "peppers_exported",
        /// The roles of a user changed.
        RolesChanged = "roles_changed",
        /// A user may not log in any more.
        UserDisabled = "user_disabled",
        /// A user may log in again.
        UserEnabled = "user_enabled",
        /// A user was deleted.
        UserDeleted = "user_deleted",
        /// A password was set or changed.
        PasswordChanged = "password_changed",
        /// A ChangePassword was refused.
        PasswordChangeFailed = "password_change_failed",
        /// A caller was refused what it may not do.
        CallerRefused = "caller_refused",
        /// The sessions of a database that was restored from a backup live.
        RestoreAccepted = "restore_accepted",
        /// A key was made.
        KeyCreated = "key_created",
        /// A key began to sign.
        KeyActivated = "key_activated",
        /// A key that signs nothing was deleted.
        KeyDeleted = "key_deleted",
        /// A key was killed.
        KeyKilled = "key_killed",
        /// A key was sealed with another master key.
        KeyResealed = "key_resealed",
    }
}

names! {
    /// Actors of events.
    Actor {
        /// A caller that has the user's password, or a token of the session.
        User = "user",
        /// A caller that administers over gRPC.
        Administrator = "administrator",
        /// A caller that may not do what it asked for.
        Caller = "caller",
        /// `countersign` on a machine that reaches the database.
        CommandLine = "command_line",
        /// The service itself.
        Server = "server",
    }
}

names! {
    /// Reasons for which a password was of no use.
    Failure {
        /// No user has the name.
        UnknownUser = "unknown_user",
        /// The password was not the user's.
        WrongPassword = "wrong_password",
        /// The password was right, and the user may not log in.
        UserDisabled = "user_disabled",
        /// The password was not looked at: there were too many wrong ones.
        Throttled = "throttled",
        /// The password was right by a hash without a pepper, where one is required.
        WithoutPepper = "without_pepper",
        /// The password was right, and the user has as many sessions as it may.
        SessionLimit = "session_limit",
    }
}

names! {
    /// Reasons for which a caller was refused.
    Denial {
        /// The caller is known, and the policy does not let it do this.
        NotAllowed = "not_allowed",
        /// The caller showed nothing that says who it is.
        NoCredential = "no_credential",
        /// The caller's certificate has several names of kind URI: X.509-SVID section 2 allows one.
        SeveralUris = "several_uri_names",
        /// The caller's certificate has a name of kind URI that is no SPIFFE id of a workload.
        NotSpiffe = "uri_name_not_spiffe",
        /// The caller's certificate has no name by which callers are known.
        NoName = "certificate_without_name",
        /// A trusted proxy did not say whose request it passes on.
        NotForwarded = "no_forwarded_certificate",
        /// A trusted proxy said it in a form that cannot be read.
        ForwardedMalformed = "forwarded_certificate_malformed",
    }
}

impl Event {
    /// An event of which nothing more is known.
    pub fn new(kind: Kind, actor: Actor) -> Self {
        Self {
            kind,
            actor,
            user: None,
            session: None,
            reason: "",
            detail: String::new(),
            client: ClientInfo::default(),
            caller: String::new(),
            count: 1,
        }
    }

    /// The event, about `user`.
    pub fn about(self, user: &User) -> Self {
        Self { user: Some((user.id, user.username.clone())), ..self }
    }

    /// The event, as one that happened so often, or to so many.
    pub fn times(self, count: usize) -> Self {
        Self { count: u32::try_from(count).unwrap_or(u32::MAX), ..self }
    }

    /// The event, with this detail.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

impl Kind {
    /// The kind of event for the end of one session for `reason`.
    pub fn of_end(reason: Reason) -> Self {
        match reason {
            Reason::Reuse => Self::RefreshTokenReused,
            _ => Self::SessionEnded,
        }
    }
}

impl Actor {
    /// The actor that ends a session for `reason`, where `operator` administers.
    pub fn of_end(reason: Reason, operator: Self) -> Self {
        match reason {
            Reason::LoggedOut => Self::User,
            Reason::Reuse | Reason::SessionLimit | Reason::Restored => Self::Server,
            _ => operator,
        }
    }
}
