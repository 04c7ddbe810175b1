//! The contract of Countersign as Rust: the messages of `countersign.v1`, clients of its services, and the descriptors. Messages
//! with a password, a hash or a token print their names alone (`// SECRET.` in the proto files).
//!
//! Servers generate the traits of the services themselves, over these messages.

pub mod codec;

/// The messages, and the clients of the services.
#[allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("countersign.v1");
    include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
}

/// The descriptors of the services (`google.protobuf.FileDescriptorSet`), for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

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
        assert!(printed.starts_with("LoginRequest(..) LoginResponse(..) "), "{printed}");
    }
}
