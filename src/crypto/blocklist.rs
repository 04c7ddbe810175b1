//! The operator's list of passwords that nobody may choose (REQUIREMENTS R52), of any size. What is kept of it are
//! binary fuse filters of its SHA-1 hashes, 2.25 bytes an entry. A password that is on the list is always found. Of
//! others one in 65,536 is taken for one that is, by each filter that may hold it.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, Read as _},
    ops::RangeInclusive,
    path::Path,
    str,
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use xorf::{BinaryFuse16, Filter as _};

use crate::{
    domain::{
        password::{self, Password},
        text,
    },
    error::Error,
};

const SETTING: &str = "password-blocklist";
/// Number of entries in a filter. Building one takes 34 bytes for each of them.
const PART: usize = 1 << 22;
const MAX_LINE: u64 = 4096;
const SHA1_DIGITS: usize = 40;

/// The list.
pub struct Blocklist {
    form: Form,
    parts: Vec<Part>,
    entries: usize,
}

/// The form of the lines of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Passwords, whose case does not matter.
    Plain,
    /// SHA-1 hashes of passwords.
    Sha1,
}

/// A filter, and which hashes it may hold: of a sorted list, one filter holds a given hash.
struct Part {
    range: RangeInclusive<u64>,
    filter: BinaryFuse16,
}

impl Blocklist {
    /// Reads a list: passwords, one a line, or SHA-1 hashes in hexadecimal digits, each perhaps with a colon and a
    /// number after it. Passwords are in UTF-8; a line that is not is taken for Latin-1. The first line says which.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a file that cannot be read, or is no such list.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let invalid = |reason: String| Error::invalid(SETTING, format!("{}: {reason}", path.display()));
        let file = File::open(path).map_err(|error| invalid(error.to_string()))?;
        Self::parse(BufReader::with_capacity(1 << 20, file), PART).map_err(invalid)
    }

    /// Reads a list into filters of `part` entries; what is wrong with it is said without quoting it.
    fn parse(mut input: impl BufRead, part: usize) -> Result<Self, String> {
        let (mut line, mut number) = (Vec::new(), 0_u64);
        let mut form = None;
        let mut builder = Builder { part, keys: Vec::new(), parts: Vec::new(), entries: 0 };
        loop {
            line.clear();
            let length = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
            if length == 0 {
                break;
            }
            number += 1;
            let wrong = |what: &str| format!("line {number}: {what}");
            if number == 1 && text::is_utf_16(&line) {
                return Err(text::NOT_UTF_8.to_owned());
            }
            let text = content(&line, number).ok_or_else(|| wrong("not a line of text"))?;
            if text.is_empty() {
                continue;
            }
            let hash = sha1_key(text);
            let first = form.is_none();
            let form = *form.get_or_insert(if hash.is_some() { Form::Sha1 } else { Form::Plain });
            let key = match (form, hash) {
                (Form::Sha1, Some(key)) => key,
                (Form::Sha1, None) => return Err(wrong("not a SHA-1 hash, as the lines before are")),
                (Form::Plain, Some(_)) if builder.is_short() => {
                    return Err(wrong("a SHA-1 hash, which the line before is not"));
                }
                (Form::Plain, _) if first && is_hash(text) => return Err(wrong("a hash, but not a SHA-1 hash")),
                (Form::Plain, _) => plain_key(&decoded(text)),
            };
            builder.add(key)?;
        }
        builder.finish(form.ok_or("holds no password")?)
    }

    /// True if the password is on the list, or is one in 65,536 of those that are not.
    pub fn contains(&self, password: &Password) -> bool {
        let key = match self.form {
            Form::Plain => plain_key(password.as_str()),
            Form::Sha1 => sha1(password.as_bytes()),
        };
        self.parts.iter().any(|part| part.range.contains(&key) && part.filter.contains(&key))
    }

    /// Number of lines that the list was made of.
    pub fn entries(&self) -> usize {
        self.entries
    }
}

/// Collects keys into filters.
struct Builder {
    part: usize,
    keys: Vec<u64>,
    parts: Vec<Part>,
    entries: usize,
}

impl Builder {
    /// True while the list may still turn out to be none: its first line may be a heading.
    fn is_short(&self) -> bool {
        self.entries == 1
    }

    fn add(&mut self, key: u64) -> Result<(), String> {
        self.keys.push(key);
        self.entries += 1;
        if self.keys.len() == self.part { self.close() } else { Ok(()) }
    }

    /// Makes a filter of the keys that there are.
    fn close(&mut self) -> Result<(), String> {
        self.keys.sort_unstable();
        self.keys.dedup();
        if let (Some(least), Some(most)) = (self.keys.first(), self.keys.last()) {
            let filter = BinaryFuse16::try_from(&self.keys)?;
            self.parts.push(Part { range: *least..=*most, filter });
        }
        self.keys.clear();
        Ok(())
    }

    fn finish(mut self, form: Form) -> Result<Blocklist, String> {
        self.close()?;
        Ok(Blocklist { form, parts: self.parts, entries: self.entries })
    }
}

/// A line without its end, and without the mark that some editors put before the first one; None for what is no text.
fn content(line: &[u8], number: u64) -> Option<&[u8]> {
    // Cut short, unless the file ends here.
    if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
        return None;
    }
    let text = text::line(line, number);
    (!text.contains(&0)).then_some(text)
}

/// The key of a line that is a SHA-1 hash, perhaps with a count.
fn sha1_key(line: &[u8]) -> Option<u64> {
    let (digits, rest) = line.split_at_checked(SHA1_DIGITS)?;
    let counted = rest.is_empty() || rest.strip_prefix(b":").is_some_and(|n| !n.is_empty() && is_number(n));
    if !counted || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits.get(..16)?).ok()?, 16).ok()
}

/// True if a line looks like a hash of another kind, as of the other lists of Have I Been Pwned.
fn is_hash(line: &[u8]) -> bool {
    let digits = line.split(|byte| *byte == b':').next().unwrap_or(line);
    [32, 40, 56, 64, 96, 128].contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit)
}

fn is_number(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

fn decoded(line: &[u8]) -> String {
    str::from_utf8(line).map_or_else(|_| line.iter().copied().map(char::from).collect(), str::to_owned)
}

fn plain_key(text: &str) -> u64 {
    sha1(password::comparable(text).as_bytes())
}

/// The first eight bytes of the hash.
fn sha1(text: &[u8]) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    hash.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

impl fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocklist({} entries)", self.entries)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn list(text: &[u8], part: usize) -> Blocklist {
        Blocklist::parse(text, part).expect("a list")
    }

    fn password(text: &str) -> Password {
        Password::parse("password", text).expect("valid")
    }

    fn hash(text: &str) -> String {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        hash.as_ref().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02X}").expect("written");
            text
        })
    }

    #[test]
    fn r52_a_plain_list_finds_a_password_in_any_case_and_unicode_form() {
        let list = list(
            "\u{feff}First Line Of All\r\n\ncaf\u{e9} \u{fb01}ne dinner\nStra\u{df}e nach Nirgendwo\n tail".as_bytes(),
            100,
        );
        assert_eq!((list.form, list.entries()), (Form::Plain, 4));
        for found in [
            "first line of all",
            "FIRST LINE OF ALL",
            "cafe\u{301} fine dinner",
            "CAF\u{c9} FINE DINNER",
            "STRASSE NACH NIRGENDWO",
            "\u{ff26}irst line of all",
            " tail",
        ] {
            assert!(list.contains(&password(found)), "{found}");
        }
        for other in ["first line of al", "tail", "first line of all ", "cafe fine dinner"] {
            assert!(!list.contains(&password(other)), "{other}");
        }
    }

    #[test]
    fn r52_a_list_of_hashes_finds_a_password_after_nfkc_and_in_its_own_case() {
        let text = format!("{}:37359195\r\n{}\n", hash("correct horse"), hash("caf\u{e9} fine").to_lowercase());
        let list = list(text.as_bytes(), 100);
        assert_eq!((list.form, list.entries()), (Form::Sha1, 2));
        for found in ["correct horse", "cafe\u{301} \u{fb01}ne"] {
            assert!(list.contains(&password(found)), "{found}");
        }
        assert!(!list.contains(&password("Correct Horse")));
        assert_eq!(hash("password"), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8", "as everybody computes it");
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_latin_1() {
        let list = list(b"plain\nse\xf1or de la noche\n", 100);
        assert!(list.contains(&password("se\u{f1}or de la noche")));
    }

    #[test]
    fn what_is_no_list_is_refused_and_not_quoted() {
        let (sha1, long) = (hash("x"), "secret".repeat(1000));
        for (text, reason) in [
            (String::new(), "holds no password"),
            ("\n\r\n".into(), "holds no password"),
            (format!("{sha1}\nsecret\n"), "line 2: not a SHA-1 hash"),
            (format!("{sha1}:1\n{sha1}:\n"), "line 2: not a SHA-1 hash"),
            (format!("{sha1}\n{sha1}:1x\n"), "line 2: not a SHA-1 hash"),
            (format!("hash:count\n{sha1}:1\n"), "line 2: a SHA-1 hash"),
            (format!("{}:12\n", &sha1[..32]), "line 1: a hash, but"),
            (format!("{sha1}{}\n", &sha1[..24]), "line 1: a hash, but"),
            ("secret\0\n".into(), "line 1: not a line of text"),
            (format!("short\n{long}"), "line 2: not a line of text"),
        ] {
            let error = Blocklist::parse(text.as_bytes(), 100).expect_err("refused");
            assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
        }
        // A password that looks like a hash is one, further down.
        assert!(Blocklist::parse(format!("one\ntwo\n{sha1}\n").as_bytes(), 100).is_ok());
    }

    #[test]
    fn a_list_of_any_length_is_found_whole_in_filters_of_any_size() {
        for (length, part) in [(1, 1), (2, 2), (3, 1), (5, 4), (100, 7), (5000, 1024), (5000, 10_000)] {
            let lines: Vec<String> = (0..length).map(|i| format!("password number {i}")).collect();
            let twice = lines.join("\n") + "\n" + &lines.join("\n");
            for text in [twice, lines.iter().map(|line| hash(line) + "\n").collect()] {
                let list = list(text.as_bytes(), part);
                assert!(lines.iter().all(|line| list.contains(&password(line))), "{length} in {part}");
            }
        }
    }

    #[test]
    fn of_a_sorted_list_one_filter_is_asked_and_few_others_are_found() {
        let mut hashes: Vec<String> = (0..20_000).map(|i| hash(&format!("password number {i}"))).collect();
        hashes.sort();
        let list = list(hashes.join("\n").as_bytes(), 1000);
        assert_eq!(list.parts.len(), 20);
        assert!(list.parts.windows(2).all(|pair| pair[0].range.end() < pair[1].range.start()));
        let wrong = (0..100_000).filter(|i| list.contains(&password(&format!("another password {i}")))).count();
        assert!(wrong <= 10, "about 100000 / 65536: {wrong}");
    }
}
