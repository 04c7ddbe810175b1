//! Peppers of password hashes: argon2's secret value K (RFC 9106 section 3.1), which the database alone does not give
//! away. A PHC string names its pepper by `keyid`, which is not hashed itself. So a pepper that was replaced still
//! checks what was hashed with it.

use std::{collections::HashMap, fmt, sync::Arc};

use argon2::{Algorithm, Argon2, KeyId, Params, ParamsBuilder, Version};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

use super::{random, secret::Secret, signing_key::KeyMaterial};
use crate::error::Error;

const SECRET_BYTES: usize = 32;
/// Length of a pepper's name: as many bytes as `keyid` may have. Random, so that no name comes back with another secret
/// after a restore.
const KEYID_BYTES: usize = Params::MAX_KEYID_LEN;

/// A pepper, and its name.
pub struct Pepper {
    kid: String,
    keyid: KeyId,
    secret: Zeroizing<Vec<u8>>,
}

/// A stored pepper, as far as it can be used.
#[derive(Clone, Debug)]
pub enum PepperKey {
    /// The pepper can be used.
    Key(Arc<Pepper>),
    /// The pepper is one of ours, and does not open here.
    Unusable,
}

/// All peppers, by the names that stand in PHC strings.
#[derive(Debug, Default)]
pub struct Peppers {
    known: HashMap<String, PepperKey>,
    /// The name of the pepper of new hashes.
    active: Option<String>,
}

impl Pepper {
    /// A fresh one, and its name as it stands in a PHC string.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn generate() -> Result<KeyMaterial, Error> {
        let kid = STANDARD_NO_PAD.encode(random::bytes::<KEYID_BYTES>()?);
        let private = Zeroizing::new(random::bytes::<SECRET_BYTES>()?.to_vec());
        Ok(KeyMaterial { kid, private })
    }

    /// Takes what [`Pepper::generate`] made.
    ///
    /// # Errors
    /// [`Error::Internal`] for anything else.
    pub fn parse(KeyMaterial { kid, private }: KeyMaterial) -> Result<Self, Error> {
        let invalid = || Error::internal(format!("pepper {kid} is not of its form"));
        let keyid = KeyId::from_b64(&kid).ok().filter(|keyid| keyid.len() == KEYID_BYTES).ok_or_else(invalid)?;
        if private.len() != SECRET_BYTES {
            return Err(invalid());
        }
        Ok(Self { kid, keyid, secret: private })
    }

    /// The name in PHC strings.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The secret in base64; for an export alone.
    pub fn export(&self) -> Secret {
        Secret::new(STANDARD.encode(&self.secret))
    }

    /// `params`, naming this pepper.
    pub(super) fn named_in(&self, params: &Params) -> Result<Params, argon2::Error> {
        let mut named = ParamsBuilder::new();
        named.m_cost(params.m_cost()).t_cost(params.t_cost()).p_cost(params.p_cost()).keyid(self.keyid);
        if let Some(length) = params.output_len() {
            named.output_len(length);
        }
        named.build()
    }

    /// argon2 with this pepper.
    pub(super) fn function(&self, algorithm: Algorithm, version: Version, params: Params) -> Option<Argon2<'_>> {
        Argon2::new_with_secret(&self.secret, algorithm, version, params).ok()
    }
}

impl Peppers {
    /// Adds one, or says that it cannot be used.
    pub fn insert(&mut self, kid: String, key: PepperKey) {
        self.known.insert(kid, key);
    }

    /// Lets new hashes be made with one.
    pub fn set_active(&mut self, kid: String) {
        self.active = Some(kid);
    }

    /// Lets new hashes be made without.
    pub fn clear_active(&mut self) {
        self.active = None;
    }

    /// The name of the one that new hashes are made with.
    pub fn active_kid(&self) -> Option<&str> {
        self.active.as_deref()
    }

    /// The one that new hashes are made with, if any is.
    ///
    /// # Errors
    /// Those of [`Peppers::find`].
    pub fn active(&self) -> Result<Option<Arc<Pepper>>, Error> {
        self.active.as_deref().map(|kid| self.find(kid)).transpose()
    }

    /// True if there is a pepper of this name, usable or not.
    pub fn knows(&self, kid: &str) -> bool {
        self.known.contains_key(kid)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`]; [`Error::Internal`] when there is none.
    pub fn find(&self, kid: &str) -> Result<Arc<Pepper>, Error> {
        match self.known.get(kid) {
            Some(PepperKey::Key(pepper)) => Ok(Arc::clone(pepper)),
            Some(PepperKey::Unusable) => Err(Error::KeyUnusable),
            None => Err(Error::internal(format!("a stored password hash needs pepper {kid}, which is not stored"))),
        }
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(kid: &str, length: usize) -> KeyMaterial {
        KeyMaterial { kid: kid.to_owned(), private: Zeroizing::new(vec![7; length]) }
    }

    #[test]
    fn a_pepper_has_32_bytes_and_a_name_that_fits_a_phc_string() {
        let fresh = Pepper::generate().expect("random");
        assert_eq!((fresh.kid.len(), fresh.private.len()), (11, 32));
        assert_ne!(fresh.kid, Pepper::generate().expect("random").kid);
        Pepper::parse(fresh).expect("its own form");
        for (kid, length) in
            [("AAECAwQFBgc", 31), ("AAECAwQFBgc", 33), ("AAECAwQFBgcI", 32), ("AAECAwQF", 32), ("1", 32)]
        {
            assert!(Pepper::parse(material(kid, length)).is_err(), "{kid} {length}");
        }
    }

    #[test]
    fn r63_a_pepper_is_not_printed() {
        let pepper = Pepper::parse(material("AAECAwQFBgc", 32)).expect("a pepper");
        let secret = pepper.export().expose().to_owned();
        let mut peppers = Peppers::default();
        peppers.insert("AAECAwQFBgc".to_owned(), PepperKey::Key(Arc::new(pepper)));
        let printed = format!("{peppers:?}");
        assert!(printed.contains("AAECAwQFBgc") && printed.contains("Pepper(..)"), "{printed}");
        assert!(!printed.contains(&secret) && !printed.contains("7, 7"), "{printed}");
    }
}
