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
        let printed = format!("{login:?} {answer:?} {target:?}");
        for secret in ["hunter2", "csr_x", "eyJ"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
