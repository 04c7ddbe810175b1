//! The names of what proxies subscribe to.

use std::{fmt, time::Duration};

/// The most lists that what has ended is spread over.
const MAX_PARTS: u16 = 64;
/// The least and the longest life that a name may give a resource, in seconds.
const LIVES: std::ops::RangeInclusive<u16> = 2..=300;

/// A resource that is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// All that the base lists of the same stream do not hold.
    Recent(Life),
    /// A part of what had ended a while ago: its place, and the number of parts. It never expires.
    Base(u16, u16),
    /// The moment before which no session lives that was opened then.
    Opened(Life),
    /// The keys: a filter that verifies tokens by them.
    Tokens(Life),
}

/// The time for which a resource holds at the proxy, from the moment as of which it was complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// The time that the server is set to.
    #[default]
    AsSet,
    /// Seconds.
    Seconds(u16),
    /// No end.
    Unlimited,
}

impl Name {
    /// Reads a name; None for what is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(place) = text.strip_prefix("countersign-base-") {
            let (part, parts) = place.split_once("-of-")?;
            let (part, parts): (u16, u16) = (part.parse().ok()?, parts.parse().ok()?);
            let name = Self::Base(part, parts);
            return (part < parts && parts <= MAX_PARTS && name.to_string() == text).then_some(name);
        }
        let (kind, life) = match text.strip_prefix("countersign-")?.split_once('-') {
            Some((kind, life)) => (kind, Some(life)),
            None => (text.strip_prefix("countersign-")?, None),
        };
        let life = life.map_or(Some(Life::AsSet), Life::parse)?;
        match kind {
            "recent" => Some(Self::Recent(life)),
            "opened" => Some(Self::Opened(life)),
            "tokens" => Some(Self::Tokens(life)),
            _ => None,
        }
    }

    /// Time for which it holds at the proxy; None for ever. `set` is what the server says.
    pub fn life(self, set: Duration) -> Option<Duration> {
        match self {
            Self::Base(..) => None,
            Self::Recent(life) | Self::Opened(life) | Self::Tokens(life) => match life {
                Life::AsSet => Some(set),
                Life::Seconds(seconds) => Some(Duration::from_secs(seconds.into())),
                Life::Unlimited => None,
            },
        }
    }

    /// True for a part of what had ended a while ago.
    pub fn is_base(self) -> bool {
        matches!(self, Self::Base(..))
    }
}

impl Life {
    fn parse(text: &str) -> Option<Self> {
        if text == "no-ttl" {
            return Some(Self::Unlimited);
        }
        let seconds = text.strip_prefix("ttl-")?.strip_suffix('s')?;
        let life: u16 = seconds.parse().ok()?;
        (LIVES.contains(&life) && life.to_string() == seconds).then_some(Self::Seconds(life))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recent(life) => write!(f, "countersign-recent{life}"),
            Self::Base(part, parts) => write!(f, "countersign-base-{part}-of-{parts}"),
            Self::Opened(life) => write!(f, "countersign-opened{life}"),
            Self::Tokens(life) => write!(f, "countersign-tokens{life}"),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsSet => Ok(()),
            Self::Seconds(seconds) => write!(f, "-ttl-{seconds}s"),
            Self::Unlimited => f.write_str("-no-ttl"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let bases = [Name::Base(0, 1), Name::Base(3, 4), Name::Base(63, 64)];
        let lives = [Life::AsSet, Life::Seconds(5), Life::Seconds(300), Life::Unlimited];
        let others = lives.into_iter().flat_map(|life| [Name::Recent(life), Name::Opened(life), Name::Tokens(life)]);
        for name in bases.into_iter().chain(others) {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(Name::Recent(Life::Seconds(5)).to_string(), "countersign-recent-ttl-5s");
        for other in [
            "",
            "recent",
            "countersign-",
            "countersign-base-4-of-4",
            "countersign-base-00-of-4",
            "countersign-base-0-of-65",
            "countersign-base-0",
            "countersign-recent-",
            "countersign-recent-ttl-1s",
            "countersign-recent-ttl-301s",
            "countersign-recent-ttl-05s",
            "countersign-recent-ttl-5",
            "countersign-recent-no-ttl-5s",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
