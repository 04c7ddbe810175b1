//! The other end of ext_authz: questions as Envoy 1.40 sends them, and answers as it reads them. The numbers of fields are Envoy's,
//! written here once more.

use prost::{Message, Oneof};
use prost_types::Struct;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::{Grpc, GrpcService},
    codegen::{self, Bytes},
};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attributes {
    #[prost(message, optional, tag = "4")]
    pub request: Option<Asked>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub context_extensions: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asked {
    #[prost(message, optional, tag = "2")]
    pub http: Option<Http>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Http {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub method: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub headers: std::collections::BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    pub path: String,
    #[prost(string, tag = "5")]
    pub host: String,
    #[prost(int64, tag = "9")]
    pub size: i64,
    #[prost(string, tag = "11")]
    pub body: String,
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<RawHeaders>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RawHeaders {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Header>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
    #[prost(message, optional, tag = "4")]
    pub dynamic_metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(Denied),
    #[prost(message, tag = "3")]
    Ok(Allowed),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Denied {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    pub body: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Allowed {
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub append: Option<bool>,
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// A question about a request: method, host and path, and its headers.
pub(crate) fn question(method: &str, target: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let (host, path) = target.split_at(target.find('/').expect("a path"));
    let named = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let pseudo = [(":method", method), (":path", path), (":authority", host), (":scheme", "https")];
    let headers = pseudo.iter().chain(headers).map(named).collect();
    let http =
        Http { method: method.to_owned(), path: path.to_owned(), host: host.to_owned(), headers, ..Http::default() };
    let request = Some(Asked { http: Some(http) });
    CheckRequest { attributes: Some(Attributes { request, ..Attributes::default() }) }
}

impl CheckRequest {
    /// The same of a route with these context extensions.
    pub(crate) fn with(mut self, extensions: &[(&str, &str)]) -> Self {
        let named = extensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.attributes.as_mut().expect("attributes").context_extensions = named.collect();
        self
    }

    /// The same as an Envoy sends it that encodes headers raw.
    pub(crate) fn raw(mut self) -> Self {
        let http = self.http();
        let raw = |(key, value): (String, String)| Header { key, raw_value: value.into_bytes(), ..Header::default() };
        let headers = std::mem::take(&mut http.headers).into_iter().map(raw).collect();
        http.header_map = Some(RawHeaders { headers });
        self
    }

    pub(crate) fn http(&mut self) -> &mut Http {
        self.attributes.as_mut().and_then(|found| found.request.as_mut()?.http.as_mut()).expect("a request")
    }
}

/// The decision as Envoy takes it.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passes(Allowed, Struct),
    Denied(u32, Denied),
}

impl Verdict {
    /// The request that passes: the headers that say whose it is.
    pub(crate) fn passes(self) -> Allowed {
        match self {
            Self::Passes(allowed, _) => allowed,
            Self::Denied(status, denied) => panic!("denied with {status}: {}", denied.body),
        }
    }

    /// The status of a denial, and its reason.
    pub(crate) fn denied(&self) -> (u32, String) {
        let Self::Denied(status, denied) = self else { panic!("it passes") };
        let body: serde_json::Value = serde_json::from_str(&denied.body).expect("JSON");
        (*status, body["error"].as_str().expect("a reason").to_owned())
    }
}

/// The value of a header that is set; None if it is not.
pub(crate) fn set<'h>(headers: &'h [HeaderOption], name: &str) -> Option<&'h str> {
    let all = headers.iter().filter_map(|option| option.header.as_ref()).filter(|header| header.key == name);
    let all: Vec<_> = all.collect();
    assert!(all.len() <= 1, "{name} is set twice");
    all.first().map(|header| header.value.as_str())
}

/// The value of a cookie that the client is given.
pub(crate) fn cookie<'h>(headers: &'h [HeaderOption], name: &str) -> Option<&'h str> {
    let cookies =
        headers.iter().filter_map(|option| option.header.as_ref()).filter(|header| header.key == "set-cookie");
    let mut values = cookies.filter_map(|header| header.value.strip_prefix(name)?.strip_prefix('=')?.split(';').next());
    values.next()
}

/// Asks.
pub(crate) async fn check<S>(service: S, question: CheckRequest) -> Result<Verdict, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: codegen::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as codegen::Body>::Error: Into<codegen::StdError>,
{
    ask(service, Request::new(question)).await
}

/// Asks with metadata. Holds each answer against what Envoy would do with it: that no status, or one that does not go with the
/// rest, opens a door.
pub(crate) async fn ask<S>(service: S, question: Request<CheckRequest>) -> Result<Verdict, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: codegen::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as codegen::Body>::Error: Into<codegen::StdError>,
{
    let mut client = Grpc::new(service);
    client.ready().await.map_err(|error| Status::unavailable(error.into().to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
    let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
    let answer = client.unary(question, path, codec).await?.into_inner();
    let status = answer.status.expect("an answer without a status lets everybody in").code;
    Ok(match answer.http_response.expect("an answer says one or the other") {
        HttpResponse::Ok(allowed) => {
            assert_eq!(status, Code::Ok as i32);
            let sets = |option: &HeaderOption| option.append_action == 2 && option.append.is_none();
            assert!(allowed.headers.iter().all(sets), "what a client sends is replaced");
            Verdict::Passes(allowed, answer.dynamic_metadata.unwrap_or_default())
        }
        HttpResponse::Denied(denied) => {
            assert_ne!(status, Code::Ok as i32, "Envoy lets a request pass whatever is beside this status");
            let http = denied.status.as_ref().expect("a status of HTTP").code;
            Verdict::Denied(u32::try_from(http).expect("a status"), denied)
        }
    })
}
