//! Text as it is written elsewhere.

/// The text after the mark (U+FEFF) that some editors and shells put before it.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// The same of what is known to be UTF-8.
pub fn str_without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
