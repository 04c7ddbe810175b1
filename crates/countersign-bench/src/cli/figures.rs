//! Figures, as they are given and shown.

use std::{fmt::Display, time::Duration};

use countersign::{cli::say, config::hash_threads, error::Error};
use serde::Serialize;

/// Shows figures as a table, or as JSON.
pub(super) fn show(figures: &(impl Serialize + Display), json: bool) -> Result<(), Error> {
    if json { say(serde_json::to_string_pretty(figures).map_err(Error::internal)?) } else { say(figures) }
}

pub(super) fn seconds(setting: &'static str, seconds: f64) -> Result<Duration, Error> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= Duration::from_secs(86_400));
    time.ok_or_else(|| Error::invalid(setting, "up to a day"))
}

/// The other half is the server's.
pub(super) fn half_of_the_cores() -> usize {
    (hash_threads(0) / 2).max(1)
}
