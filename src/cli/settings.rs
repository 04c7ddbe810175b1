//! The things that settings name: the database, its schema, the master keys.

use crate::{
    config::{DatabaseSettings, MasterKeySettings, Policies, PolicySettings, checked},
    crypto::seal::MasterKeys,
    error::Error,
    store::{Store, StoreSettings},
};

/// The database that the settings name, and what the others make of the service: all are checked together.
///
/// # Errors
/// [`Error::InvalidArgument`] names each setting that is out of range.
pub fn checked_store(database: &DatabaseSettings, policy: PolicySettings) -> Result<(Store, Policies), Error> {
    let ((), policies) = checked(|violations| (database.check(violations), policy.check(violations)))?;
    Ok((store(database)?, policies))
}

/// The database that the settings name; connects at the first use.
///
/// # Errors
/// [`Error::InvalidArgument`] for settings that are out of range.
pub fn store(settings: &DatabaseSettings) -> Result<Store, Error> {
    checked(|violations| settings.check(violations))?;
    Store::new(&StoreSettings {
        url: settings.url()?,
        connections: settings.database_connections,
        deadline: settings.database_deadline,
    })
}

pub(super) fn master_keys(settings: &MasterKeySettings) -> Result<MasterKeys, Error> {
    let (setting, list) = settings.read()?;
    MasterKeys::parse(setting, &list)
}

/// Passes if the database is one that can be served, and all migrations have been made.
///
/// # Errors
/// [`Error::InvalidArgument`], [`Error::DatabaseUnavailable`].
pub async fn require_schema(store: &Store) -> Result<(), Error> {
    store.check_compatible().await?;
    match store.missing_migrations().await? {
        0 => Ok(()),
        missing => {
            let advice = format!("it lacks {missing} migrations: run `countersign migrate`");
            Err(Error::invalid("database-url", advice))
        }
    }
}
