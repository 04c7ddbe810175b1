//! Failures that pass when the transaction is run again, as the database asks for it, or a router whose other node went away.

use countersign::grpc::v1::revoke_request::Target;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{TestServer, refusal};

/// From now on so many updates of users fail by `code`; those that follow do not.
async fn fail_updates(server: &TestServer, code: &str, times: u32) {
    let statement = format!(
        "CREATE SEQUENCE IF NOT EXISTS tries; SELECT setval('tries', 1, false);
         CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'once more' USING ERRCODE = '{code}'; END IF;
           RETURN NEW;
         END $$;
         DROP TRIGGER IF EXISTS fails ON users;
         CREATE TRIGGER fails BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fail();"
    );
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.expect("a trigger");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_asks_to_run_again_is_run_again_and_is_never_a_defect_of_ours() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    // Serialization failure, deadlock, a stale plan, a prepared statement that is gone, "failure on connection marked as essential" of Citus.
    for code in ["40001", "40P01", "0A000", "26000", "XX000"] {
        fail_updates(&server, code, 3).await;
        let revoked = alice.revoke(Target::UserId(alice.id.clone())).await;
        revoked.unwrap_or_else(|status| panic!("{code}: {status}"));
        fail_updates(&server, code, u32::MAX).await;
        let refused = refusal(alice.revoke(Target::UserId(alice.id.clone())).await);
        assert_eq!(refused.1, "DATABASE_UNAVAILABLE", "{code}");
    }
}
