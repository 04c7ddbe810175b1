//! The client side of a status.

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The reason of a refused call: that of its ErrorInfo, or the name of its code. From trailers, or from headers where
/// there are none.
pub(crate) fn status_reason(trailers: &HeaderMap) -> String {
    let status = Status::from_header_map(trailers).unwrap_or_else(|| Status::new(Code::Unknown, "no status"));
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("{:?}", status.code()), |info| info.reason)
}
