//! The messages of the calls, made before the run, and the templates of their requests.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use prost::Message as _;

use super::{
    call::Mix,
    wire::{Template, frame},
};
use countersign::grpc::v1;

/// The messages that a run sends.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(super) mix: Mix,
    pub(super) parts: Vec<Part>,
}

impl Plan {
    /// The first message of the first call, for other tools.
    pub(crate) fn first(&self) -> Option<Bytes> {
        self.parts.first()?.supply.open(0).next()
    }
}

/// One of the calls of a mix.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) template: Template,
    pub(super) supply: Supply,
}

/// Sources of the messages of a call.
#[derive(Clone)]
pub(super) enum Supply {
    /// The same ones again and again.
    Again(Arc<[Bytes]>),
    /// Each once, by whichever stream is there first.
    Once(Arc<Once>),
    /// Refresh tokens: each stream goes on with the successor of its own.
    Chain(Arc<[String]>),
}

pub(super) struct Once {
    messages: Vec<Bytes>,
    next: AtomicUsize,
}

impl Supply {
    pub(super) fn once(messages: Vec<Bytes>) -> Self {
        Self::Once(Arc::new(Once { messages, next: AtomicUsize::new(0) }))
    }

    /// Opens the messages for the stream of that number.
    pub(super) fn open(&self, stream: usize) -> Messages {
        match self {
            Self::Again(messages) => Messages::Again { messages: Arc::clone(messages), next: stream },
            Self::Once(once) => Messages::Once(Arc::clone(once)),
            Self::Chain(tokens) => Messages::Chain(tokens.get(stream).cloned()),
        }
    }
}

/// The messages of one stream.
pub(super) enum Messages {
    Again { messages: Arc<[Bytes]>, next: usize },
    Once(Arc<Once>),
    Chain(Option<String>),
}

impl Messages {
    /// The next one; None when they are used up.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Again { messages, next } => {
                let message = messages.get(*next % messages.len().max(1)).cloned();
                *next = next.wrapping_add(1);
                message
            }
            Self::Once(once) => once.messages.get(once.next.fetch_add(1, Ordering::Relaxed)).cloned(),
            Self::Chain(token) => {
                let refresh_token = token.clone()?;
                Some(frame(&v1::RefreshRequest { refresh_token, ..Default::default() }))
            }
        }
    }

    /// Takes from an answer what the next message needs. A chain whose successor is lost has ended.
    pub(super) fn learn(&mut self, answer: &Bytes) {
        if let Self::Chain(token) = self {
            let refreshed = v1::RefreshResponse::decode(answer.clone()).ok();
            *token = refreshed.and_then(|refreshed| refreshed.tokens).map(|tokens| tokens.refresh_token);
        }
    }
}

/// Prints no messages: they hold tokens and passwords.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({:?}, ..)", self.mix)
    }
}
