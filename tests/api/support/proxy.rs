//! A proxy before the database that can be cut, frozen and mended in the middle of a test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Each piece takes a while.
    Slow,
    /// Connections are closed at once.
    Cut,
    /// Connections stay, and nothing comes through.
    Frozen,
    /// Connections stay, requests come through, and answers do not.
    Deaf,
}

/// How long a piece takes when the proxy is slow.
const DELAY: Duration = Duration::from_millis(40);

/// Forwards connections to the database at `url`.
pub(crate) struct Proxy {
    dir: PathBuf,
    database: String,
    target: Arc<Mutex<PathBuf>>,
    mode: watch::Sender<Mode>,
    lose: Lose,
    /// How many connections have been made to it.
    accepted: watch::Sender<usize>,
    /// Held by each connection.
    connections: Arc<()>,
    task: JoinHandle<()>,
}

/// The answer to the next request that holds these bytes is lost, and its connection with it.
type Lose = Arc<Mutex<Option<Vec<u8>>>>;

impl Proxy {
    pub(crate) fn before(url: &str) -> Self {
        let (server, _) = url.split_once("?host=").expect("a socket URL");
        let target = Arc::new(Mutex::new(socket(url)));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("cs-proxy-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("a new directory");
        let listener = UnixListener::bind(dir.join(".s.PGSQL.5432")).expect("bind");
        let mode = watch::Sender::new(Mode::Open);
        let lose = Lose::default();
        let accepted = watch::Sender::new(0);
        let connections = Arc::new(());
        let target_now = Arc::clone(&target);
        let (modes, losing, counter, held) =
            (mode.clone(), Arc::clone(&lose), accepted.clone(), Arc::downgrade(&connections));
        let task = tokio::spawn(accept(listener, target_now, modes, losing, (counter, held)));
        Self { dir, database: server.to_owned(), target, mode, lose, accepted, connections, task }
    }

    /// The number of connections that there are, each of which is a task.
    pub(crate) fn connections(&self) -> usize {
        Arc::strong_count(&self.connections) - 1
    }

    pub(crate) fn url(&self) -> String {
        format!("{}?host={}&sslmode=disable", self.database, self.dir.display())
    }

    /// New connections go to another server.
    pub(crate) fn redirect(&self, url: &str) {
        *self.target.lock().expect("not poisoned") = socket(url);
    }

    /// Waits until so many connections have been made to the proxy since its start.
    pub(crate) async fn until_accepted(&self, count: usize) {
        let accepted = async { drop(self.accepted.subscribe().wait_for(|accepted| *accepted >= count).await) };
        timeout(Duration::from_secs(60), accepted).await.expect("in time");
    }

    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub(crate) fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    pub(crate) fn slow_down(&self) {
        self.mode.send_replace(Mode::Slow);
    }

    pub(crate) fn deafen(&self) {
        self.mode.send_replace(Mode::Deaf);
    }

    pub(crate) fn lose_answer_to(&self, needle: &[u8]) {
        *self.lose.lock().expect("not poisoned") = Some(needle.to_vec());
    }

    pub(crate) fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn socket(url: &str) -> PathBuf {
    let (_, options) = url.split_once("?host=").expect("a socket URL");
    Path::new(options.split('&').next().expect("host")).join(".s.PGSQL.5432")
}

async fn accept(
    listener: UnixListener,
    target: Arc<Mutex<PathBuf>>,
    mode: watch::Sender<Mode>,
    lose: Lose,
    (accepted, connections): (watch::Sender<usize>, Weak<()>),
) {
    while let Ok((client, _)) = listener.accept().await {
        let target = target.lock().expect("not poisoned").clone();
        let (mode, lose, connection) = (mode.subscribe(), Arc::clone(&lose), connections.upgrade());
        tokio::spawn(async move {
            forward(client, target, mode, lose).await;
            drop(connection);
        });
        accepted.send_modify(|accepted| *accepted += 1);
    }
}

/// One connection.
async fn forward(mut client: UnixStream, target: PathBuf, mut mode: watch::Receiver<Mode>, lose: Lose) {
    let opened = mode.wait_for(|mode| *mode != Mode::Frozen).await.map(|mode| *mode);
    let (Ok(Mode::Open | Mode::Slow | Mode::Deaf), Ok(mut server)) = (opened, UnixStream::connect(target).await) else {
        return;
    };
    let mut cut = mode.clone();
    tokio::select! {
        () = carry(&mut client, &mut server, &mode, &lose) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Carries requests and answers until one side ends, a piece was held up, or an answer is to be lost.
async fn carry(client: &mut UnixStream, server: &mut UnixStream, mode: &watch::Receiver<Mode>, lose: &Lose) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        () = requests(&mut from_client, &mut to_server, mode.clone(), lose) => {}
        () = answers(&mut from_server, &mut to_client, mode.clone()) => return,
    }
    // The request has been carried out once its answer is there.
    drop(from_server.readable().await);
}

async fn requests(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, mut mode: watch::Receiver<Mode>, lose: &Lose) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let request = &buffer[..length];
        if held_up(&mut mode, &[Mode::Frozen]).await || to.write_all(request).await.is_err() {
            return;
        }
        let mut lose = lose.lock().expect("not poisoned");
        if lose.as_ref().is_some_and(|needle| request.windows(needle.len()).any(|w| w == needle)) {
            *lose = None;
            return;
        }
    }
}

async fn answers(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if held_up(&mut mode, &[Mode::Frozen, Mode::Deaf]).await || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Holds a piece until the mode is none of `holding`. What was held is lost, and its connection with it.
async fn held_up(mode: &mut watch::Receiver<Mode>, holding: &[Mode]) -> bool {
    let now = *mode.borrow();
    if holding.contains(&now) {
        drop(mode.wait_for(|mode| !holding.contains(mode)).await);
        return true;
    }
    if now == Mode::Slow {
        for_a_while(DELAY).await;
    }
    false
}

/// Lets time pass where that is what is tested.
pub(crate) async fn for_a_while(time: Duration) {
    drop(timeout(time, std::future::pending::<()>()).await);
}
