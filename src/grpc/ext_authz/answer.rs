//! Answers of Check. An empty CheckResponse lets everybody in, so there is none: an [`Answer`] is made of a decision alone, and is
//! encoded then.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use countersign_token::claims::Principal;
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::json;
use tonic::Code;

use super::messages::{
    DeniedHttpResponse, DeniedResponse, HeaderValueOption, HttpStatus, OkHttpResponse, OkResponse, RpcStatus,
};
use crate::{
    authz::{Allowed, AskedRequest, Denial, cookies, identity},
    crypto::secret::Secret,
    domain::policy::AuthzPolicy,
    edge::Class,
    grpc::status::{REASON, status_of},
};

/// An answer of Check, encoded.
#[derive(Debug)]
pub(in crate::grpc) struct Answer(Bytes);

/// The answers to requests, as the deployment has chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers<'p> {
    pub policy: &'p AuthzPolicy,
    /// The request.
    pub asked: &'p AskedRequest<'p>,
    /// The time.
    pub now: time::OffsetDateTime,
}

impl Answer {
    pub(super) fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Answers<'_> {
    /// The answer that lets a request pass.
    pub(super) fn allowed(&self, allowed: &Allowed) -> Answer {
        let [headers, dynamic_metadata] = match &allowed.token {
            Some(token) => token.kept.checked.get_or_init(|| self.about(Some(&token.principal))).clone(),
            None => self.about(None),
        };
        let changes = self.changes(allowed).encode_to_vec();
        // The fields of a message may come in parts.
        let ok = if changes.is_empty() { headers } else { [headers.as_ref(), &changes].concat().into() };
        let status = Some(RpcStatus::default());
        Answer(OkResponse { status, ok, dynamic_metadata }.encode_to_vec().into())
    }

    /// The headers that say whose the request is, and the same as metadata.
    fn about(&self, principal: Option<&Principal>) -> [Bytes; 2] {
        let header = |(name, value)| HeaderValueOption::set(format!("{}{name}", self.policy.header_prefix), value);
        let headers = identity::NAMES.into_iter().zip(identity::values(principal)).map(header).collect();
        let ok = OkHttpResponse { headers, ..OkHttpResponse::default() };
        [ok.encode_to_vec().into(), metadata(principal).encode_to_vec().into()]
    }

    /// The changes of what is passed on, and of the answer to the client.
    fn changes(&self, allowed: &Allowed) -> OkHttpResponse {
        let mut changes = OkHttpResponse::default();
        let removes = self.policy.remove_token;
        if removes {
            // Wherever there is one, whichever counted.
            if self.asked.has_bearer() {
                changes.headers_to_remove.push("authorization".to_owned());
            }
            changes.query_parameters_to_remove.extend(self.policy.query_parameter.clone());
        }
        let access = match &allowed.renewed {
            _ if removes => cookies::PassedOn::Removed,
            Some(tokens) => cookies::PassedOn::Renewed(tokens.access_token.expose()),
            None => cookies::PassedOn::AsItCame,
        };
        match cookies::passed_on(&self.asked.cookies, self.policy, access) {
            Some(rest) if rest.expose().is_empty() => changes.headers_to_remove.push("cookie".to_owned()),
            Some(rest) => changes.headers.push(HeaderValueOption::set("cookie", rest.expose())),
            None => {}
        }
        let set = allowed.renewed.as_ref().map(|tokens| cookies::set(tokens, self.policy, self.now));
        let cleared = allowed.clears_cookies.then(|| cookies::clear(self.policy));
        changes.response_headers_to_add = set.or(cleared).iter().flatten().map(set_cookie).collect();
        if !changes.response_headers_to_add.is_empty() {
            // What the application lets caches keep is not to carry a session to others (RFC 9111 section 7.3).
            changes.response_headers_to_add.push(HeaderValueOption::set("cache-control", "private, no-store"));
        }
        changes
    }

    /// The answer that does not let a request pass.
    pub(super) fn denied(&self, denial: &Denial) -> Answer {
        let Denial { class, reason, message, .. } = *denial;
        let (http, code) = match class {
            Class::Unauthenticated => (401, Code::Unauthenticated),
            Class::ResourceExhausted => (429, Code::ResourceExhausted),
            _ => (403, Code::PermissionDenied),
        };
        let mut headers = Vec::new();
        if class == Class::Unauthenticated {
            headers.push(HeaderValueOption::set("www-authenticate", identity::challenge(reason)));
        }
        if let Some(pause) = denial.retry_after {
            headers.push(HeaderValueOption::set("retry-after", pause.as_secs().max(1).to_string()));
        }
        let renewed = denial.renewed.as_deref().map(|tokens| cookies::set(tokens, self.policy, self.now));
        let cleared = denial.clears_cookies.then(|| cookies::clear(self.policy));
        headers.extend(renewed.or(cleared).iter().flatten().map(set_cookie));
        let (mut http, mut body) = (http, json!({ "error": reason, "message": message }).to_string());
        if self.asked.is_grpc {
            // Envoy sends the body as the message, and clients compare it with that in the details.
            body = message.to_owned();
            let details = STANDARD_NO_PAD.encode(status_of(class, reason, message).details());
            headers.push(HeaderValueOption::set("grpc-status", (code as i32).to_string()));
            headers.push(HeaderValueOption::set("grpc-status-details-bin", details));
            headers.push(HeaderValueOption::set(REASON, reason));
        } else {
            headers.push(HeaderValueOption::set("content-type", "application/json"));
            headers.push(HeaderValueOption::set("cache-control", "no-store"));
        }
        if let Some(login) = &denial.login {
            http = 302;
            headers.push(HeaderValueOption::set("location", login.as_str()));
        }
        let denied = DeniedHttpResponse { status: Some(HttpStatus { code: http }), headers, body };
        let status = RpcStatus { code: code as i32, message: message.to_owned() };
        Answer(DeniedResponse { status: Some(status), denied: Some(denied) }.encode_to_vec().into())
    }
}

fn set_cookie(cookie: &Secret) -> HeaderValueOption {
    HeaderValueOption::add("set-cookie", cookie.expose())
}

/// The user and the session of a request, as Envoy's logs and filters read them.
fn metadata(principal: Option<&Principal>) -> Struct {
    let Some(principal) = principal else {
        return Struct::default();
    };
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let list = |items: &[String]| {
        let values = items.iter().map(|item| text(item)).collect();
        Value { kind: Some(Kind::ListValue(ListValue { values })) }
    };
    let fields = [
        ("user_id", text(&principal.user_id.to_string())),
        ("session_id", text(&principal.session_id.to_string())),
        ("roles", list(&principal.roles)),
        ("audience", list(&principal.audience)),
        ("username", text(principal.username.as_deref().unwrap_or_default())),
    ];
    Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}
