//! Ranges of settings. Each is written once: its text is in the error, in the setting's `--help`, and in docs/settings.md, where
//! `cli/tests/settings.rs` compares it.

use std::{fmt::Display, time::Duration};

use super::violations::Violations;

/// The values that a setting may have.
#[derive(Clone, Copy, Debug)]
pub struct Range<T> {
    setting: &'static str,
    from: T,
    to: T,
    /// Settings that are the ends: they are named instead of the values.
    from_setting: Option<&'static str>,
    to_setting: Option<&'static str>,
    write: fn(T) -> String,
}

impl<T: Copy + PartialOrd + Display> Range<T> {
    /// Numbers from one to another.
    pub const fn number(setting: &'static str, from: T, to: T) -> Self {
        Self { setting, from, to, from_setting: None, to_setting: None, write: number_text::<T> }
    }
}

impl Range<Duration> {
    /// Times from one to another.
    pub const fn time(setting: &'static str, from: Duration, to: Duration) -> Self {
        Self { setting, from, to, from_setting: None, to_setting: None, write: time_text }
    }
}

impl<T: Copy + PartialOrd> Range<T> {
    /// The same of another setting.
    pub const fn called(mut self, setting: &'static str) -> Self {
        self.setting = setting;
        self
    }

    /// Names the setting that is the lower end, as `starting_at` has it.
    pub const fn from_setting(mut self, name: &'static str) -> Self {
        self.from_setting = Some(name);
        self
    }

    /// Names the setting that is the upper end, as `ending_at` has it.
    pub const fn to_setting(mut self, name: &'static str) -> Self {
        self.to_setting = Some(name);
        self
    }

    /// The value of the setting that is the lower end.
    pub fn starting_at(self, from: T) -> Self {
        Self { from, ..self }
    }

    /// The value of the setting that is the upper end.
    pub fn ending_at(self, to: T) -> Self {
        Self { to, ..self }
    }

    /// Notes a violation unless the value is within. Gives the value back.
    pub fn check(&self, value: T, violations: &mut Violations) -> T {
        violations.require((self.from..=self.to).contains(&value), self.setting, self.text());
        value
    }

    /// The help of the setting: what it is, and its range in the form of clap's own remarks.
    pub fn help(&self, what: &str) -> String {
        help(what, &self.text())
    }

    fn text(&self) -> String {
        let end = |setting: Option<&str>, value| setting.map_or_else(|| (self.write)(value), str::to_owned);
        format!("{} to {}", end(self.from_setting, self.from), end(self.to_setting, self.to))
    }
}

/// The few numbers that a setting may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<const N: usize> {
    pub(super) setting: &'static str,
    pub(super) values: [u16; N],
}

impl<const N: usize> Choice<N> {
    /// Notes a violation unless the value is one of them. Gives the value back.
    pub(super) fn check(&self, value: u16, violations: &mut Violations) -> u16 {
        violations.require(self.values.contains(&value), self.setting, self.text());
        value
    }

    /// The help of the setting: what it is, and what it may be.
    pub(super) fn help(&self, what: &str) -> String {
        help(what, &self.text())
    }

    fn text(&self) -> String {
        let values = self.values.map(|value| value.to_string());
        match values.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

fn help(what: &str, range: &str) -> String {
    format!("{what} [range: {range}]")
}

fn number_text<T: Display>(number: T) -> String {
    number.to_string()
}

/// A time in its greatest unit, as `humantime` reads it.
fn time_text(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(365 * 86_400_000_u128, " years"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::moment::DAY;

    use super::*;
    use crate::config::violations::checked;

    #[test]
    fn a_time_is_written_in_its_greatest_unit_and_read_again() {
        for (time, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(100), "100ms"),
            (Duration::from_secs(90), "90s"),
            (Duration::from_secs(300), "5m"),
            (Duration::from_secs(5 * 3600), "5h"),
            (30 * DAY, "30d"),
        ] {
            assert_eq!(time_text(time), text);
            assert_eq!(humantime::parse_duration(text), Ok(time));
        }
        assert_eq!(
            time_text(3650 * DAY),
            "10 years",
            "as a person says it: humantime's year has a quarter of a day more"
        );
    }

    #[test]
    fn a_range_says_itself_in_its_error_and_in_its_help() {
        let range = Range::number("size", 2_u8, 4);
        for (value, holds) in [(1, false), (2, true), (4, true), (5, false)] {
            let checked = checked(|violations| range.check(value, violations));
            assert_eq!(
                checked.map_err(|error| error.to_string()),
                if holds { Ok(value) } else { Err("size: 2 to 4".into()) }
            );
        }
        assert_eq!(range.help("How large"), "How large [range: 2 to 4]");
    }

    #[test]
    fn an_end_that_is_another_setting_has_its_value_and_is_named() {
        let range =
            Range::number("inner", 0_u8, 9).from_setting("least").to_setting("most").starting_at(3).ending_at(5);
        for (value, holds) in [(2, false), (3, true), (5, true), (6, false)] {
            assert_eq!(checked(|violations| range.check(value, violations)).is_ok(), holds);
        }
        assert_eq!(range.text(), "least to most");
    }
}
