//! `countersign hash`: what it proposes is for the server to accept.

use std::process::{Command, Output};

use crate::support::Setup;

fn calibrate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["hash", "calibrate"]).args(args).env("COUNTERSIGN_LOG", "warn").output().expect("it runs")
}

#[tokio::test]
async fn r50_calibrate_proposes_settings_that_a_server_accepts() {
    let output = calibrate(&["--target", "1ms", "--threads", "1"]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}");
    let value = |variable: &str| -> u32 {
        let line = said.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
        line.expect(variable).parse().expect("a number")
    };
    let mut setup = Setup::new().await;
    setup.settings.passwords.hash_memory = value("COUNTERSIGN_HASH_MEMORY");
    setup.settings.passwords.hash_iterations = value("COUNTERSIGN_HASH_ITERATIONS");
    let server = setup.start().await;
    server.user("alice").await.login().await;
}

#[test]
fn calibrate_refuses_a_target_or_threads_out_of_range() {
    for (args, field) in
        [(["--target", "0s"], "target"), (["--target", "11s"], "target"), (["--threads", "257"], "threads")]
    {
        let output = calibrate(&args);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.starts_with(&format!("countersign: {field}: ")), "{said}");
    }
}
