//! The picture on a terminal of any size, and as plain text. Bands stand below each other; what does not fit is counted.

use ratatui::{Frame, buffer::Buffer, layout::Rect, style::Modifier, text::Line};
use time::OffsetDateTime;

use super::{
    picture::{Picture, Wrong},
    rooms::{Rooms, second},
    table::{Mood, Paint, Table, visible, wrapped},
};
use crate::metrics::Severity;

/// The width from which on all rooms of numbers stand in one band.
const WIDE: u16 = 130;
/// The height from which on it is said what to do about what is wrong.
const TALL: u16 = 36;
/// Columns between two rooms of a band.
const GAP: u16 = 3;
const WELL: &str = "WELL     nothing is wrong, as far as the replicas can tell";
const KEYS: &str = "q quit   space pause   up/down events";

/// The way in which the picture is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) paint: Paint,
    pub(super) is_paused: bool,
    /// Events that are scrolled away.
    pub(super) scrolled: usize,
    pub(super) now: OffsetDateTime,
}

/// Rooms beside each other.
struct Band {
    rooms: Vec<Vec<Line<'static>>>,
    has_heads: bool,
    /// Lines without which it is not shown as long as there are any, and lines that it has a use for.
    least: u16,
    wanted: u16,
}

/// Draws the picture.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, view: View) {
    let area = frame.area();
    let (bands, buffer) = (bands(picture, view, area), frame.buffer_mut());
    let space = area.height.saturating_sub(1);
    let wanted: u16 = bands.iter().map(|band| band.wanted.saturating_add(1)).fold(0, u16::saturating_add);
    let (gap, mut y) = (u16::from(wanted <= space), area.y);
    for (band, height) in bands.iter().zip(heights(space, &bands)) {
        band.draw(Rect { y, height, ..area }, buffer);
        y = y.saturating_add(height).saturating_add(gap);
    }
    let foot = Rect { y: area.y.saturating_add(space), height: area.height.min(1), ..area };
    put(&[Line::styled(KEYS, Modifier::DIM)], foot, buffer);
}

/// The picture as plain text, with all that it has.
pub(super) fn text(picture: &Picture, now: OffsetDateTime) -> String {
    let Rooms { calls, outcomes, passwords, database, replicas, keys, events } = Rooms::of(picture);
    let rooms = [calls, outcomes, passwords, database, replicas, keys, events];
    let rooms = rooms.iter().map(|room| room.lines(Paint::Plain));
    let view = View { paint: Paint::Plain, is_paused: false, scrolled: 0, now };
    let top = [vec![headline(picture, view)], verdict(picture, Paint::Plain, (u16::MAX, true))].concat();
    let block = |lines: Vec<Line<'_>>| lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    std::iter::once(top).chain(rooms).map(block).collect::<Vec<_>>().join("\n\n")
}

/// The bands from top to bottom.
fn bands(picture: &Picture, view: View, area: Rect) -> Vec<Band> {
    let Rooms { calls, outcomes, passwords, database, replicas, keys, events } = Rooms::of(picture);
    let paint = view.paint;
    let top = [vec![headline(picture, view)], verdict(picture, paint, (area.width, area.height >= TALL))].concat();
    let wanted = lines(top.len());
    let top = Band { least: wanted.min(5), wanted, has_heads: false, rooms: vec![top] };
    let numbers = if area.width >= WIDE {
        vec![Band::of(&[&calls, &outcomes, &passwords, &database], paint, 7), Band::of(&[&replicas], paint, 4)]
    } else {
        let (calls, waits) = (Band::of(&[&calls, &outcomes], paint, 4), Band::of(&[&passwords, &database], paint, 5));
        vec![calls, Band::of(&[&replicas], paint, 4), waits]
    };
    let mut newest = Band::of(&[&events], paint, 3);
    for room in &mut newest.rooms {
        // The head stays, and the last event.
        let scrolled = view.scrolled.min(room.len().saturating_sub(2));
        drop(room.drain(1..=scrolled));
    }
    std::iter::once(top).chain(numbers).chain([Band::of(&[&keys], paint, 0), newest]).collect()
}

impl Band {
    fn of(tables: &[&Table], paint: Paint, least: u16) -> Self {
        let rooms: Vec<_> = tables.iter().map(|table| table.lines(paint)).collect();
        let wanted = rooms.iter().map(|room| lines(room.len())).max().unwrap_or_default();
        Self { rooms, has_heads: true, least: least.min(wanted), wanted }
    }

    /// Draws each room as wide as it is; the last one has the rest.
    fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let mut x = area.x;
        for (place, room) in self.rooms.iter().enumerate() {
            let widest = room.iter().map(Line::width).max().unwrap_or_default();
            let rest = area.right().saturating_sub(x);
            let width = if place + 1 == self.rooms.len() { rest } else { rest.min(lines(widest)) };
            let own = Rect { x, width, ..area };
            put(room, own, buffer);
            if self.has_heads {
                buffer.set_style(Rect { height: own.height.min(1), ..own }, Modifier::REVERSED);
            }
            x = x.saturating_add(width).saturating_add(GAP).min(area.right());
        }
    }
}

/// The heights of the bands: first the least of each, from top to bottom, and then a line for each in turn.
fn heights(mut space: u16, bands: &[Band]) -> Vec<u16> {
    let mut heights: Vec<u16> = Vec::new();
    for band in bands {
        let height = band.least.min(space);
        space -= height;
        heights.push(height);
    }
    loop {
        let mut is_done = true;
        for (height, _) in heights.iter_mut().zip(bands).filter(|(height, band)| **height < band.wanted) {
            if space > 0 {
                (*height, space, is_done) = (*height + 1, space - 1, false);
            }
        }
        if is_done {
            return heights;
        }
    }
}

/// Puts lines into an area; the last one counts those that do not fit.
fn put(lines: &[Line<'_>], area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    let (height, more) = (usize::from(area.height), lines.len().saturating_sub(usize::from(area.height)));
    let shown = if more > 0 && height > 2 { height - 1 } else { height };
    for (y, line) in (area.y..area.bottom()).zip(lines.iter().take(shown)) {
        buffer.set_line(area.x, y, line, area.width);
    }
    if shown < height {
        let rest = Line::styled(format!("and {} more", more + 1), Modifier::DIM);
        buffer.set_line(area.x, area.bottom().saturating_sub(1), &rest, area.width);
    }
}

fn headline(picture: &Picture, View { is_paused, now, .. }: View) -> Line<'static> {
    let (all, answering) = (picture.replicas.len(), picture.answering().count());
    let span = picture.together().span().as_secs_f64();
    let rates = if span > 0.0 { format!("rates of the last {span:.0} s") } else { "no rates yet".to_owned() };
    let paused = if is_paused { "   PAUSED" } else { "" };
    let text = format!("countersign top   {answering} of {all} replicas answer   {rates}{paused}   {}", second(now));
    Line::styled(text, Modifier::BOLD)
}

/// The things that are wrong, in lines of this width, and what to do if that is wanted.
fn verdict(picture: &Picture, paint: Paint, (width, with_remedies): (u16, bool)) -> Vec<Line<'static>> {
    let wrong = picture.wrong();
    if wrong.is_empty() && picture.answering().next().is_some() {
        return vec![Line::styled(WELL, paint.style(Mood::Well))];
    }
    let mut all = Vec::new();
    for Wrong { severity, what, remedy } in wrong {
        let (word, mood) = match severity {
            Severity::Error => ("ERROR", Mood::Error),
            Severity::Warning => ("WARNING", Mood::Warning),
        };
        let remedy = if with_remedies { remedy } else { "" };
        let room = usize::from(width.saturating_sub(9));
        let said = wrapped(&visible(&what), room).into_iter().map(|line| (line, paint.style(mood)));
        let said = said.chain(wrapped(remedy, room).into_iter().map(|line| (line, paint.style(Mood::Plain))));
        for (place, (line, style)) in said.enumerate() {
            all.push(Line::styled(format!("{:9}{line}", if place == 0 { word } else { "" }), style));
        }
    }
    all
}

/// A number of lines or columns as the terminal counts them.
fn lines(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend, style::Color};

    use super::*;
    use crate::{
        auth::overview::{Overview, ShownEvent},
        cli::top::{
            database::Facts,
            picture::News,
            replica::Seen,
            testing::{BEFORE, NOW, told},
        },
    };

    const PLAIN: View = View { paint: Paint::Plain, is_paused: false, scrolled: 0, now: OffsetDateTime::UNIX_EPOCH };

    /// Two replicas, one of which does not answer, and a database with many events.
    fn picture() -> Picture {
        let mut picture = Picture::new(2, true);
        let mut seen = |place, name: &str, state| {
            picture.take(News::Replica(place, Seen { name: name.to_owned(), id: None, state }));
        };
        seen(0, "10.0.0.1:8080", Ok(told(&[BEFORE, NOW])));
        seen(1, "10.0.0.2:8080", Err("10.0.0.2:8080 refused the connection".to_owned()));
        let event = |number: usize| ShownEvent {
            at: OffsetDateTime::UNIX_EPOCH,
            kind: "login_failed".to_owned(),
            actor: "user".to_owned(),
            user: format!("user-{number:02}\u{1b}[2J\u{202e}"),
            why: "wrong_password".to_owned(),
            client_ip: "203.0.113.7".to_owned(),
        };
        let overview = Overview { keys: None, events: Some((0..25).map(event).collect()) };
        picture.take(News::Database(Ok(Facts { overview, replicas: Vec::new(), head: 0 })));
        picture
    }

    /// The lines of a terminal of this size.
    fn drawn(picture: &Picture, view: View, (width, height): (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, picture, view)).expect("drawn");
        let cells: Vec<&str> = terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(width).max(1)).map(|line| line.concat().trim_end().to_owned()).collect()
    }

    fn has(lines: &[String], part: &str) -> bool {
        lines.iter().any(|line| line.contains(part))
    }

    #[test]
    fn a_small_terminal_has_the_rooms_that_matter() {
        let lines = drawn(&picture(), PLAIN, (80, 24));
        let headline = "countersign top   1 of 2 replicas answer   rates of the last 10 s   1970-01-01T0";
        assert_eq!((lines.len(), lines[0].as_str()), (24, headline));
        assert_eq!(lines[1], "ERROR    10.0.0.2:8080 refused the connection");
        for part in [
            "Login      2.00    0.50    25 ms    50 ms       1.50  login ok",
            "10.0.0.1:8080  0.1.0       2.00  0.5 s   30 s      7       3         -  fresh",
            "10.0.0.2:8080 refused the connection",
            "waiting now        2   used, idle, most  1, 2, 16",
            "login failed  user  user-00",
            "q quit   space pause",
        ] {
            assert!(has(&lines, part), "{part}\n{}", lines.join("\n"));
        }
        assert!(!has(&lines, "Start it"), "there is no room for what to do");
        assert!(lines.iter().any(|line| line.starts_with("and ") && line.ends_with(" more")), "{}", lines.join("\n"));
    }

    #[test]
    fn a_large_terminal_has_all_and_says_what_to_do() {
        let lines = drawn(&picture(), PLAIN, (160, 50));
        let numbers = lines.iter().find(|line| line.starts_with("Login ")).expect("a line");
        assert!(numbers.contains("login ok") && numbers.contains("waiting now") && numbers.contains("most  1, 2, 16"));
        assert!(
            has(&lines, "Start it or correct its URL, unless it is about to serve.")
                && has(&lines, "the database does not answer")
        );
        assert!(has(&lines, "user-24") && !has(&lines, " more"), "{}", lines.join("\n"));
    }

    #[test]
    fn every_size_is_drawn() {
        let picture = picture();
        for width in [0, 1, 2, 9, 40, 79, 129, 131, 300] {
            for height in [0, 1, 2, 3, 5, 10, 15, 35, 37, 100] {
                assert_eq!(
                    drawn(&picture, PLAIN, (width, height)).len(),
                    usize::from(if width == 0 { 0 } else { height })
                );
            }
        }
    }

    #[test]
    fn what_a_user_is_called_does_not_reach_the_terminal_as_it_is() {
        let lines = drawn(&picture(), PLAIN, (160, 50)).join("\n");
        assert!(lines.contains(r"user-00\u{1b}[2J\u{202e}"), "{lines}");
        let text = text(&picture(), OffsetDateTime::UNIX_EPOCH);
        assert!(
            lines
                .replace('\n', "")
                .chars()
                .chain(text.replace('\n', "").chars())
                .all(|c| !c.is_control() && c != '\u{202e}')
        );
    }

    #[test]
    fn events_are_scrolled_below_their_head_and_a_pause_is_told() {
        let lines = drawn(&picture(), View { scrolled: 10, is_paused: true, ..PLAIN }, (80, 24));
        let head = lines.iter().position(|line| line.starts_with("Newest events")).expect("a head");
        assert!(lines[head + 1].contains("user-10") && lines[0].contains("PAUSED"), "{}", lines.join("\n"));
        let lines = drawn(&picture(), View { scrolled: 1000, ..PLAIN }, (160, 50));
        assert!(has(&lines, "user-24") && !has(&lines, "user-23"), "the last event stays");
    }

    #[test]
    fn colours_repeat_what_words_say() {
        let colours = |paint| {
            let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
            terminal.draw(|frame| draw(frame, &picture(), View { paint, ..PLAIN })).expect("drawn");
            let cells = terminal.backend().buffer().content().iter();
            cells.filter(|cell| cell.fg == Color::Red).map(|cell| cell.symbol()).collect::<String>()
        };
        assert!(colours(Paint::Colours).starts_with("ERROR"), "{}", colours(Paint::Colours));
        assert_eq!(colours(Paint::Plain), "");
    }

    #[test]
    fn the_text_for_a_pipe_has_everything() {
        let text = text(&picture(), OffsetDateTime::UNIX_EPOCH);
        let starts = [
            "countersign top ",
            "Calls ",
            "   per s  Outcomes",
            "Passwords",
            "Database",
            "Replica ",
            "Keys",
            "Newest events",
        ];
        let blocks: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(blocks.len(), starts.len(), "{text}");
        for (block, start) in blocks.iter().zip(starts) {
            assert!(block.starts_with(start), "{start}: {block}");
        }
        let refused = "ERROR    10.0.0.2:8080 refused the connection\n         Start it or correct its URL, unless it is about to serve.";
        assert!(blocks[0].contains(refused), "{text}");
        assert!(text.contains("user-24"));
    }
}
