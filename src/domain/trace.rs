//! Traces: where they go, and the context that a caller hands on (W3C Trace Context).

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

/// Choices of traces.
#[derive(Clone, Debug)]
pub struct TracePolicy {
    /// URL of the receiver.
    pub endpoint: String,
    /// Longest time that sending a batch of spans takes.
    pub timeout: Duration,
    /// True if what is sent is compressed with gzip.
    pub gzip: bool,
    /// PEM of the CAs of the receiver's certificate; those of the system if there are none.
    pub ca: Option<Zeroizing<String>>,
    /// The certificate that the receiver is shown.
    pub identity: Option<ClientCertificate>,
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its CA.
    pub chain: Zeroizing<String>,
    /// The private key.
    pub key: Zeroizing<String>,
}

/// Prints nothing of it.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(..)")
    }
}

/// The context that a caller hands on: its trace, and its span in it. A view of header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'h> {
    /// The trace, in lower-case hexadecimal digits.
    pub trace_id: &'h str,
    /// The span of the caller, likewise.
    pub parent_id: &'h str,
    /// Does the caller keep the trace?
    pub sampled: bool,
}

impl<'h> TraceParent<'h> {
    /// The context in a header (W3C Trace Context section 3.2); None if it is malformed.
    pub fn parse(header: &'h str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let named = |part: &str| part.bytes().any(|byte| byte != b'0');
        let known = version != "00" || parts.next().is_none();
        let valid = hex(version, 2) && version != "ff" && known && hex(flags, 2);
        if !(valid && hex(trace_id, 32) && named(trace_id) && hex(parent_id, 16) && named(parent_id)) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        Some(Self { trace_id, parent_id, sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn contexts_are_read_as_their_specification_says() {
        for (text, sampled) in [
            (format!("00-{TRACE}-{PARENT}-01"), Some(true)),
            (format!("00-{TRACE}-{PARENT}-00"), Some(false)),
            (format!("00-{TRACE}-{PARENT}-03"), Some(true)),
            (format!("01-{TRACE}-{PARENT}-01-more"), Some(true)),
            (format!("00-{TRACE}-{PARENT}-01-more"), None),
            (format!("ff-{TRACE}-{PARENT}-01"), None),
            (format!("00-{}-{PARENT}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{PARENT}-+1"), None),
            (format!("00-{TRACE}-{PARENT}"), None),
            (String::new(), None),
        ] {
            let expected = sampled.map(|sampled| TraceParent { trace_id: TRACE, parent_id: PARENT, sampled });
            assert_eq!(TraceParent::parse(&text), expected, "{text}");
        }
    }
}
