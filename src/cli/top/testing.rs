//! Replicas for the tests of the picture, which have told texts of metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::replica::{SPAN, Told};
use crate::metrics::{MINUTE, Window, read_metrics};

/// A replica that told these texts, one each ten seconds.
pub(super) fn told(texts: &[&str]) -> Told {
    let (window, begun) = (Window::default(), Instant::now());
    for (place, text) in (0..).zip(texts) {
        window.push(begun + Duration::from_secs(10) * place, read_metrics(text).expect("metrics"));
    }
    Told { recent: window.last(SPAN).expect("a sample"), minute: window.last(MINUTE).expect("a sample") }
}

/// The metrics of a replica, and those of ten seconds later.
pub(super) const BEFORE: &str = r#"# TYPE grpc_server_handled_total counter
grpc_server_handled_total{grpc_service="countersign.v1.AuthService",grpc_method="Login",grpc_code="OK"} 100
grpc_server_handled_total{grpc_service="countersign.v1.AuthService",grpc_method="Login",grpc_code="Unauthenticated"} 100
# TYPE countersign_logins_total counter
countersign_logins_total{result="ok"} 100
countersign_logins_total{result="invalid_credentials"} 100
# TYPE countersign_password_hash_shed_total counter
countersign_password_hash_shed_total 4
"#;
pub(super) const NOW: &str = r#"countersign_build_info{version="0.1.0"} 1
# TYPE grpc_server_handled_total counter
grpc_server_handled_total{grpc_service="countersign.v1.AuthService",grpc_method="Login",grpc_code="OK"} 115
grpc_server_handled_total{grpc_service="countersign.v1.AuthService",grpc_method="Login",grpc_code="Unauthenticated"} 105
# TYPE grpc_server_handling_seconds histogram
grpc_server_handling_seconds_bucket{grpc_service="countersign.v1.AuthService",grpc_method="Login",le="0.025"} 19
grpc_server_handling_seconds_bucket{grpc_service="countersign.v1.AuthService",grpc_method="Login",le="0.05"} 20
grpc_server_handling_seconds_count{grpc_service="countersign.v1.AuthService",grpc_method="Login"} 20
# TYPE countersign_logins_total counter
countersign_logins_total{result="ok"} 115
countersign_logins_total{result="invalid_credentials"} 105
# TYPE countersign_password_hash_shed_total counter
countersign_password_hash_shed_total 5
countersign_password_hash_queue 2
countersign_database_connections{state="used"} 1
countersign_database_connections{state="idle"} 2
countersign_database_connections_max 16
countersign_revocation_freshness_age_seconds 0.5
countersign_revocation_freshness_bound_seconds 30
countersign_revocation_index_entries 7
countersign_watchers 3
countersign_key_rotation_due_seconds 172800
"#;
