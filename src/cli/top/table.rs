//! Tables of text, for a terminal and for a pipe alike. Whatever a cell is given, no control character comes out of it.

use std::iter::repeat_n;

use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

/// Columns between two cells.
const GAP: usize = 2;

/// The side on which the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// The weight of a row. Its words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    Plain,
    Well,
    Warning,
    Error,
}

/// A table whose first head is its title.
#[derive(Clone, Debug)]
pub(super) struct Table {
    heads: Vec<(String, Side)>,
    rows: Vec<(Mood, Vec<String>)>,
}

impl Table {
    pub(super) fn new(heads: &[(&str, Side)]) -> Self {
        Self { heads: heads.iter().map(|(head, side)| (visible(head), *side)).collect(), rows: Vec::new() }
    }

    /// Adds a row. The last of its cells may be wider than its column.
    pub(super) fn row(&mut self, mood: Mood, cells: &[String]) {
        self.rows.push((mood, cells.iter().map(|cell| visible(cell)).collect()));
    }

    /// Adds a sentence, if there is no row.
    pub(super) fn or_say(mut self, sentence: &str) -> Self {
        if self.rows.is_empty() {
            self.row(Mood::Plain, &[sentence.to_owned()]);
        }
        self
    }

    /// The lines, that of the heads first.
    pub(super) fn lines(&self, paint: Paint) -> Vec<Line<'static>> {
        let widths = self.widths();
        let heads: Vec<&str> = self.heads.iter().map(|(head, _)| head.as_str()).collect();
        let heads = Line::styled(self.line(&heads, &widths), Modifier::BOLD);
        let row = |(mood, cells): &(Mood, Vec<String>)| {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            Line::styled(self.line(&cells, &widths), paint.style(*mood))
        };
        std::iter::once(heads).chain(self.rows.iter().map(row)).collect()
    }

    /// The widths of the columns. Cells at the end of a row are not counted, unless they stand on the right.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|(head, _)| width(head)).collect();
        for (_, cells) in &self.rows {
            let is_last = |place: usize| place + 1 == cells.len();
            for (place, (cell, widest)) in cells.iter().zip(&mut widths).enumerate() {
                let side = self.heads.get(place).map(|(_, side)| *side);
                if !is_last(place) || side == Some(Side::Right) {
                    *widest = width(cell).max(*widest);
                }
            }
        }
        widths
    }

    fn line(&self, cells: &[&str], widths: &[usize]) -> String {
        let mut line = String::new();
        for (place, cell) in cells.iter().enumerate() {
            let (side, column) =
                (self.heads.get(place).map(|(_, side)| *side), widths.get(place).copied().unwrap_or(0));
            let missing = repeat_n(' ', column.saturating_sub(width(cell)));
            match side {
                Some(Side::Right) => line.extend(missing.chain(cell.chars())),
                _ => line.extend(cell.chars().chain(missing)),
            }
            line.extend(repeat_n(' ', GAP));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The use of colours: they repeat what words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colours,
}

impl Paint {
    pub(super) fn style(self, mood: Mood) -> Style {
        match (self, mood) {
            (Self::Plain, _) | (_, Mood::Plain) => Style::new(),
            (Self::Colours, Mood::Well) => Style::new().fg(Color::Green),
            (Self::Colours, Mood::Warning) => Style::new().fg(Color::Yellow),
            (Self::Colours, Mood::Error) => Style::new().fg(Color::Red),
        }
    }
}

/// Columns that a text takes on a terminal.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text without what a terminal might obey, or show in another order: these characters are escaped.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\'' | '\\' => shown.push(char),
            char => shown.extend(char.escape_debug()),
        }
    }
    shown
}

/// The lines of a sentence, none wider than this unless by one word.
pub(super) fn wrapped(sentence: &str, widest: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= widest => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(table: &Table) -> Vec<String> {
        table.lines(Paint::Plain).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_cells_on_a_terminal() {
        let mut table = Table::new(&[("User", Side::Left), ("per s", Side::Right), ("why", Side::Left)]);
        table.row(Mood::Plain, &["김철수".to_owned(), "1.00".to_owned(), "a reason that is long".to_owned()]);
        table.row(Mood::Error, &["bo".to_owned(), "1000.00".to_owned(), String::new()]);
        table.row(Mood::Plain, &["a sentence over all columns".to_owned()]);
        assert_eq!(
            lines(&table),
            [
                "User      per s  why",
                "김철수     1.00  a reason that is long",
                "bo      1000.00",
                "a sentence over all columns"
            ]
        );
    }

    #[test]
    fn a_table_without_rows_says_why() {
        let table = Table::new(&[("Calls", Side::Left)]).or_say("nothing was called");
        assert_eq!(lines(&table), ["Calls", "nothing was called"]);
    }

    #[test]
    fn what_a_terminal_might_obey_is_escaped() {
        let mut table = Table::new(&[("User\u{7}", Side::Left)]);
        table.row(Mood::Plain, &["\u{1b}[2J\u{202e}\u{9b}31m\ta\nb \"it's\"".to_owned()]);
        assert_eq!(lines(&table), [r"User\u{7}", r#"\u{1b}[2J\u{202e}\u{9b}31m\ta\nb "it's""#]);
    }

    #[test]
    fn a_sentence_is_broken_between_words() {
        assert_eq!(wrapped("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("overlong x", 4), ["overlong", "x"]);
        assert!(wrapped("  ", 4).is_empty());
    }

    #[test]
    fn colours_come_only_if_they_are_wanted() {
        assert_eq!(Paint::Plain.style(Mood::Error), Style::new());
        assert_eq!(Paint::Colours.style(Mood::Error), Style::new().fg(Color::Red));
        assert_eq!(Paint::Colours.style(Mood::Plain), Style::new());
    }
}
