//! A request that a proxy asks about, as the edges read it.

use std::fmt;

use crate::{domain::trace::TraceParent, edge::Names};

/// A header field of a request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Field<'r> {
    /// There is none.
    #[default]
    Absent,
    /// There is one, with this value.
    One(&'r [u8]),
    /// There are several.
    Several,
}

/// A request that a proxy asks about, as far as it matters. Nothing of it has been checked.
#[derive(Clone, Default)]
pub struct AskedRequest<'r> {
    /// The method.
    pub method: &'r str,
    /// The host, perhaps with a port.
    pub host: &'r str,
    /// The path with the query; empty if it is no text.
    pub target: &'r str,
    /// Header Authorization.
    pub authorization: Field<'r>,
    /// All headers Cookie.
    pub cookies: Vec<&'r [u8]>,
    /// Is it a call of gRPC?
    pub is_grpc: bool,
    /// Does a browser ask for a page to show (header Sec-Fetch-Mode)?
    pub navigates: bool,
    /// Header X-Request-ID.
    pub request_id: Field<'r>,
    /// Header Traceparent.
    pub traceparent: Field<'r>,
    /// All headers Tracestate.
    pub tracestate: Vec<&'r [u8]>,
}

impl<'r> Field<'r> {
    fn note(&mut self, value: &'r [u8]) {
        *self = match *self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    /// The value of one that comes once, if it is text.
    fn text(self) -> Option<&'r str> {
        match self {
            Self::One(value) => str::from_utf8(value).ok(),
            Self::Absent | Self::Several => None,
        }
    }
}

/// Prints nothing of the value: it may be a token.
impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::One(_) => "One(..)",
            Self::Several => "Several",
        })
    }
}

/// Prints nothing of it: headers and queries hold tokens.
impl fmt::Debug for AskedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskedRequest(..)")
    }
}

impl<'r> AskedRequest<'r> {
    /// The path without the query.
    pub fn path(&self) -> &'r str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The query; empty without one.
    pub fn query(&self) -> &'r str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// True if header Authorization may hold a bearer token.
    pub fn has_bearer(&self) -> bool {
        match self.authorization {
            Field::Absent => false,
            Field::Several => true,
            Field::One(value) => value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer")),
        }
    }

    /// The names that it was given, and the trace that it is part of.
    pub fn names(&self) -> Names<'r> {
        let state = self.tracestate.iter().filter_map(|state| str::from_utf8(state).ok()).collect::<Vec<_>>().join(",");
        Names {
            request_id: self.request_id.text(),
            parent: self.traceparent.text().and_then(TraceParent::parse),
            state: Some(state).filter(|state| !state.is_empty()),
        }
    }

    /// Notes a header, by its name in lower case.
    pub fn note(&mut self, name: &[u8], value: &'r [u8]) {
        match name {
            b"authorization" => self.authorization.note(value),
            b"cookie" => self.cookies.push(value),
            b"content-type" => self.is_grpc = value.starts_with(b"application/grpc"),
            b"x-request-id" => self.request_id.note(value),
            b"traceparent" => self.traceparent.note(value),
            b"tracestate" => self.tracestate.push(value),
            b"sec-fetch-mode" => self.navigates = value == b"navigate",
            _ => {}
        }
    }
}
