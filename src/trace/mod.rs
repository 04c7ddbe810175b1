//! Traces in OpenTelemetry's data model: a span for each call, and spans below it for what takes time. They are off, and cost next to
//! nothing, until [`start`].
//!
//! Names and attributes are those of its semantic conventions. No span holds a secret: statements come without their
//! parameters, requests without their paths and queries.

mod call;
mod child;
mod export;
mod tracer;

pub use self::{
    call::{CallSpan, Ids, in_current_trace},
    child::{Child, Database},
    export::{Traces, start},
    tracer::is_on,
};
