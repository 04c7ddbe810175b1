//! The ways into the process: connections, and who is at their other end. Nothing here knows what is asked over them.

mod peer;

pub use self::peer::{CertificateNames, Peer};
