//! The messages of Envoy that we write: of package `envoy.service.auth.v3` and of those that it imports. They have its numbers of
//! fields, and not the fields that we do not need.

use std::fmt;

use bytes::Bytes;
use prost::Message;

/// `CheckResponse` of a request that may pass. The parts are encoded before, as each is known.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::grpc) struct OkResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    /// `OkHttpResponse`.
    #[prost(bytes = "bytes", tag = "3")]
    pub ok: Bytes,
    /// `google.protobuf.Struct`.
    #[prost(bytes = "bytes", tag = "4")]
    pub dynamic_metadata: Bytes,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::grpc) struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

/// `CheckResponse` of a request that may not pass.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::grpc) struct DeniedResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    #[prost(message, optional, tag = "2")]
    pub denied: Option<DeniedHttpResponse>,
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::grpc) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `google.rpc.Status`, of which Envoy reads the code.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::grpc) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// `HeaderAppendAction`.
    #[prost(int32, tag = "3")]
    pub append_action: i32,
    /// Is a header without a value one? Envoy leaves it away otherwise.
    #[prost(bool, tag = "4")]
    pub keep_empty_value: bool,
}

/// `config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::grpc) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `APPEND_IF_EXISTS_OR_ADD`.
const APPEND: i32 = 0;
/// `OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: i32 = 2;

impl HeaderValueOption {
    /// Sets a header, whatever was there before.
    pub(super) fn set(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(key, value, OVERWRITE)
    }

    /// Adds a header beside others of its name.
    pub(super) fn add(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(key, value, APPEND)
    }

    fn new(key: impl Into<String>, value: impl Into<String>, append_action: i32) -> Self {
        let header = HeaderValue { key: key.into(), value: value.into() };
        Self { header: Some(header), append_action, keep_empty_value: true }
    }
}

/// Prints the names alone: headers hold tokens and cookies.
macro_rules! redacted {
    ($($message:ident),*) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(..)"))
            }
        })*
    };
}

redacted!(OkResponse, OkHttpResponse, DeniedResponse, DeniedHttpResponse, HeaderValueOption, HeaderValue);
