//! A look at the stored keys by whoever has the master keys: which can be used, and which were sealed by an older one. No
//! secret leaves this file.

use super::vault::{DECOYS, Vault};
use crate::{
    crypto::seal::{MasterKeys, SealedBy},
    domain::key::Stage,
    store::keys::{StoredKey, StoredKeys},
};

/// The stored keys, as the master keys find them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Purposes and names of those that cannot be used.
    pub unusable: Vec<String>,
    /// Purposes and names of those that another master key than the first has sealed.
    pub older: Vec<String>,
}

/// Tries the master keys on each stored key, and on the sealed secret of decoys. Killed keys are nothing to anybody.
pub fn inspect(master: MasterKeys, stored: &StoredKeys, decoys: Option<&[u8]>) -> Inspected {
    let vault = Vault::new(master);
    let mut found = Inspected::default();
    for key in stored.keys.iter().filter(|stored| stored.key.stage != Stage::Killed) {
        match vault.try_open(key).and_then(|()| vault.sealed_by(key)) {
            Ok(SealedBy::First) => {}
            Ok(SealedBy::Older) => found.older.push(name(key)),
            Err(_) => found.unusable.push(name(key)),
        }
    }
    if decoys.is_some_and(|sealed| vault.open_decoys(sealed).is_err()) {
        found.unusable.push(DECOYS.to_owned());
    }
    found
}

fn name(stored: &StoredKey) -> String {
    format!("{} {}", stored.key.purpose.as_str(), stored.key.kid)
}
