//! Numbers as people read them on the status page and in `countersign top`.

use std::time::Duration;

/// A number for each second.
pub fn rate(per_second: f64) -> String {
    format!("{per_second:.2}")
}

/// A number of things.
pub fn whole(number: f64) -> String {
    format!("{number:.0}")
}

/// A time, by the bound of the bucket that it fell into.
pub fn time(time: Option<Duration>) -> String {
    match time {
        None => "-".to_owned(),
        Some(Duration::MAX) => "over 60 s".to_owned(),
        Some(time) if time < Duration::from_millis(1) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        Some(time) if time < Duration::from_secs(1) => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
    }
}
