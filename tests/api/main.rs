//! Stories over real gRPC: servers on port 0 through the same `Server::serve` as in production, a database of its own for
//! each, on one throwaway cluster that this binary starts itself.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed; clippy knows test functions only, not their helpers"
)]

mod admin;
mod audit;
mod bounds;
mod browser;
mod callers;
mod check;
mod client;
mod clocks;
mod command_line;
mod confirm;
mod conflicts;
mod connections;
mod decoys;
mod dev;
mod discovery;
mod doctor;
mod dropped;
mod envoy;
mod failover;
mod forgiving;
mod forward_auth;
mod hash;
mod history;
mod hostile;
mod hosts;
mod http_client;
mod import;
mod keys;
mod kill_matrix;
mod login;
mod logs;
mod metrics;
mod moved;
mod named_calls;
mod notifications;
mod otlp;
mod outage;
mod password_rules;
mod pepper;
mod policy_file;
mod pooler;
mod proxies;

mod refresh;
mod relay;
mod restore;
mod retirement;
mod revoke;
mod role;
mod schema_change;
mod sessions;
mod shared_refresh;
mod status;
mod stopping;
mod store;
mod support;
mod synchronous;
mod throttle;
mod tls;
mod traces;
mod users;
mod verify;
mod watch;
mod wire;
