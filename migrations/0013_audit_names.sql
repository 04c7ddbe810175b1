-- What the caller named the call that a row was written for: its x-request-id, and the trace id of its traceparent. NULL if it
-- had none, and for rows that stand for several calls. Servers before this version leave them NULL.
ALTER TABLE audit_events ADD COLUMN request_id text, ADD COLUMN trace_id text;
