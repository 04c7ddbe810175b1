//! A replica that is a process of its own, of the real binary: it can be paused like a machine that hangs.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use super::{proxy::for_a_while, server::MASTER_KEY};

/// A running `countersign serve`; killed when it is dropped, paused or not.
pub(crate) struct Process {
    pub grpc_addr: String,
    pub http_addr: String,
    child: Child,
    channel: Channel,
    log: UnboundedReceiver<Value>,
    /// What it logged until it listened.
    pub start: Vec<Value>,
}

impl Process {
    /// Starts the program at `binary` on a migrated database, with these settings, and waits until it listens.
    pub(crate) async fn start(binary: &str, url: &str, settings: &[&str]) -> Self {
        Self::start_with(binary, url, settings, &[]).await
    }

    /// The same, with these variables too.
    pub(crate) async fn start_with(binary: &str, url: &str, settings: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Self::launch(Command::new(binary), url, settings, variables);
        process.start = process.logged("serving").await;
        let said = process.start.last().expect("a line");
        let text = |name: &str| said[name].as_str().expect("an address").to_owned();
        (process.grpc_addr, process.http_addr) = (text("grpc"), text("http"));
        process.channel = Endpoint::from_shared(format!("http://{}", process.grpc_addr))
            .map_or_else(|_| process.channel.clone(), |endpoint| endpoint.connect_lazy());
        process
    }

    /// Starts a command that becomes the program, and waits for nothing.
    pub(crate) fn launch(mut command: Command, url: &str, settings: &[&str], variables: &[(&str, &str)]) -> Self {
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--log-format", "json"]);
        for setting in ["--grpc-addr", "--http-addr"].into_iter().filter(|setting| !settings.contains(setting)) {
            command.args([setting, "127.0.0.1:0"]);
        }
        command.args(settings).env("COUNTERSIGN_DATABASE_URL", url).env("COUNTERSIGN_MASTER_KEY", MASTER_KEY);
        if !settings.contains(&"--lame-duck") {
            command.env("COUNTERSIGN_LAME_DUCK", "0s");
        }
        command.envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (lines, log_lines) = unbounded_channel();
        thread::spawn(move || drain(log, &lines));
        Self {
            grpc_addr: String::new(),
            http_addr: String::new(),
            child,
            channel: Endpoint::from_static("http://127.0.0.1:1").connect_lazy(),
            log: log_lines,
            start: Vec::new(),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Waits until it logs this. Gives the fields of all lines up to there that it has not given yet.
    pub(crate) async fn logged(&mut self, message: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        let wait = async {
            while lines.last().is_none_or(|fields: &Value| fields["message"] != message) {
                lines.push(self.log.recv().await.expect("it runs"));
            }
        };
        timeout(Duration::from_secs(60), wait).await.expect("it logs in time");
        lines
    }

    /// Tells it to read again what it has read.
    pub(crate) fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("signalled");
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("signalled");
    }

    /// Waits until it has ended; says whether it ended well.
    pub(crate) async fn ended(&mut self) -> bool {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status.success();
                }
                for_a_while(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), ended).await.expect("it ends in time")
    }

    /// Stops it where it stands, and waits until it does. Its connections stay.
    pub(crate) fn pause(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("signalled");
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).expect("a child").expect("waited");
        assert!(status.stopped(), "it had ended");
    }

    /// Lets it go on with what it was doing.
    pub(crate) fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads the log to its end, so that the process can go on writing it.
fn drain(log: BufReader<impl std::io::Read>, lines: &UnboundedSender<Value>) {
    for line in log.lines().map_while(Result::ok) {
        let mut line: Value = serde_json::from_str(&line).unwrap_or_default();
        let (mut fields, span) = (line["fields"].take(), line["span"].take());
        if !span.is_null() {
            fields["span"] = span;
        }
        // Whoever started it may have gone.
        drop(lines.send(fields));
    }
}
