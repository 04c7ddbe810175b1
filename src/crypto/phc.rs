//! PHC strings of argon2: written, read within the caps on cost, and compared with the cost of today.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt},
};

use super::pepper::Pepper;
use crate::{
    domain::{
        hash_cost::{MOST_ITERATIONS, MOST_LANES, MOST_MEMORY},
        password_hash::PasswordHash,
    },
    error::Error,
};

pub(super) const SALT_BYTES: usize = 16;
pub(super) const OUTPUT_BYTES: usize = 32;

/// The PHC string of what argon2id computed by `params`.
pub(super) fn write(params: &Params, salt: &[u8], output: &[u8]) -> Result<PasswordHash, Error> {
    let parts = || -> argon2::password_hash::phc::Result<Phc> {
        Ok(Phc {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::default(),
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(output)?),
        })
    };
    let mut phc = parts().map_err(|error| Error::internal(error.to_string()))?;
    phc.params = ParamsString::try_from(params).map_err(|error| Error::internal(error.to_string()))?;
    Ok(PasswordHash::from_stored(phc.to_string()))
}

/// The hash function that a stored hash names, if it is argon2 within the caps, with the pepper that it names.
pub(super) fn reader<'p>(phc: &Phc, pepper: Option<&'p Pepper>) -> Option<Argon2<'p>> {
    let (algorithm, version, params) = named(phc)?;
    let affordable =
        params.m_cost() <= MOST_MEMORY && params.t_cost() <= MOST_ITERATIONS && params.p_cost() <= MOST_LANES;
    if affordable { function(algorithm, version, params, pepper) } else { None }
}

pub(super) fn function(
    algorithm: Algorithm,
    version: Version,
    params: Params,
    pepper: Option<&Pepper>,
) -> Option<Argon2<'_>> {
    match pepper {
        Some(pepper) => pepper.function(algorithm, version, params),
        None => Some(Argon2::new(algorithm, version, params)),
    }
}

/// The name of the pepper that a stored hash was made with; None for one without.
///
/// # Errors
/// [`Error::Internal`] when that cannot be said.
pub(super) fn keyid(hash: &PasswordHash) -> Result<Option<String>, Error> {
    if !hash.as_str().starts_with("$argon2") {
        return Ok(None);
    }
    let phc = Phc::new(hash.as_str()).map_err(|_| unreadable())?;
    let wrong = |error| Error::internal(format!("a stored password hash cannot be read: {error}"));
    Params::try_from(&phc.params).map_err(wrong)?;
    Ok(phc.params.get("keyid").map(|keyid| keyid.to_string()))
}

/// True if a hash names a pepper, without which it cannot be checked.
pub fn is_peppered(hash: &PasswordHash) -> bool {
    keyid(hash).is_ok_and(|keyid| keyid.is_some())
}

pub(super) fn unreadable() -> Error {
    Error::internal("a stored password hash cannot be read")
}

/// The algorithm, version and parameters that a hash names.
fn named(phc: &Phc) -> Option<(Algorithm, Version, Params)> {
    let algorithm = Algorithm::new(phc.algorithm.as_str()).ok()?;
    // Argon2 began to write its version with 0x13.
    let version = Version::try_from(phc.version.unwrap_or(0x10)).ok()?;
    Some((algorithm, version, Params::try_from(&phc.params).ok()?))
}

/// True if a stored hash is weaker than `params`, or none of ours: its owner's next right password replaces it.
pub(super) fn is_outdated(hash: &PasswordHash, params: &Params) -> bool {
    let Some((algorithm, version, stored)) = Phc::new(hash.as_str()).ok().as_ref().and_then(named) else {
        return true;
    };
    algorithm != Algorithm::Argon2id || version != Version::V0x13 || strength(&stored) < strength(params)
}

/// The cost of guessing: the memory filled in all passes, and where that is the same, the memory at once. One order of
/// all costs, so that replicas with different settings do not replace each other's hashes for ever. OWASP takes costs
/// of about the same product for equal. Lanes say how the work is divided, not how much there is.
fn strength(params: &Params) -> (u64, u32) {
    (u64::from(params.m_cost()) * u64::from(params.t_cost()), params.m_cost())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash_cost::LEAST_COSTS;

    /// Replicas whose settings differ would replace each other's hashes at each login.
    #[test]
    fn r50_of_two_costs_at_most_one_is_outdated_to_the_other_and_a_weaker_one_is() {
        let costs: Vec<(u32, u32, u32)> = LEAST_COSTS
            .into_iter()
            .chain([(19_456, 3), (20_480, 2), (2_432, 16), (262_144, 16)])
            .flat_map(|(m, t)| [(m, t, 1), (m, t, 4)])
            .collect();
        let params = |(m, t, p)| Params::new(m, t, p, Some(OUTPUT_BYTES)).expect("parameters");
        let hash = |cost| write(&params(cost), &[1; SALT_BYTES], &[2; OUTPUT_BYTES]).expect("a hash");
        let outdated = |stored, policy| is_outdated(&hash(stored), &params(policy));
        for one in &costs {
            for other in &costs {
                assert!(!(outdated(*one, *other) && outdated(*other, *one)), "{one:?} {other:?}");
                let weaker = one.0 <= other.0 && one.1 <= other.1 && (one.0, one.1) != (other.0, other.1);
                assert!(!weaker || outdated(*one, *other), "{one:?} {other:?}");
            }
        }
        assert!(outdated((12_288, 3, 1), (19_456, 2, 1)) && outdated((2_432, 16, 1), (19_456, 2, 1)));
    }
}
