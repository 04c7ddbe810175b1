//! Facts of a sound server, for the tests of what is found in them.

use crate::store::inspection::ServerFacts;

/// The facts of a server where all is well.
pub(super) fn server_facts() -> ServerFacts {
    ServerFacts {
        version: "15.14".to_owned(),
        version_num: 150_014,
        encoding: "UTF8".to_owned(),
        in_recovery: false,
        read_only: false,
        connections: 97,
        autovacuum: true,
        encrypted: false,
        schema: Some("public".to_owned()),
        role: "app".to_owned(),
        superuser: false,
        role_connections: -1,
        creates: false,
        names_cluster: true,
    }
}
