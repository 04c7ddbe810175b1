//! The keys at a server's start: read from the database and opened, or made if there are none.

use time::OffsetDateTime;

use crate::{
    crypto::{
        keyring::{EDDSA, HMAC_SHA256, KeyMaterial, Keyring},
        seal::MasterKey,
    },
    error::Error,
    store::{
        Conn, Store,
        keys::{self, Purpose, StoredKey},
    },
};

/// Reads the keys, and makes them at the first start. Replicas that start together end with the same keys.
///
/// # Errors
/// [`Error::Internal`] when a stored key does not open with this master key or is damaged;
/// [`Error::DatabaseUnavailable`].
pub async fn load_or_create(store: &Store, master: &MasterKey, now: OffsetDateTime) -> Result<Keyring, Error> {
    let mut conn = store.acquire().await?;
    let access = find_or_create(&mut conn, master, Purpose::AccessToken, now).await?;
    let refresh = find_or_create(&mut conn, master, Purpose::RefreshToken, now).await?;
    let number = u16::try_from(refresh.number).map_err(Error::internal)?;
    let access = open(access, master, Purpose::AccessToken)?;
    let refresh = open(refresh, master, Purpose::RefreshToken)?;
    Keyring::new(access, &refresh, number)
}

async fn find_or_create(
    conn: &mut Conn,
    master: &MasterKey,
    purpose: Purpose,
    now: OffsetDateTime,
) -> Result<StoredKey, Error> {
    if let Some(key) = keys::newest(conn, purpose).await? {
        return Ok(key);
    }
    keys::insert(conn, purpose, &create(master, purpose)?, now).await?;
    // Another replica may have been first: whatever is stored now is the key.
    keys::newest(conn, purpose).await?.ok_or_else(|| Error::internal("a key vanished"))
}

fn create(master: &MasterKey, purpose: Purpose) -> Result<StoredKey, Error> {
    let number = 1;
    let (material, algorithm) = match purpose {
        Purpose::AccessToken => (KeyMaterial::generate_ed25519()?, EDDSA),
        Purpose::RefreshToken => (KeyMaterial::generate_mac(number)?, HMAC_SHA256),
    };
    let mut key = StoredKey {
        number: number.into(),
        kid: material.kid,
        algorithm: algorithm.to_owned(),
        public_key: material.public,
        sealed_key: Vec::new(),
    };
    key.sealed_key = master.seal(&material.private, &context(&key, purpose))?;
    Ok(key)
}

fn open(key: StoredKey, master: &MasterKey, purpose: Purpose) -> Result<KeyMaterial, Error> {
    let expected = match purpose {
        Purpose::AccessToken => EDDSA,
        Purpose::RefreshToken => HMAC_SHA256,
    };
    if key.algorithm != expected {
        return Err(Error::internal(format!("key {}: unknown algorithm {}", key.kid, key.algorithm)));
    }
    let private = master.open(&key.sealed_key, &context(&key, purpose))?;
    Ok(KeyMaterial { kid: key.kid, public: key.public_key, private })
}

/// What a sealed key is bound to.
fn context(key: &StoredKey, purpose: Purpose) -> String {
    format!("key {} {} {} {}", purpose.as_str(), key.number, key.algorithm, key.kid)
}
