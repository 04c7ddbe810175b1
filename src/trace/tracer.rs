//! The tracer, which makes spans.

use std::sync::OnceLock;

use opentelemetry_sdk::trace::SdkTracer;

/// The tracer of this process, once there are traces.
pub(super) static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// True if there are traces.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}
