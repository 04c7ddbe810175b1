//! Debug for the messages that carry a secret (`SECRET` in build.rs): their name and nothing else.

use std::fmt;

use super::v1;

macro_rules! redacted {
    ($($message:ty),+ $(,)?) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(..)"))
            }
        }
    )+};
}

redacted!(
    v1::TokenPair,
    v1::LoginRequest,
    v1::LoginResponse,
    v1::VerifyRequest,
    v1::VerifyBatchRequest,
    v1::RefreshRequest,
    v1::RevokeRequest,
    v1::revoke_request::Target,
    v1::CreateUserRequest,
    v1::SetPasswordRequest,
    v1::ChangePasswordRequest,
    v1::ImportedUser,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r63_messages_never_print_their_secrets() {
        let login = v1::LoginRequest { password: "hunter2".into(), ..Default::default() };
        let tokens = v1::TokenPair { refresh_token: "csr_x".into(), ..Default::default() };
        let answer = v1::LoginResponse { tokens: Some(tokens), device_hint: "csd_x".into() };
        let target = v1::revoke_request::Target::AccessToken("eyJ".into());
        let user = v1::ImportedUser { password_hash: "$2b$".into(), ..Default::default() };
        let import = v1::ImportUsersRequest { dry_run: false, users: vec![user] };
        let printed = format!("{login:?} {answer:?} {target:?} {import:?}");
        for secret in ["hunter2", "csr_x", "eyJ", "$2b$"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
