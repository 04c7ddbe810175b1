//! Protocols of ports.

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without an upgrade (RFC 9113 section 3.3).
    Http2,
    /// Both: HTTP/2 where a connection begins with its preface.
    Both,
}
