//! What an operator may have to prove later: who logged in or failed to, which sessions were ended, what was changed, and
//! by whom. No event holds a secret, nor a name that no user has: what was typed there may be a password.

use countersign_token::ids::{SessionId, UserId};

use super::{
    revocation::Reason,
    session::ClientInfo,
    user::{User, Username},
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Who did it.
    pub actor: Actor,
    /// Whom it is about.
    pub user: Option<(UserId, Username)>,
    /// Which session it is about.
    pub session: Option<SessionId>,
    /// Why: a [`Reason`] or a [`Failure`]; empty if there is nothing to say.
    pub reason: &'static str,
    /// What exactly: roles, or a key's purpose and name.
    pub detail: String,
    /// As far as the caller has said.
    pub client: ClientInfo,
    /// How many sessions ended, users were written, or equal events it stands for.
    pub count: u32,
}

/// Why a session ends, and from where somebody made it end, as far as the caller has said.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// From where.
    pub client: ClientInfo,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self { reason, client: ClientInfo::default() }
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
            /// As it is stored and logged.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

names! {
    /// What happened.
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
    /// Who did something.
    Actor {
        /// Who has the user's password, or a token of the session.
        User = "user",
        /// A caller that administers over gRPC.
        Administrator = "administrator",
        /// `countersign` on a machine that reaches the database.
        CommandLine = "command_line",
        /// The service itself.
        Server = "server",
    }
}

names! {
    /// Why a password was of no use.
    Failure {
        /// No user has the name.
        UnknownUser = "unknown_user",
        /// It was not the user's.
        WrongPassword = "wrong_password",
        /// It was the user's, who may not log in.
        UserDisabled = "user_disabled",
        /// It was not looked at: there were too many wrong ones.
        Throttled = "throttled",
        /// It was right, and the user has as many sessions as it may.
        SessionLimit = "session_limit",
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
            count: 1,
        }
    }

    /// It is about `user`.
    pub fn about(self, user: &User) -> Self {
        Self { user: Some((user.id, user.username.clone())), ..self }
    }

    /// It happened so often, or to so many.
    pub fn times(self, count: usize) -> Self {
        Self { count: u32::try_from(count).unwrap_or(u32::MAX), ..self }
    }

    /// What exactly happened.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

impl Kind {
    /// What the end of one session is called that ends for `reason`.
    pub fn of_end(reason: Reason) -> Self {
        match reason {
            Reason::Reuse => Self::RefreshTokenReused,
            _ => Self::SessionEnded,
        }
    }
}

impl Actor {
    /// Who ends a session for `reason`, where `operator` administers.
    pub fn of_end(reason: Reason, operator: Self) -> Self {
        match reason {
            Reason::LoggedOut => Self::User,
            Reason::Reuse | Reason::SessionLimit | Reason::Restored => Self::Server,
            _ => operator,
        }
    }
}
