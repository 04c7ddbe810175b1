//! A caller: makes calls one after the other over its stream, as the pace says, until time or messages are used up.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::{
    call::WeightedChoice,
    pace::Pace,
    supply::{Messages, Plan},
    tally::Tally,
    wire::{Stream, is_broken},
};

pub(super) struct Caller {
    pub(super) stream: Stream,
    pub(super) plan: Arc<Plan>,
    pub(super) pace: Arc<Pace>,
    /// Shared with the other callers of the thread.
    pub(super) tally: Arc<Mutex<Tally>>,
}

impl Caller {
    /// Runs the caller of that number.
    pub(super) async fn run(mut self, number: usize) {
        let mut choice = WeightedChoice::new(self.plan.mix.weights(), u64::try_from(number).unwrap_or(0));
        let mut supplies: Vec<Messages> = self.plan.parts.iter().map(|part| part.supply.open(number)).collect();
        while let Some(due) = self.pace.next().await {
            let index = choice.next();
            let (Some(part), Some(messages)) = (self.plan.parts.get(index), supplies.get_mut(index)) else {
                return;
            };
            let Some(message) = messages.next() else {
                return;
            };
            let answer = self.stream.call(&part.template, message).await;
            let now = Instant::now();
            if let Ok(answer) = &answer {
                messages.learn(answer);
            }
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let is_measured = due >= self.pace.measured_from;
            if is_measured {
                tally.heard(now);
            }
            // What goes wrong before that makes the figures wrong as well.
            if is_measured || !tally.expects(index, &answer) {
                tally.count(index, now - due, &answer);
            }
            if answer.is_err_and(|reason| is_broken(&reason)) {
                return;
            }
        }
    }
}
