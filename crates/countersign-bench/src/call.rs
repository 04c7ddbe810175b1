//! The calls that can be measured, what the server should say to each, and mixes of them.

use std::str::FromStr;

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Verify of a few tokens, again and again.
    VerifyWarm,
    /// Verify of tokens that the server has not verified before, each once.
    VerifyCold,
    /// Verify of tokens whose session has ended.
    VerifyRevoked,
    /// Verify of tokens whose lifetime is over.
    VerifyExpired,
    /// Verify of what has the form of a token and is none.
    VerifyGarbage,
    /// VerifyBatch of a few tokens, again and again.
    VerifyBatch,
    /// Login with the right password.
    Login,
    /// Refresh; each stream has a session of its own.
    Refresh,
    /// Revoke by refresh token, of sessions that were opened for it.
    Revoke,
    /// Revoke by id, of sessions that the database has: for administrators.
    RevokeById,
    /// The empty call of `empty-server`.
    Empty,
}

impl Call {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::VerifyWarm,
        Self::VerifyCold,
        Self::VerifyRevoked,
        Self::VerifyExpired,
        Self::VerifyGarbage,
        Self::VerifyBatch,
        Self::Login,
        Self::Refresh,
        Self::Revoke,
        Self::RevokeById,
        Self::Empty,
    ];

    /// The name of the call on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::VerifyWarm => "verify-warm",
            Self::VerifyCold => "verify-cold",
            Self::VerifyRevoked => "verify-revoked",
            Self::VerifyExpired => "verify-expired",
            Self::VerifyGarbage => "verify-garbage",
            Self::VerifyBatch => "verify-batch",
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Revoke => "revoke",
            Self::RevokeById => "revoke-by-id",
            Self::Empty => "empty",
        }
    }

    /// The path of its RPC.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::VerifyWarm | Self::VerifyCold | Self::VerifyRevoked | Self::VerifyExpired | Self::VerifyGarbage => {
                "/countersign.v1.AuthService/Verify"
            }
            Self::VerifyBatch => "/countersign.v1.AuthService/VerifyBatch",
            Self::Login => "/countersign.v1.AuthService/Login",
            Self::Refresh => "/countersign.v1.AuthService/Refresh",
            Self::Revoke | Self::RevokeById => "/countersign.v1.AuthService/Revoke",
            Self::Empty => "/countersign.bench.Empty/Call",
        }
    }

    /// The reason with which it should be refused; None if it should be OK.
    pub(crate) fn expected(self) -> Option<&'static str> {
        match self {
            Self::VerifyRevoked => Some("TOKEN_REVOKED"),
            Self::VerifyExpired => Some("TOKEN_EXPIRED"),
            Self::VerifyGarbage => Some("TOKEN_MALFORMED"),
            _ => None,
        }
    }
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|call| call.name() == text).ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// Calls with weights, as in `verify-warm=90,refresh=9,login=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(Call, u32)>);

impl Mix {
    /// A mix of one call alone.
    pub(crate) fn of(call: Call) -> Self {
        Self(vec![(call, 1)])
    }

    /// The calls, in the order in which they were given.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Call> {
        self.0.iter().map(|(call, _)| *call)
    }

    /// The weights of the calls, in the same order.
    pub(crate) fn weights(&self) -> Vec<u32> {
        self.0.iter().map(|(_, weight)| *weight).collect()
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix: Vec<(Call, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let call = name.parse()?;
            let weight = weight.parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
            let weight = weight.ok_or_else(|| format!("{part:?}: a weight is 1 to 1000000"))?;
            if mix.iter().any(|(other, _)| *other == call) {
                return Err(format!("{name} comes twice"));
            }
            mix.push((call, weight));
        }
        Ok(Self(mix))
    }
}

/// Chooses by weight, the same sequence for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct WeightedChoice {
    state: u64,
    weights: Vec<u32>,
    total: u64,
}

impl WeightedChoice {
    /// A choice by `weights` whose sum is not 0.
    pub(crate) fn new(weights: Vec<u32>, seed: u64) -> Self {
        let total = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>().max(1);
        // Neighbouring seeds must not begin alike.
        Self { state: seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15), weights, total }
    }

    /// The next choice: an index of the weights.
    pub(crate) fn next(&mut self) -> usize {
        if self.weights.len() == 1 {
            return 0;
        }
        // xorshift64.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let mut point = self.state % self.total;
        for (index, weight) in self.weights.iter().enumerate() {
            match point.checked_sub(u64::from(*weight)) {
                None => return index,
                Some(rest) => point = rest,
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_calls_with_weights() {
        let mix: Mix = "verify-warm=90,refresh=9,login".parse().expect("a mix");
        assert_eq!(mix.calls().collect::<Vec<_>>(), [Call::VerifyWarm, Call::Refresh, Call::Login]);
        assert_eq!(mix.weights(), [90, 9, 1]);
        assert_eq!("verify-cold".parse(), Ok(Mix::of(Call::VerifyCold)));
    }

    #[test]
    fn what_is_no_mix_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "none of verify-warm"),
            ("verify", "none of verify-warm"),
            ("login=0", "a weight"),
            ("login=-1", "a weight"),
            ("login=1.5", "a weight"),
            ("login=1000001", "a weight"),
            ("login,", "none of"),
            ("login,login=2", "twice"),
        ] {
            let refused = text.parse::<Mix>().expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn every_call_is_known_by_its_name() {
        for call in Call::ALL {
            assert_eq!(call.name().parse(), Ok(call));
        }
    }

    #[test]
    fn choices_follow_the_weights() {
        let mut counts = [0_u32; 3];
        let mut choice = WeightedChoice::new(vec![90, 9, 1], 7);
        for _ in 0..100_000 {
            counts[choice.next()] += 1;
        }
        for (count, expected) in counts.into_iter().zip([90_000, 9_000, 1_000]) {
            assert!(count.abs_diff(expected) < expected / 5, "{counts:?}");
        }
    }
}
