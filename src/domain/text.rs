//! Text as it is written elsewhere: with a mark before it, and with the ends of lines of any system. What is read of files
//! and of standard input goes through here.

use std::io;

/// The text after the mark (U+FEFF) that some editors and shells put before it.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// The same of what is known to be UTF-8.
pub fn str_without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A line without its end, and, if it is the first, without the mark. Lines are counted from 1.
pub fn line(line: &[u8], number: u64) -> &[u8] {
    let line = if number == 1 { without_mark(line) } else { line };
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The first line of a text, without its end and without the mark.
pub fn first_line(text: &str) -> &str {
    without_end(str_without_mark(text).split_inclusive('\n').next().unwrap_or_default())
}

/// A text without the end of its last line.
pub fn without_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Words about a file that is in UTF-16.
pub const NOT_UTF_8: &str = "it is in UTF-16, which Windows calls Unicode: save it as UTF-8";

/// True for text that Windows calls Unicode: two bytes for each letter, after a mark of two bytes.
pub fn is_utf_16(text: &[u8]) -> bool {
    text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")
}

/// The system's words for an error, without the number that only programmers know.
pub fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_ends_of_lines_are_no_part_of_a_line() {
        for text in ["\u{feff}a b\r\n", "\u{feff}a b", "a b\r\n", "a b\n", "a b\r", "a b"] {
            assert_eq!((line(text.as_bytes(), 1), first_line(text)), (&b"a b"[..], "a b"), "{text:?}");
        }
        assert_eq!(first_line("\u{feff}a\r\nb\r\n"), "a");
        assert_eq!(line("\u{feff}a".as_bytes(), 2), "\u{feff}a".as_bytes(), "no mark within the text");
        assert_eq!(line(b"\r\r\n", 3), b"\r");
    }
}
