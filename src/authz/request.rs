//! A request that a proxy asks about, as the edges read it.

use std::fmt;

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

    /// Notes a header, by its name in lower case.
    pub fn note(&mut self, name: &[u8], value: &'r [u8]) {
        match name {
            b"authorization" => {
                self.authorization = match self.authorization {
                    Field::Absent => Field::One(value),
                    Field::One(_) | Field::Several => Field::Several,
                }
            }
            b"cookie" => self.cookies.push(value),
            b"content-type" => self.is_grpc = value.starts_with(b"application/grpc"),
            b"sec-fetch-mode" => self.navigates = value == b"navigate",
            _ => {}
        }
    }
}
