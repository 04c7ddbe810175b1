//! The answers of Verify and VerifyBatch as they are sent: a principal is encoded once for each token, not once for each
//! answer. On the wire a message within a message is a field of bytes; clients read the messages of the contract.

use std::sync::Arc;

use bytes::Bytes;
use countersign_token::error::Rejection;
use prost::{Message, Oneof};
use prost_types::Timestamp;
use time::OffsetDateTime;

use super::{encode, status, v1};
use crate::auth::verified::VerifiedToken;

/// `countersign.v1.VerifyResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct VerifyResponse {
    #[prost(bytes = "bytes", tag = "1")]
    principal: Bytes,
    #[prost(message, optional, tag = "2")]
    revocations_as_of: Option<Timestamp>,
}

/// `countersign.v1.VerifyBatchResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct VerifyBatchResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<VerifyResult>,
    #[prost(message, optional, tag = "2")]
    revocations_as_of: Option<Timestamp>,
}

/// `countersign.v1.VerifyResult`.
#[derive(Clone, PartialEq, Message)]
struct VerifyResult {
    #[prost(oneof = "Verdict", tags = "1, 2")]
    verdict: Option<Verdict>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Verdict {
    #[prost(bytes = "bytes", tag = "1")]
    Principal(Bytes),
    #[prost(enumeration = "v1::Rejection", tag = "2")]
    Rejection(i32),
}

impl VerifyResponse {
    /// The response for a token that is accepted.
    pub fn new(verified: &VerifiedToken, as_of: OffsetDateTime) -> Self {
        Self { principal: principal(verified), revocations_as_of: encode::timestamp(as_of) }
    }
}

impl VerifyBatchResponse {
    /// The response for tokens, in their order.
    pub fn new(verdicts: &[Result<Arc<VerifiedToken>, Rejection>], as_of: OffsetDateTime) -> Self {
        Self { results: verdicts.iter().map(VerifyResult::new).collect(), revocations_as_of: encode::timestamp(as_of) }
    }
}

impl VerifyResult {
    fn new(verdict: &Result<Arc<VerifiedToken>, Rejection>) -> Self {
        let verdict = match verdict {
            Ok(verified) => Verdict::Principal(principal(verified)),
            Err(rejection) => Verdict::Rejection(status::rejection(*rejection).into()),
        };
        Self { verdict: Some(verdict) }
    }
}

fn principal(verified: &VerifiedToken) -> Bytes {
    let encode = || encode::principal(&verified.principal).encode_to_vec().into();
    verified.kept.principal.get_or_init(encode).clone()
}

#[cfg(test)]
mod tests {
    use countersign_token::{
        claims::Principal,
        ids::{SessionId, UserId},
    };

    use super::*;

    fn verified() -> Arc<VerifiedToken> {
        let now = OffsetDateTime::UNIX_EPOCH;
        VerifiedToken::new(Principal {
            user_id: UserId::new(now),
            session_id: SessionId::new(now),
            epoch: 7,
            opened_at: 0,
            token_id: "the token's".to_owned(),
            roles: vec!["reader".to_owned(), "writer".to_owned()],
            audience: vec!["orders".to_owned()],
            username: None,
            issued_at: 1_000,
            starts_at: 1_000,
            expires_at: 1_600,
        })
    }

    #[test]
    fn clients_read_the_messages_of_the_contract() {
        use v1::verify_result::Result as R;
        let (one, other, as_of) = (verified(), verified(), OffsetDateTime::UNIX_EPOCH);
        let [first, last] = [&one, &other].map(|verified| encode::principal(&verified.principal));
        let revocations_as_of = encode::timestamp(as_of);
        // The second time it has been encoded before.
        for _ in 0..2 {
            let sent = VerifyResponse::new(&one, as_of).encode_to_vec();
            let expected = v1::VerifyResponse { principal: Some(first.clone()), revocations_as_of };
            assert_eq!(sent, expected.encode_to_vec());

            let verdicts = [Ok(Arc::clone(&one)), Err(Rejection::Revoked), Ok(Arc::clone(&other))];
            let sent = VerifyBatchResponse::new(&verdicts, as_of).encode_to_vec();
            let revoked = v1::Rejection::TokenRevoked.into();
            let results = [R::Principal(first.clone()), R::Rejection(revoked), R::Principal(last.clone())];
            let results = results.map(|result| v1::VerifyResult { result: Some(result) }).into();
            let expected = v1::VerifyBatchResponse { results, revocations_as_of };
            assert_eq!(sent, expected.encode_to_vec());
        }
    }
}
