//! The names of what proxies subscribe to.

use std::fmt;

/// The most lists that what has ended is spread over.
const MAX_PARTS: u16 = 64;

/// A resource that is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// All that the base lists of the same stream do not hold. It expires unless it is confirmed again and again.
    Recent,
    /// A part of what had ended a while ago: its place, and the number of parts.
    Base(u16, u16),
    /// The moment before which no session lives that was opened then.
    Opened,
    /// The keys: a filter that verifies tokens by them.
    Tokens,
}

impl Name {
    /// Reads a name; None for what is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "countersign-recent" => return Some(Self::Recent),
            "countersign-opened" => return Some(Self::Opened),
            "countersign-tokens" => return Some(Self::Tokens),
            _ => {}
        }
        let (part, parts) = text.strip_prefix("countersign-base-")?.split_once("-of-")?;
        let (part, parts): (u16, u16) = (part.parse().ok()?, parts.parse().ok()?);
        let name = Self::Base(part, parts);
        (part < parts && parts <= MAX_PARTS && name.to_string() == text).then_some(name)
    }

    /// True if it expires when it is not confirmed any more.
    pub fn expires(self) -> bool {
        !matches!(self, Self::Base(..))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recent => f.write_str("countersign-recent"),
            Self::Base(part, parts) => write!(f, "countersign-base-{part}-of-{parts}"),
            Self::Opened => f.write_str("countersign-opened"),
            Self::Tokens => f.write_str("countersign-tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [Name::Recent, Name::Base(0, 1), Name::Base(3, 4), Name::Base(63, 64), Name::Opened, Name::Tokens] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in [
            "",
            "recent",
            "countersign-base-4-of-4",
            "countersign-base-00-of-4",
            "countersign-base-0-of-65",
            "countersign-base-0",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
