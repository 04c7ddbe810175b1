//! The terminal: its state while the picture is on it, which is always put back, and what is typed.

use std::{io, thread, time::Duration};

use ratatui::{
    Frame,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
    },
};
use tokio::sync::mpsc;

use crate::{cli::output::unwritten, error::Error};

/// Time between two looks whether anybody still wants to know what is typed.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal with the picture. Dropped, it is as it was before; a panic puts it back too.
pub(super) struct Terminal(ratatui::DefaultTerminal);

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it cannot be read key by key.
    pub(super) fn take() -> Result<Self, Error> {
        ratatui::try_init().map(Self).map_err(|error| {
            put_back();
            Error::invalid("terminal", format!("{error}: give --once for a picture as plain text"))
        })
    }

    /// # Errors
    /// [`Error::InvalidArgument`] or [`Error::Internal`] as [`unwritten`] has it.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> Result<(), Error> {
        self.0.draw(picture).map(drop).map_err(unwritten)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    // A terminal that has gone needs nothing any more.
    drop(ratatui::try_restore());
    drop(execute!(io::stdout(), Show));
}

/// The things that a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Quit,
    Pause,
    Up,
    Down,
    /// Nothing but to draw again, in another size perhaps.
    Redraw,
}

/// What is typed from now on, until the receiver is dropped.
pub(super) fn typed() -> mpsc::Receiver<Asked> {
    let (sender, receiver) = mpsc::channel(16);
    // Reading blocks, so it has a thread.
    thread::spawn(move || {
        while !sender.is_closed() {
            match next() {
                Ok(None) => {}
                // Whoever wanted to know may have gone.
                Ok(Some(asked)) => sender.blocking_send(asked).unwrap_or_default(),
                // A terminal that cannot be read any more has gone.
                Err(_) => return sender.blocking_send(Asked::Quit).unwrap_or_default(),
            }
        }
    });
    receiver
}

fn next() -> io::Result<Option<Asked>> {
    Ok(if event::poll(LOOK)? { asked(&event::read()?) } else { None })
}

fn asked(event: &Event) -> Option<Asked> {
    let KeyEvent { code, modifiers, kind, .. } = match event {
        Event::Key(key) => *key,
        Event::Resize(..) => return Some(Asked::Redraw),
        _ => return None,
    };
    match code {
        _ if kind == KeyEventKind::Release => None,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Asked::Quit),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Asked::Quit),
        KeyCode::Char(' ' | 'p') => Some(Asked::Pause),
        KeyCode::Up | KeyCode::Char('k') => Some(Asked::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Asked::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_asks_for_one_thing() {
        let key = |code, modifiers| asked(&Event::Key(KeyEvent::new(code, modifiers)));
        for (code, expected) in [
            (KeyCode::Char('q'), Some(Asked::Quit)),
            (KeyCode::Esc, Some(Asked::Quit)),
            (KeyCode::Char('c'), None),
            (KeyCode::Char(' '), Some(Asked::Pause)),
            (KeyCode::Char('p'), Some(Asked::Pause)),
            (KeyCode::Up, Some(Asked::Up)),
            (KeyCode::Down, Some(Asked::Down)),
            (KeyCode::Enter, None),
        ] {
            assert_eq!(key(code, KeyModifiers::NONE), expected, "{code:?}");
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Asked::Quit));
        assert_eq!(asked(&Event::Resize(80, 24)), Some(Asked::Redraw));
        assert_eq!(asked(&Event::FocusLost), None);
    }
}
