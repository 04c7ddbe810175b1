//! A proxy before the database that can be cut, frozen and mended in the middle of a test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections are closed at once.
    Cut,
    /// Connections stay, and nothing comes through.
    Frozen,
}

/// Forwards connections to the database at `url`.
pub struct Proxy {
    dir: PathBuf,
    database: String,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub fn before(url: &str) -> Self {
        let (server, options) = url.split_once("?host=").expect("a socket URL");
        let target = options.split('&').next().expect("host");
        let target = Path::new(target).join(".s.PGSQL.5432");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("cs-proxy-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("a new directory");
        let listener = UnixListener::bind(dir.join(".s.PGSQL.5432")).expect("bind");
        let mode = watch::Sender::new(Mode::Open);
        let task = tokio::spawn(accept(listener, target, mode.clone()));
        Self { dir, database: server.to_owned(), mode, task }
    }

    pub fn url(&self) -> String {
        format!("{}?host={}&sslmode=disable", self.database, self.dir.display())
    }

    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    pub fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        drop(fs::remove_dir_all(&self.dir));
    }
}

async fn accept(listener: UnixListener, target: PathBuf, mode: watch::Sender<Mode>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(forward(client, target.clone(), mode.subscribe()));
    }
}

/// One connection. Once the mode has changed it carries nothing more: cut closes it, frozen holds it open until then.
async fn forward(mut client: UnixStream, target: PathBuf, mut mode: watch::Receiver<Mode>) {
    let opened = mode.wait_for(|mode| *mode != Mode::Frozen).await.map(|mode| *mode);
    let (Ok(Mode::Open), Ok(mut server)) = (opened, UnixStream::connect(target).await) else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = changed(&mut mode) => {}
    }
    drop(mode.wait_for(|mode| *mode != Mode::Frozen).await);
}

async fn changed(mode: &mut watch::Receiver<Mode>) {
    drop(mode.wait_for(|mode| *mode != Mode::Open).await);
}
