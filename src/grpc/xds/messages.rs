//! The messages of Envoy's services of discovery, with its numbers of fields and without the fields that we do not need (package
//! `envoy.service.discovery.v3`).

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use prost_types::Duration;

/// `DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct DeltaDiscoveryRequest {
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    #[prost(string, tag = "2")]
    pub type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    #[prost(map = "string, string", tag = "5")]
    pub initial_resource_versions: HashMap<String, String>,
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<ErrorDetail>,
}

/// `config.core.v3.Node`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct Node {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct ErrorDetail {
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct DeltaDiscoveryResponse {
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub type_url: String,
    #[prost(string, tag = "5")]
    pub nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// `Resource`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::grpc) struct Resource {
    #[prost(string, tag = "1")]
    pub version: String,
    /// `google.protobuf.Any`, encoded before.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub resource: Option<Bytes>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(message, optional, tag = "6")]
    pub ttl: Option<Duration>,
}
