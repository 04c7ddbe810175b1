//! A wire of TCP between a client and a server that can be cut, held and mended in the middle of a test.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections are closed at once.
    Cut,
    /// Connections stay, and nothing comes through.
    Held,
}

pub(crate) struct Relay {
    pub addr: SocketAddr,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (addr, mode) = (listener.local_addr().expect("bound"), watch::Sender::new(Mode::Open));
        let modes = mode.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server, modes.subscribe()));
            }
        });
        Self { addr, mode, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub(crate) fn hold(&self) {
        self.mode.send_replace(Mode::Held);
    }

    pub(crate) fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    loop {
        let now = *mode.borrow_and_update();
        let changed = match now {
            Mode::Cut => return,
            Mode::Held => mode.changed().await,
            Mode::Open => tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => return,
                changed = mode.changed() => changed,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}
