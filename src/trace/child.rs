//! Spans of what takes time within a call. They end when they are dropped.

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::Span;
use opentelemetry_semantic_conventions::attribute::{
    DB_NAMESPACE, DB_QUERY_SUMMARY, DB_QUERY_TEXT, DB_SYSTEM_NAME, ERROR_TYPE, SERVER_ADDRESS, SERVER_PORT,
};

use super::tracer::TRACER;

/// A span below that of the call that this task works for; nothing where there is none, or nobody keeps its trace.
#[derive(Debug, Default)]
pub struct Child(Option<Span>);

/// The place of a database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Name or address of the server.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Name of the database.
    pub name: String,
}

impl Child {
    /// Begins a span of work in this process.
    pub fn begin(name: &'static str) -> Self {
        Self::build(|| SpanBuilder::from_name(name).with_kind(SpanKind::Internal))
    }

    /// Begins the span of a statement. `summary` says what it does to which tables, and `place` is asked only if it is wanted.
    pub fn begin_statement(
        text: &str,
        summary: impl FnOnce(&str) -> String,
        place: impl FnOnce() -> Option<Database>,
    ) -> Self {
        Self::build(|| {
            let summary = summary(text);
            let mut attributes = vec![
                KeyValue::new(DB_SYSTEM_NAME, "postgresql"),
                KeyValue::new(DB_QUERY_SUMMARY, summary.clone()),
                KeyValue::new(DB_QUERY_TEXT, text.to_owned()),
            ];
            if let Some(Database { host, port, name }) = place() {
                attributes.push(KeyValue::new(SERVER_ADDRESS, host));
                attributes.push(KeyValue::new(SERVER_PORT, i64::from(port)));
                attributes.push(KeyValue::new(DB_NAMESPACE, name));
            }
            SpanBuilder::from_name(summary).with_kind(SpanKind::Client).with_attributes(attributes)
        })
    }

    fn build(builder: impl FnOnce() -> SpanBuilder) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self(None);
        };
        let span = Context::map_current(|parent| {
            let is_kept = parent.span().span_context().is_sampled();
            is_kept.then(|| tracer.build_with_context(builder(), parent))
        });
        Self(span)
    }

    /// Notes that something has happened.
    pub fn event(&mut self, name: &'static str) {
        if let Some(span) = &mut self.0 {
            span.add_event(name, Vec::new());
        }
    }

    /// Notes a fact.
    pub fn set(&mut self, name: &'static str, value: bool) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Notes that the work failed, in this way.
    pub fn fail(&mut self, kind: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(ERROR_TYPE, kind));
            span.set_status(Status::error(kind));
        }
    }
}
