//! A replica that is a process of its own, of the real binary: it can be paused like a machine that hangs.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::{sync::oneshot, time::timeout};
use tonic::transport::{Channel, Endpoint};

use super::server::MASTER_KEY;

/// A running `countersign serve`; killed when it is dropped, paused or not.
pub struct Process {
    child: Child,
    channel: Channel,
}

impl Process {
    /// Starts the program at `binary` on a migrated database, with these settings, and waits until it listens.
    pub async fn start(binary: &str, url: &str, settings: &[&str]) -> Self {
        Self::start_with(binary, url, settings, &[]).await
    }

    /// The same, with these variables too.
    pub async fn start_with(binary: &str, url: &str, settings: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary);
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--log-format", "json", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        command.args(settings).env("COUNTERSIGN_DATABASE_URL", url).env("COUNTERSIGN_MASTER_KEY", MASTER_KEY);
        command.envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (listens, addr) = oneshot::channel();
        thread::spawn(move || drain(log, listens));
        // Before anything can fail.
        let lazy = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let mut process = Self { child, channel: lazy };
        let addr = timeout(Duration::from_secs(60), addr).await.expect("it starts in time").expect("it starts");
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("endpoint");
        process.channel = endpoint.connect().await.expect("connect");
        process
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Stops it where it stands, and waits until it does. Its connections stay.
    pub fn pause(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("signalled");
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).expect("a child").expect("waited");
        assert!(status.stopped(), "it had ended");
    }

    /// Lets it go on with what it was doing.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads the log to its end, so that the process can go on writing it, and tells where it listens.
fn drain(log: BufReader<impl std::io::Read>, listens: oneshot::Sender<String>) {
    let mut listens = Some(listens);
    for line in log.lines().map_while(Result::ok) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &line["fields"];
        if fields["message"] == "serving"
            && let (Some(addr), Some(listens)) = (fields["grpc"].as_str(), listens.take())
        {
            drop(listens.send(addr.to_owned()));
        }
    }
}
