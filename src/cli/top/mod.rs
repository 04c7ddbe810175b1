//! `countersign top`: what servers do, for people on a terminal. It reads `/metrics` of each, and the database if it is named.

mod database;
mod picture;
mod replica;
mod rooms;
mod screen;
mod table;
mod terminal;
#[cfg(test)]
mod testing;

use std::{
    collections::HashSet,
    env,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use countersign_token::clock::Clock;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep},
};

use self::{
    database::Database,
    picture::{News, Picture},
    replica::Replica,
    screen::View,
    table::Paint,
    terminal::{Asked, Terminal, typed},
};
use super::{output::say, process::stop_signals};
use crate::{
    config::{DatabaseSettings, Range, checked, read_file},
    error::Error,
    net::Trust,
};

const INTERVAL: Range<Duration> = Range::time("interval", Duration::from_millis(500), Duration::from_secs(60));

#[derive(Args)]
pub(super) struct Top {
    /// URLs of the HTTP ports of the replicas, or of their ports of metrics: http(s)://HOST:PORT
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080")]
    urls: Vec<String>,

    #[arg(
        long,
        default_value = "2s",
        value_parser = humantime::parse_duration,
        help = INTERVAL.help("Time between two looks")
    )]
    interval: Duration,

    /// Looks twice, prints the picture as plain text and ends; exit code 1 if no replica answered. As without a terminal
    #[arg(long)]
    once: bool,

    /// CA certificates, in PEM, of which the servers at https URLs must have theirs
    #[arg(long)]
    ca_file: Option<PathBuf>,

    /// Takes whatever certificate a server at an https URL shows; for servers on this machine alone
    #[arg(long, conflicts_with = "ca_file")]
    tls_no_verify: bool,

    #[command(flatten)]
    database: DatabaseSettings,
}

/// What is watched.
struct Watched {
    replicas: Vec<Replica>,
    database: Option<Database>,
}

impl Top {
    /// True if the picture is drawn where the log would be written. There is no log then.
    pub(super) fn takes_the_terminal(&self) -> bool {
        self.is_live() && io::stderr().is_terminal()
    }

    fn is_live(&self) -> bool {
        !self.once && io::stdout().is_terminal()
    }

    /// Shows the picture until somebody ends it, or once. Gives the exit code.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for settings that cannot be used. What cannot be reached is in the picture.
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        let (is_live, interval) = (self.is_live(), self.interval);
        checked(|violations| INTERVAL.check(interval, violations))?;
        let watched = self.watched()?;
        if is_live { live(watched, interval).await } else { once(watched, interval).await }
    }

    fn watched(self) -> Result<Watched, Error> {
        let ca = self.ca_file.as_deref().map(|file| read_file("ca-file", file)).transpose()?;
        let trust =
            if self.tls_no_verify { Trust::ThisMachine } else { Trust::Ca(ca.as_deref().map(|ca| ca.as_str())) };
        let mut known = HashSet::new();
        // What is named twice would count twice.
        let urls = self.urls.iter().filter(|url| known.insert(url.trim_end_matches('/')));
        let replicas = urls.map(|url| Replica::new(url, trust)).collect::<Result<_, _>>()?;
        Ok(Watched { replicas, database: Database::find(&self.database)? })
    }
}

impl Watched {
    fn picture(&self) -> Picture {
        Picture::new(self.replicas.len(), self.database.is_some())
    }

    /// Looks at everything again and again, each at its own pace, and tells what was seen.
    fn watch(self, every: Duration) -> mpsc::Receiver<News> {
        let (news, receiver) = mpsc::channel(64);
        for (place, mut replica) in self.replicas.into_iter().enumerate() {
            let (news, mut ticks) = (news.clone(), ticks(every));
            tokio::spawn(async move {
                while news.send(News::Replica(place, replica.look().await)).await.is_ok() {
                    ticks.tick().await;
                }
            });
        }
        if let Some(mut database) = self.database {
            let mut ticks = ticks(every);
            tokio::spawn(async move {
                while news.send(News::Database(database.look().await)).await.is_ok() {
                    ticks.tick().await;
                }
            });
        }
        receiver
    }
}

/// A look that is late is made up for by none.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Prints one picture, of two looks.
async fn once(watched: Watched, interval: Duration) -> Result<ExitCode, Error> {
    let mut picture = watched.picture();
    let Watched { replicas, mut database } = watched;
    let looks = replicas.into_iter().map(|mut replica| {
        tokio::spawn(async move {
            replica.look().await;
            sleep(interval).await;
            replica.look().await
        })
    });
    let looks: Vec<_> = looks.collect();
    if let Some(database) = &mut database {
        // Whoever has not counted meanwhile is not heard.
        if database.look().await.is_ok() {
            sleep(interval).await;
        }
        picture.take(News::Database(database.look().await));
        database.close().await;
    }
    for (place, look) in looks.into_iter().enumerate() {
        picture.take(News::Replica(place, look.await.map_err(Error::internal)?));
    }
    say(screen::text(&picture, Clock::system().now()))?;
    let has_answer = picture.answering().next().is_some();
    Ok(if has_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Draws the picture until somebody ends it.
async fn live(watched: Watched, interval: Duration) -> Result<ExitCode, Error> {
    let (mut stop, mut hang_up) = (stop_signals()?, signal(SignalKind::hangup()).map_err(Error::internal)?);
    let mut picture = watched.picture();
    let is_plain = env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let paint = if is_plain { Paint::Plain } else { Paint::Colours };
    let mut view = View { paint, is_paused: false, scrolled: 0, now: Clock::system().now() };
    let mut shown = picture.clone();
    let mut news = watched.watch(interval);
    let mut terminal = Terminal::take()?;
    let mut typed = typed();
    loop {
        terminal.draw(|frame| screen::draw(frame, &shown, view))?;
        tokio::select! {
            Some(told) = news.recv() => picture.take(told),
            asked = typed.recv() => match asked.unwrap_or(Asked::Quit) {
                Asked::Quit => break,
                Asked::Pause => view.is_paused = !view.is_paused,
                Asked::Up => view.scrolled = view.scrolled.saturating_sub(1),
                Asked::Down => {
                    let most = shown.events().unwrap_or_default().len().saturating_sub(1);
                    view.scrolled = (view.scrolled + 1).min(most);
                }
                Asked::Redraw => {}
            },
            () = stop.requested() => break,
            _ = hang_up.recv() => break,
        }
        if !view.is_paused {
            (shown, view.now) = (picture.clone(), Clock::system().now());
        }
    }
    Ok(ExitCode::SUCCESS)
}
