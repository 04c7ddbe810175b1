//! Sentences about an address that nobody could be reached at: the address, and what came of it.

use std::{fmt::Display, io};

use super::text::system_words;

/// Words about a connection to `place` that failed.
pub fn unreached(place: impl Display, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{place} refused the connection"),
        io::ErrorKind::TimedOut => no_answer(place),
        io::ErrorKind::NotFound => format!("{place} is not there"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            format!("{place} closed the connection")
        }
        // What rustls says of an answer that is none.
        io::ErrorKind::InvalidData => format!("{place} does not speak TLS as is expected: {}", system_words(error)),
        _ => format!("{place} cannot be reached: {}", system_words(error)),
    }
}

/// Words about an address that did not answer in time.
pub fn no_answer(place: impl Display) -> String {
    format!("{place} did not answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_with_what_came_of_it() {
        for (error, said) in [
            (io::Error::from_raw_os_error(111), "a:1 refused the connection"),
            (io::ErrorKind::TimedOut.into(), "a:1 did not answer in time"),
            (io::ErrorKind::NotFound.into(), "a:1 is not there"),
            (io::ErrorKind::UnexpectedEof.into(), "a:1 closed the connection"),
            (io::Error::from_raw_os_error(13), "a:1 cannot be reached: Permission denied"),
            (io::Error::other("no such name"), "a:1 cannot be reached: no such name"),
        ] {
            assert_eq!(unreached("a:1", &error), said);
        }
    }
}
