//! Warnings that the server sends beside the answer of a statement. A commit whose wait for the synchronous standby was
//! cancelled is answered with success and such a warning, and is on the standby or not. No statement that was warned
//! about counts as done. Texts are localised, so any warning counts.
//!
//! sqlx gives notices to `tracing` and to nobody else. So each poll of a statement runs under a subscriber of ours. It
//! wants that one target, leaves what it hears in the thread, and lets all else pass unheard. Postgres' NOTICE is not a
//! warning. Not here: what becomes of the connection (`conn.rs`).

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::LazyLock,
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::with_default,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// The target under which sqlx tells what the server sent as a notice.
const TARGET: &str = "sqlx::postgres::notice";

/// One for all threads: making one asks every place of the program that logs whether it is wanted. A second one is
/// never used. As long as there is one only, `tracing` asks a new place's thread for its subscriber instead of all that
/// there are. It then remembers that nobody wants what was said outside of a statement first.
static EARS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [Dispatch::new(Ear), Dispatch::new(Ear)]);

thread_local! {
    /// The first warning of the poll that is under way.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Prepares for notices before the first connection is made, so that no warning is ever said while nobody is there to
/// want it.
pub(super) fn prepare() {
    LazyLock::force(&EARS);
}

/// Runs `statement`, and says what the server warned of while it did: the first warning, if there was any.
pub(super) async fn listening<T>(statement: impl Future<Output = T>) -> (T, Option<String>) {
    let mut statement = pin!(statement);
    let [ear, _] = &*EARS;
    let mut warning = None;
    let result = poll_fn(|cx| {
        HEARD.take();
        let polled = with_default(ear, || statement.as_mut().poll(cx));
        if let Some(heard) = HEARD.take() {
            warning.get_or_insert(heard);
        }
        polled
    })
    .await;
    (result, warning)
}

struct Ear;

impl Ear {
    fn wants(metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= Level::WARN
    }
}

impl Subscriber for Ear {
    /// Callsites that nobody else wants either cost one load of an atomic, as without us.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        // An event may reach us that somebody else wanted.
        if Self::wants(event.metadata()) {
            let mut message = Message::default();
            event.record(&mut message);
            HEARD.with_borrow_mut(|heard| _ = heard.get_or_insert(message.0));
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_is_heard_and_a_notice_is_not() {
        let ((), none) = listening(async { tracing::info!(target: TARGET, message = "a notice") }).await;
        assert_eq!(none, None);
        let ((), none) = listening(async { tracing::warn!(target: "sqlx::query", "slow") }).await;
        assert_eq!(none, None);
        let said = async {
            tracing::warn!(target: TARGET, message = "cancelled");
            tokio::task::yield_now().await;
            tracing::warn!(target: TARGET, message = "another");
            7
        };
        assert_eq!(listening(said).await, (7, Some("cancelled".to_owned())));
    }

    #[tokio::test]
    async fn what_was_said_outside_is_not_heard_and_its_place_is_once_it_is_inside() {
        let say = || tracing::warn!(target: TARGET, message = "said");
        assert_eq!(listening(async {}).await, ((), None));
        say();
        assert_eq!(listening(async {}).await, ((), None));
        assert_eq!(listening(async { say() }).await, ((), Some("said".to_owned())));
    }
}
